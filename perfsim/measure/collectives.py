"""Measures NCCL's collectives between the cards of one machine or several, one process a card, started by torchrun."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfsim.errors import InputError
from perfsim.measure.card import Card
from perfsim.measure.session import Report, Row, Table
from perfsim.units import GIB, KIB, MICRO

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")
COLUMNS = (
    "system gpu links fabric network_gb_per_s timing collective ranks ranks_per_node bytes time_us time_us_min "
    "time_us_max source"
).split()
VALUE_BYTES = 4
WARM_UP, REPEATS, MOST_CALLS = 3, 5, 50
BATCH_SECONDS = 0.02
MOST_MEMORY = 0.2  # of the free memory, for each of two buffers


@dataclass(frozen=True)
class Launch:
    """This process among those that torchrun started: its rank of `ranks`, and of `local_ranks` on its machine."""

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int


def launch(environment: Mapping[str, str], cards: int) -> Launch:
    """What torchrun says of this process; `cards` are in this machine.

    Raises: InputError that tells how to start it.
    """
    try:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        found = Launch(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        found = Launch(0, 1, 0, 1)
    if found.ranks > 1:
        return found
    if cards < 2:
        raise InputError("collectives need at least two GPUs, and this machine has one")
    start = f"torchrun --nproc-per-node {cards} -m perfsim measure collectives"
    raise InputError(f"collectives need one process a GPU; start them with: {start}")


def group_sizes(launched: Launch) -> list[int]:
    """How many of the first ranks exchange: 2, 4, 8 ... within a machine, its all, and all of several machines.

    >>> group_sizes(Launch(0, 16, 0, 8)), group_sizes(Launch(0, 3, 0, 3))
    ([2, 4, 8, 16], [2, 3])
    """
    powers = [2**i for i in range(1, 12) if 2**i < launched.local_ranks]
    return sorted({*powers, launched.local_ranks, launched.ranks} - {1})


def payloads(is_quick: bool) -> list[int]:
    """Sizes of what is exchanged [B], 1 KiB to 1 GiB; the ends and the middle first, so that any head spans them."""
    exponents = range(0, 21, 2 if is_quick else 1)
    sizes = [int(KIB) << exponent for exponent in exponents]
    return [size for first in range(4) for size in sizes[(0, 2, 1, 3)[first] :: 4] if size <= GIB]


def values_of(size: int, ranks: int) -> int:
    """Values of 4 bytes that `ranks` can share evenly and that take about `size` [B]."""
    return max(1, size // VALUE_BYTES // ranks) * ranks


class Exchanges:
    """The ranks of one run; every rank calls everything in the same order."""

    def __init__(self, card: Card, launched: Launch, backend: str = "nccl") -> None:
        import torch.distributed as distributed

        self._card, self._launched, self._api = card, launched, distributed
        device = {"device_id": card.device} if backend == "nccl" else {}
        distributed.init_process_group(backend, **device)
        self._sum = distributed.ReduceOp.AVG if backend == "nccl" else distributed.ReduceOp.SUM  # a sum would overflow
        sizes = group_sizes(launched)
        self._groups = {ranks: distributed.new_group(list(range(ranks))) for ranks in sizes}

    def close(self) -> None:
        """Leave the other ranks."""
        self._api.destroy_process_group()

    def measure(self, cells: Row, is_quick: bool, seconds: float, table: Table, report: Report) -> int:
        """Measure all sizes within `seconds` [s]; rank 0 fills the table. How many were left out."""
        end = time.monotonic() + seconds
        most = MOST_MEMORY * -self._most(-self._card.free_bytes())
        cases = [
            (collective, ranks, size)
            for size in payloads(is_quick)
            for ranks in self._groups
            for collective in COLLECTIVES
            if size <= most
        ]
        for done, (collective, ranks, size) in enumerate(cases):
            if self._most(float(time.monotonic() > end)):
                return len(cases) - done
            if self._launched.rank < ranks:
                times = self._times(collective, ranks, values_of(size, ranks))
                row = _row(collective, ranks, min(ranks, self._launched.local_ranks), size, times)
                if self._launched.rank == 0:
                    table.add([cells | row])
                    report(done + 1, len(cases))
        return 0

    def _most(self, value: float, group: Any = None) -> float:
        """The largest value of all ranks, so that they decide alike."""
        torch = self._card.torch
        found = torch.tensor([value], dtype=torch.float64, device=self._card.device)
        self._api.all_reduce(found, op=self._api.ReduceOp.MAX, group=group)
        return float(found.item())

    def _times(self, collective: str, ranks: int, values: int) -> list[float]:
        """Seconds of a call in each batch, those of the slowest rank [s]."""
        card, group = self._card, self._groups[ranks]
        call = self._call(collective, ranks, values)
        for _ in range(WARM_UP):
            call()
        card.sync()
        began = card.now()
        call()
        card.sync()
        calls = max(1, min(MOST_CALLS, round(BATCH_SECONDS / self._most(card.now() - began, group))))
        times = []
        for _ in range(REPEATS):
            self._most(0.0, group)  # all start together
            first = card.mark()
            for _ in range(calls):
                call()
            last = card.mark()
            card.sync()
            times.append(self._most(card.seconds(first, last) / calls, group))
        return times

    def _call(self, collective: str, ranks: int, values: int) -> Any:
        """The collective over `values` values, counted as nccl-tests does: the larger of a rank's two buffers."""
        api, group, rank = self._api, self._groups[ranks], self._launched.rank
        whole = self._card.randn("fp32", values)
        part, other = whole[: values // ranks].clone(), self._card.torch.empty_like(whole)

        def send_recv() -> None:
            ways = ((api.isend, whole, (rank + 1) % ranks), (api.irecv, other, (rank - 1) % ranks))
            for request in api.batch_isend_irecv([api.P2POp(way, data, peer, group) for way, data, peer in ways]):
                request.wait()

        return {
            "all_reduce": lambda: api.all_reduce(whole, op=self._sum, group=group),
            "all_gather": lambda: api.all_gather_into_tensor(other, part, group=group),
            "reduce_scatter": lambda: api.reduce_scatter_tensor(part, whole, group=group),
            "all_to_all": lambda: api.all_to_all_single(other, whole, group=group),
            "send_recv": send_recv,
        }[collective]


def _row(collective: str, ranks: int, members: int, size: int, times: Sequence[float]) -> Row:
    return {
        "collective": collective,
        "ranks": ranks,
        "ranks_per_node": members,
        "bytes": values_of(size, ranks) * VALUE_BYTES,
        "timing": "torch",
        "time_us": statistics.median(times) / MICRO,
        "time_us_min": min(times) / MICRO,
        "time_us_max": max(times) / MICRO,
    }
