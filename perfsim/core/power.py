"""What boards draw, and how they hold a limit: the measured numbers of formulas.power."""

from collections.abc import Mapping
from dataclasses import dataclass

from perfsim.core.numbers import Floats


@dataclass(frozen=True)
class CardPower:
    """What a card draws at its full clock, and how voltage falls with the clock.

    idle_watts: a context on the card, its GPU waiting; busy_watts: clocks and schedulers while any kernel runs;
    joules_per_flop: by number format, of the core; joules_per_byte: memory and its interface, not scaled by the core.
    voltage_knee: clock over full clock below which voltage stays at its floor; voltage_floor: over full voltage.
    """

    idle_watts: Floats
    busy_watts: Floats
    joules_per_flop: Mapping[str, Floats]
    joules_per_byte: Floats
    voltage_knee: Floats
    voltage_floor: Floats


@dataclass(frozen=True)
class ProcessPower:
    """What an architecture on its process node draws; energies at the lowest core voltage.

    idle_share: of the board's own limit, drawn while waiting; busy_joules_per_clock: of one multiprocessor, a cycle
    with a kernel on the card; knee_hz, voltage_rise: V/V_min = 1 + rise·((f - knee)₊ / knee)².
    """

    idle_share: float
    busy_joules_per_clock: float
    joules_per_flop: Mapping[str, float]
    knee_hz: float
    voltage_rise: float


@dataclass(frozen=True)
class PowerControl:
    """What all cards share: how a board's controller holds its limit."""

    limit_share: float  # of the limit, the mean power it settles at
    clock_floor: float  # of the full clock, the lowest a limit can force
    memory_clock_share: float  # of the full clock, below which memory-bound kernels slow down too
