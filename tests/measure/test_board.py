"""Boards by NVML and by nvidia-smi, both pretended; a card as PyTorch describes it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfsim.measure.board import NoBoard, NvmlBoard, Reading, SmiBoard, open_board
from perfsim.measure.card import Card

SMI = """#!/bin/sh
case "$*" in
  *driver_version*) echo "580.1, 300.00, 350.00, 1980, [N/A]" ;;
  *) echo "1755, 2619, 287.3, 61, 0x0000000000000004" ;;
esac
"""


class NvmlError(Exception):
    pass


def refuse(*_: Any) -> Any:
    raise NvmlError("not supported")


def pretended_nvml() -> SimpleNamespace:
    clocks, highest = {"sm": 1755, "mem": 2619}, {"sm": 1980, "mem": 2619}
    instant = SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=287_300))
    return SimpleNamespace(
        NVMLError=NvmlError, NVML_CLOCK_SM="sm", NVML_CLOCK_MEM="mem", NVML_TEMPERATURE_GPU=0, nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid, nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetClockInfo=lambda handle, kind: clocks[kind], nvmlDeviceGetPowerUsage=lambda handle: 250_000,
        nvmlDeviceGetTemperature=lambda handle, sensor: 61, nvmlDeviceGetTotalEnergyConsumption=refuse,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 4, nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 300_000,
        nvmlDeviceGetPowerManagementDefaultLimit=lambda handle: 350_000,
        NVML_FI_DEV_POWER_INSTANT=186, nvmlDeviceGetFieldValues=lambda handle, fields: [instant],
        nvmlDeviceGetMaxClockInfo=lambda handle, kind: highest[kind],
    )  # fmt: skip


def test_nvml_readings_are_in_plain_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", pretended_nvml())  # type: ignore[arg-type]
    board = open_board("GPU-1")
    assert isinstance(board, NvmlBoard)
    assert board.read() == Reading(1755, 2619, pytest.approx(287.3), 61, 4)
    assert board.joules() is None
    facts = board.facts()
    assert (facts["driver"], facts["power_limit_w"], facts["max_sm_mhz"]) == ("580.1", 300.0, 1980)


@pytest.mark.skipif(sys.platform == "win32", reason="the pretended program is a shell script")
def test_nvidia_smi_is_the_second_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    board = open_board("GPU-1")
    assert isinstance(board, SmiBoard)
    assert board.read() == Reading(1755.0, 2619.0, 287.3, 61.0, 4)
    assert board.facts()["power_limit_w"] == 300.0
    assert board.facts()["max_mem_mhz"] is None


def test_without_both_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tmp_path))
    board = open_board("")
    assert isinstance(board, NoBoard)
    assert board.read() == Reading()


def test_card_is_what_torch_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    described = SimpleNamespace(
        name="NVIDIA L4", uuid="12-34", multi_processor_count=58, major=8, minor=9, total_memory=22 * 2**30,
        L2_cache_size=48 * 2**20,
    )  # fmt: skip
    cuda = SimpleNamespace(
        set_device=lambda device: None, get_device_properties=lambda device: described,
        mem_get_info=lambda: (10 * 2**30, 22 * 2**30), memory_reserved=lambda: 3 * 2**30,
        memory_allocated=lambda: 2**30,
    )  # fmt: skip
    torch = SimpleNamespace(cuda=cuda, device=lambda kind, index: (kind, index))
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    card = Card(1)
    assert (card.name, card.uuid, card.device, card.capability) == ("NVIDIA L4", "GPU-12-34", ("cuda", 1), (8, 9))
    assert card.free_bytes() == 12 * 2**30
    assert [card.sets(size) for size in (2**30, 48 * 2**20, 2**10)] == [1, 3, 64]
    assert card.seconds(SimpleNamespace(elapsed_time=lambda last: 2.5), None) == pytest.approx(2.5e-3)
