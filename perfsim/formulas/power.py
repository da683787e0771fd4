"""The clock a card sustains under its power limit, and the joules that follow.

A board draws what waiting costs, what its clocks cost while kernels run, and a fixed energy per operation and per byte.
Core voltage rises with the square of the clock above a knee, and core energy with the square of voltage. When a step's
mean power exceeds the limit, the controller lowers the core clock until it does not: arithmetic stretches, memory
traffic does not, until the clock is so low that the core cannot keep the memory busy.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np

from perfsim.core.hardware import Gpu
from perfsim.core.numbers import Floats, Ints
from perfsim.core.power import CardPower, PowerControl, ProcessPower

NEWTON_STEPS = 10
BEND_CLOCK = 0.75  # share of the full clock at which a step's seconds may bend, see `Activity`
LOWEST_VOLTAGE_SHARE = 0.55  # cores run at 0.6-0.7 V at least and about 1.1 V at most


@dataclass(frozen=True)
class Activity:
    """What kernels do on one GPU: sums over them, every number a scalar or an array.

    At a share φ of the full clock they take C/φ + M + D·(1/φ - 1/φ_b)₊ seconds, φ_b = `BEND_CLOCK`: compute_seconds C
    as far as the core bounds them, memory_seconds M the rest, late_seconds D what the core bounds once its clock is
    low. core_joules: Σ flops·joules_per_flop; memory_joules: Σ bytes·joules_per_byte; launches [count].
    """

    compute_seconds: Floats = 0.0
    memory_seconds: Floats = 0.0
    core_joules: Floats = 0.0
    memory_joules: Floats = 0.0
    launches: Floats = 0.0
    late_seconds: Floats = 0.0

    @property
    def seconds(self) -> Floats:
        """Time the kernels take at full clock [s]."""
        return self.compute_seconds + self.memory_seconds

    def plus(self, other: "Activity") -> "Activity":
        """Both."""
        return Activity(
            self.compute_seconds + other.compute_seconds, self.memory_seconds + other.memory_seconds,
            self.core_joules + other.core_joules, self.memory_joules + other.memory_joules,
            self.launches + other.launches, self.late_seconds + other.late_seconds,
        )  # fmt: skip

    def times(self, count: Floats) -> "Activity":
        """`count` times the same."""
        return Activity(
            count * self.compute_seconds, count * self.memory_seconds, count * self.core_joules,
            count * self.memory_joules, count * self.launches, count * self.late_seconds,
        )  # fmt: skip


NOTHING = Activity()


def voltage_ratio(clock_ratio: Floats, knee: Floats, floor: Floats) -> Floats:
    """Core voltage over its value at full clock [1]: floor + (1 - floor)·((φ - knee)₊ / (1 - knee))².

    clock_ratio φ, knee, floor [1], broadcast. Holds for: 0.1 < φ ≤ 1, knee < 1.
    Source: perfsim's own fit to ml-energy/zeus traces of 4 cards (docs/formulas.md#power).

    >>> float(voltage_ratio(0.6, 0.6, 0.7)), float(voltage_ratio(1.0, 0.6, 0.7))
    (0.7, 1.0)
    """
    above = np.maximum(0.0, clock_ratio - knee) / (1.0 - knee)
    return floor + (1.0 - floor) * (above * above)


def voltage_law(clock_hz: Floats, knee_hz: Floats, rise: Floats) -> tuple[Floats, Floats]:
    """(knee, floor) of a card from its process's curve V/V_min = 1 + rise·((f - knee)₊ / knee)² [1].

    clock_hz: the card's full clock [Hz]; knee_hz [Hz] and rise [1] of the process. A card whose full clock lies below
    the knee runs at the floor throughout. No floor is below `LOWEST_VOLTAGE_SHARE`.

    >>> knee, floor = voltage_law(1.0e9, 0.5e9, 0.5)
    >>> float(knee), round(float(floor), 3)
    (0.5, 0.667)
    """
    above = np.maximum(0.0, clock_hz / knee_hz - 1.0)
    return np.minimum(knee_hz / clock_hz, 0.98), np.maximum(1.0 / (1.0 + rise * (above * above)), LOWEST_VOLTAGE_SHARE)


def card_power(
    process: ProcessPower,
    clock_hz: Floats,
    multiprocessors: Ints,
    board_watts: Floats,
    joules_per_byte: Floats,
) -> CardPower:
    """A card's power at full clock from its process and size: energies times (V/V_min)², busy = e·SM·f·(V/V_min)².

    clock_hz: what the card really boosts to [Hz]; board_watts: its own limit [W], not one set lower, which would not
    change what it draws idle; joules_per_byte of its memory [J/B].
    """
    knee, floor = voltage_law(clock_hz, process.knee_hz, process.voltage_rise)
    full = 1.0 / (floor * floor)
    return CardPower(
        process.idle_share * board_watts,
        process.busy_joules_per_clock * multiprocessors * clock_hz * full,
        {number_format: joules * full for number_format, joules in process.joules_per_flop.items()},
        joules_per_byte,
        knee,
        floor,
    )


def busy_seconds(work: Activity, clock_ratio: Floats, control: PowerControl) -> Floats:
    """Seconds the kernels take at a share φ of the full clock [s]: `Activity`'s; below φ_m all of them times φ_m/φ."""
    slowed = np.maximum(1.0, control.memory_clock_share / clock_ratio)
    late = np.maximum(0.0, 1.0 / clock_ratio - slowed / BEND_CLOCK)
    return work.compute_seconds / clock_ratio + work.memory_seconds * slowed + work.late_seconds * late


def busy_joules(work: Activity, card: CardPower, clock_ratio: Floats, control: PowerControl) -> Floats:
    """Board energy while the kernels run [J]: (idle + busy·φ·v²)·T(φ) + core·v² + memory, v the voltage ratio."""
    v = voltage_ratio(clock_ratio, card.voltage_knee, card.voltage_floor)
    held = card.idle_watts + card.busy_watts * clock_ratio * (v * v)
    return held * busy_seconds(work, clock_ratio, control) + work.core_joules * (v * v) + work.memory_joules


def sustained_clock(work: Activity, card: CardPower, limit_watts: Floats, control: PowerControl) -> Floats:
    """Share φ of the full clock that the limit leaves while kernels run [1], shape broadcast of all.

    1 where the demand at full clock fits; else the root of E(φ) = κ·limit·T(φ), E `busy_joules`, T `busy_seconds`, not
    below `clock_floor`. φ·(E - κ·limit·T) is convex from full clock to the bend and from there to the memory clock φ_m,
    so Newton's steps from the upper end descend to the root and never pass it; below φ_m voltage is at its floor and
    the equation is linear.
    Waiting is left out: traces show boards at their limit while kernels run and below it on average.
    Holds for: knee > φ_m; a limit above idle power (lower ones: `clock_floor`, and the limit is not held).
    Source: perfsim's own, fitted to ml-energy/zeus traces and sustained products (docs/formulas.md#power).

    >>> card = CardPower(60.0, 80.0, {"bf16": 1e-12}, 4e-11, 0.6, 0.65)
    >>> work = Activity(1.0, 0.0, 300.0, 0.0)
    >>> clocks = sustained_clock(work, card, np.array([500.0, 350.0, 250.0]), PowerControl(0.985, 0.10, 0.26))
    >>> [round(float(clock), 2) for clock in clocks]
    [1.0, 0.93, 0.83]
    """
    target = control.limit_share * limit_watts
    fits = busy_joules(work, card, 1.0, control) <= target * work.seconds
    bent = busy_joules(work, card, BEND_CLOCK, control) > target * busy_seconds(work, BEND_CLOCK, control)
    late = np.where(bent, work.late_seconds, 0.0)
    C, M = work.compute_seconds + late, work.memory_seconds - late / BEND_CLOCK
    core, memory = work.core_joules, work.memory_joules
    spare, busy, knee, floor = target - card.idle_watts, card.busy_watts, card.voltage_knee, card.voltage_floor
    bend = 2.0 * (1.0 - floor) / ((1.0 - knee) * (1.0 - knee))
    clock: Floats = np.where(bent, BEND_CLOCK, 1.0 + 0.0 * (C + M + core + memory + spare + busy + bend))
    for _ in range(NEWTON_STEPS):
        v = voltage_ratio(clock, knee, floor)
        slope = bend * np.maximum(0.0, clock - knee)
        seconds = C + M * clock  # φ·T(φ) above the memory clock
        square, square_slope = v * v, 2.0 * v * slope
        excess = (busy * clock * square - spare) * seconds + clock * (core * square + memory)
        rate = (
            busy * seconds * (square + clock * square_slope)
            + (busy * clock * square - spare) * M
            + core * (square + clock * square_slope)
            + memory
        )
        step = np.where(excess > 0.0, excess, 0.0) / np.where(rate > 0.0, rate, 1.0)
        clock = np.maximum(clock - step, control.memory_clock_share)
    at_memory_clock = C + M * control.memory_clock_share
    floor_joules = (busy * at_memory_clock + core) * (floor * floor) + memory
    slow = np.maximum(spare, 0.0) * at_memory_clock / np.where(floor_joules > 0.0, floor_joules, 1.0)
    is_slow = slow < control.memory_clock_share
    return np.where(fits, 1.0, np.maximum(np.where(is_slow, slow, clock), control.clock_floor))


def least_limit_watts(gpu: Gpu, control: PowerControl) -> Floats:
    """The lowest limit that a board holds whatever it computes [W]: its draw at the lowest clock, all units busy.

    (idle + φ·v²·(busy + max over formats of peak·J) + φ/φ_m·W·J_byte) / κ, φ the clock's floor, W the bandwidth.
    Vendors' own minima lie near: 35 W for L4 (40), 161 W for RTX 4090 (150), 212 W for H100 SXM (200).
    """
    low, card, reached = control.clock_floor, gpu.power, gpu.calibration.gemm_fraction
    v = voltage_ratio(low, card.voltage_knee, card.voltage_floor)
    rates = ((peak * np.maximum(1.0, reached[name]), name) for name, peak in gpu.peak_flops_per_s.items())
    products = reduce(np.maximum, (rate * card.joules_per_flop[name] for rate, name in rates))
    memory = low / control.memory_clock_share * gpu.memory_bandwidth_bytes_per_s * card.joules_per_byte
    return (card.idle_watts + low * (v * v) * (card.busy_watts + products) + memory) / control.limit_share


def sustained_flops_per_s(
    card: CardPower, burst_flops_per_s: Floats, number_format: str, limit_watts: Floats, control: PowerControl
) -> Floats:
    """What endless products of one format reach [FLOP/s]: burst·φ, the burst rate [FLOP/s] from kernel benchmarks."""
    joules = burst_flops_per_s * card.joules_per_flop[number_format]
    return burst_flops_per_s * sustained_clock(Activity(1.0, 0.0, joules, 0.0), card, limit_watts, control)
