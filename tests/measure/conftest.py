"""Cards that need no GPU: one whose time is simulated, and one that computes on the CPU where PyTorch is there."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perfsim.measure.board import Facts, Reading
from perfsim.measure.card import Card
from perfsim.measure.session import Row, Save
from perfsim.report.export import csv_text, write


class SimulatedClock:
    """A host that runs ahead of a GPU: a call costs the host `host` seconds and the GPU `gpu` seconds."""

    def __init__(self, host: float, gpu: float) -> None:
        self.host, self.gpu = host, gpu
        self.time = self.busy_until = 0.0
        self.calls: list[int] = []

    def call(self, i: int) -> None:
        self.calls.append(i)
        self.time += self.host
        self.busy_until = max(self.busy_until, self.time) + self.gpu

    def now(self) -> float:
        return self.time

    def mark(self) -> float:
        return max(self.busy_until, self.time)

    def wait(self, mark: float) -> None:
        self.time = max(self.time, mark)

    def seconds(self, first: float, last: float) -> float:
        return last - first

    def spin(self, seconds: float) -> None:
        self.busy_until = max(self.busy_until, self.time) + seconds

    def sync(self) -> None:
        self.time = max(self.time, self.busy_until)


class PretendedBoard:
    """A board of constant readings."""

    def read(self) -> Reading:
        return Reading(1700.0, 2600.0, 350.0, 60.0, 0x4)

    def joules(self) -> float | None:
        return None

    def facts(self) -> Facts:
        return {"driver": "1", "power_limit_w": 400.0}


class CpuCard(Card):
    """The CPU in the place of a card."""

    def __init__(self) -> None:
        import torch

        self.torch, self.device = torch, torch.device("cpu")
        self.name, self.uuid, self.multiprocessors, self.capability = "NVIDIA L4", "", 58, (8, 9)
        self.memory_bytes, self.l2_bytes = 22 * 2**30, 2**16

    def mark(self) -> float:
        return time.perf_counter()

    def wait(self, mark: float) -> None:
        pass

    def seconds(self, first: float, last: float) -> float:
        return max(last - first, 1e-9)

    def spin(self, seconds: float) -> None:
        pass

    def sync(self) -> None:
        pass

    def free_bytes(self) -> float:
        return 2.0**24

    def allocated_bytes(self) -> int:
        return 10**6

    def peak_bytes(self) -> tuple[int, int]:
        return 2 * 10**6, 3 * 10**6

    def reset_peaks(self) -> None:
        pass

    def release(self) -> None:
        pass


@pytest.fixture
def board() -> PretendedBoard:
    return PretendedBoard()


@pytest.fixture
def cpu() -> Any:
    pytest.importorskip("torch").set_num_threads(1)
    return CpuCard()


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def saved(name: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        write(str(tmp_path / name), csv_text({column: [row[column] for row in rows] for column in columns}))

    return saved
