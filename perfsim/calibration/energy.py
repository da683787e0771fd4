"""Measured power of training runs, and the cards whose numbers a fit of it may change."""

from dataclasses import dataclass

from perfsim.calibration.runs import MeasuredRun
from perfsim.core.power import CardPower, ProcessPower
from perfsim.formulas.power import card_power


@dataclass(frozen=True)
class PoweredCard:
    """A card as its power model sees it, before anything is fitted.

    process: the architecture's numbers in specs/calibration/power.toml, of `nanometres`; clock_hz: what the card
    really boosts to; joules_per_byte of its `memory_type`.
    """

    key: str
    architecture: str
    nanometres: int
    memory_type: str
    clock_hz: float
    multiprocessors: int
    board_watts: float
    process: ProcessPower
    joules_per_byte: float

    def power(self, process: ProcessPower) -> CardPower:
        """What the card draws with these numbers of its process."""
        return card_power(process, self.clock_hz, self.multiprocessors, self.board_watts, self.joules_per_byte)


@dataclass(frozen=True)
class PoweredRun:
    """A run whose mean power was measured.

    scope: "board" of one GPU, "waiting" of a board whose GPU waits for its host, "node" of a whole server at the wall,
    "node-dc" behind its power supplies. relative_seconds: time over that at the board's own limit; 0: not told.
    run.system holds the limit.
    """

    run: MeasuredRun
    card: PoweredCard
    scope: str
    watts: float
    relative_seconds: float = 0.0

    @property
    def network(self) -> str:
        """The model, and the length of its sequences where there are any."""
        work = self.run.workload
        if work is None:
            return "none"
        return work.model.key if work.model.nets else f"{work.model.key} {work.seq_len}"


@dataclass(frozen=True)
class LargeProduct:
    """The rate of endless large products of one number format [FLOP/s], and that at full clock if nothing limited."""

    card: PoweredCard
    number_format: str
    flops_per_s: float
    burst_flops_per_s: float
