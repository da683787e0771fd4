"""Fit what boards draw to measured power.

At each limit of a run two things were measured, the watts and the time over that at the board's own limit; of large
products the rate that the limit leaves. Few numbers explain them, each with a physical cause: what waiting costs by
kind of memory; a cycle of a multiprocessor; an operation of the vector units, of the tensor cores by architecture
(other formats keep their ratio to these); the clock from which the voltage rises by process, and how much it rises. A
byte's energy, by memory, is not fitted: it cannot be told from the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfsim.calibration.energy import LargeProduct, PoweredCard, PoweredRun
from perfsim.calibration.fit import SEPARATOR, Fitted, Parameter, Values, fit
from perfsim.calibration.validate import stacks
from perfsim.core.arrays import stack
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu
from perfsim.core.power import CardPower, PowerControl, ProcessPower
from perfsim.estimate import estimate
from perfsim.formulas.energy import streaming_watts
from perfsim.formulas.power import Activity, busy_joules, busy_seconds, sustained_clock, sustained_flops_per_s
from perfsim.graphs.step import step_costs
from perfsim.units import MEGA, NANO, PICO

PRODUCTS_WEIGHT = 0.25  # a card's products against the runs of a card
WAITING_WEIGHT = 3.0  # a card's one row of waiting, the median of many, against one of its runs
RANGES = {  # start, least and most
    "idle_share": (0.2, 0.05, 0.4),
    "busy_nanojoules_per_clock": (0.4, 0.02, 2.0),
    "picojoules_fp32": (5.0, 1.0, 30.0),
    "picojoules_tensor": (0.8, 0.05, 10.0),
    "knee_mhz": (700.0, 300.0, 2000.0),
    "voltage_rise": (0.4, 0.02, 10.0),
}
TENSOR_FORMATS = ("tf32", "fp16", "bf16")


def where_of(name: str, card: PoweredCard) -> str:
    """The class of cards that share a number; "" for a number that the card has no use for."""
    match name:
        case "idle_share":
            return "HBM" if card.memory_type.startswith("HBM") else "GDDR"
        case "picojoules_tensor":
            return card.architecture if has_tensor_cores(card) else ""
        case "knee_mhz":
            return f"{card.nanometres} nm"
    return "all"


def has_tensor_cores(card: PoweredCard) -> bool:
    """Whether 16-bit products run on units of their own."""
    return card.architecture != "pascal"


def value_of(name: str, card: PoweredCard, values: Values) -> float:
    """The card's number: of its class, else of the nearest process, else the median over classes."""
    where = where_of(name, card)
    if (own := values.get(f"{name}{SEPARATOR}{where}")) is not None:
        return own
    others = {key.partition(SEPARATOR)[2]: v for key, v in values.items() if key.startswith(name + SEPARATOR)}
    if where.endswith(" nm"):
        return others[min(others, key=lambda at: (abs(int(at.split()[0]) - card.nanometres), at))]
    return float(np.median(list(others.values()))) if others else RANGES[name][0]


def fitted_process(card: PoweredCard, values: Values) -> ProcessPower:
    """What the card's process draws with the fit's numbers."""
    own = {name: value_of(name, card, values) for name in RANGES if where_of(name, card)}
    old = card.process.joules_per_flop
    joules = {name: j * own["picojoules_fp32"] * PICO / old["fp32"] for name, j in old.items()}
    if "picojoules_tensor" in own:
        joules |= {name: own["picojoules_tensor"] * PICO * old[name] / old["fp16"] for name in TENSOR_FORMATS}
    busy, knee = own["busy_nanojoules_per_clock"] * NANO, own["knee_mhz"] * MEGA
    return ProcessPower(own["idle_share"], busy, joules, knee, own["voltage_rise"])


@dataclass(frozen=True)
class _Step:
    """Steps of one GPU [rows]: their kernels' activity by unit joules, and the seconds that are none of these.

    work: its joules are zero; flops: by number format; optimizer, waiting [s].
    """

    rows: np.ndarray
    work: Activity
    flops: Mapping[str, np.ndarray]
    bytes: np.ndarray
    optimizer: np.ndarray
    waiting: np.ndarray
    gpu: Gpu

    def seconds_and_watts(self, power: CardPower, limit: Any, control: PowerControl) -> tuple[np.ndarray, np.ndarray]:
        """(seconds of the step, mean watts) under a limit [W]."""
        core = sum(flops * power.joules_per_flop[name] for name, flops in self.flops.items())
        work = replace(self.work, core_joules=core, memory_joules=self.bytes * power.joules_per_byte)
        clock = sustained_clock(work, power, limit, control)
        held = Activity(memory_seconds=1.0)
        held_watts = busy_joules(held, power, clock, control) / busy_seconds(held, clock, control)
        streaming = streaming_watts(replace(self.gpu, power=power, power_limit_watts=limit), held_watts)
        seconds: Any = busy_seconds(work, clock, control) + self.optimizer + self.waiting
        joules = busy_joules(work, power, clock, control) + streaming * self.optimizer + power.idle_watts * self.waiting
        return seconds, joules / seconds


class Measurements:
    """Runs on one GPU each, boards that wait, and large products: what was measured, and what numbers make of it."""

    def __init__(self, runs: Sequence[PoweredRun], products: Sequence[LargeProduct], calibration: Calibration) -> None:
        self.runs, self.products, self._control = runs, products, calibration.control
        cards = [*(run.card for run in runs), *(product.card for product in products)]
        self.cards = {card.key: card for card in cards}
        self.card = np.array([card.key for card in cards])
        self.is_timed = np.array([run.relative_seconds > 0.0 for run in runs])
        self._steps = [
            _step(np.array(chosen), [runs[i] for i in chosen], calibration)
            for chosen in stacks([run.run for run in runs])
            if runs[chosen[0]].scope == "board"
        ]

    @property
    def measured(self) -> np.ndarray:
        """Watts of each run, rates of each product, and times of the runs over that at the board's own limit."""
        times = np.array([run.relative_seconds for run in self.runs])
        rates = [product.flops_per_s for product in self.products]
        return np.concatenate([[run.watts for run in self.runs], rates, times[self.is_timed]])

    @property
    def has_card(self) -> np.ndarray:
        """The card of each of these."""
        return np.concatenate([self.card, self.card[: len(self.runs)][self.is_timed]])

    def predict(self, values: Values) -> "Predicted":
        """The same, by these numbers."""
        powers = {key: card.power(fitted_process(card, values)) for key, card in self.cards.items()}
        watts, times, steps = np.ones(len(self.runs)), np.ones(len(self.runs)), np.zeros(len(self.runs))
        for i, run in enumerate(self.runs):
            if run.scope == "waiting":
                watts[i] = float(powers[run.card.key].idle_watts)
        for step in self._steps:
            power = stack([powers[self.runs[i].card.key] for i in step.rows])
            own, limit = step.gpu.board_limit_watts, step.gpu.power_limit_watts
            steps[step.rows], watts[step.rows] = step.seconds_and_watts(power, limit, self._control)
            times[step.rows] = steps[step.rows] / step.seconds_and_watts(power, own, self._control)[0]
        rates = [
            float(sustained_flops_per_s(powers[p.card.key], p.burst_flops_per_s, p.number_format, p.card.board_watts,
                                        self._control))
            for p in self.products
        ]  # fmt: skip
        return Predicted(watts, times, steps, np.array(rates), self.is_timed)


@dataclass(frozen=True)
class Predicted:
    """Of runs: mean watts, time over that at the board's own limit, seconds of a step; of products: FLOP/s."""

    watts: np.ndarray
    times: np.ndarray
    seconds: np.ndarray
    rates: np.ndarray
    is_timed: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        """In the order of `Measurements.measured`."""
        return np.concatenate([self.watts, self.rates, self.times[self.is_timed]])


def _step(rows: np.ndarray, runs: Sequence[PoweredRun], calibration: Calibration) -> _Step:
    """Runs that may be costed together."""
    work: Any = runs[0].run.workload
    systems: Any = stack([run.run.system for run in runs])
    plans: Any = stack([run.run.plan for run in runs])
    software: Any = runs[0].run.software
    names = ("seq_len", "global_batch_size", "head_positions", "decoder_seq_len")
    columns: dict[str, Any] = {name: np.array([getattr(run.run.workload, name) for run in runs]) for name in names}
    work = replace(work, **columns)

    def activity(unit: str) -> Activity:
        formats = systems.gpu.power.joules_per_flop
        power = replace(systems.gpu.power, joules_per_flop={name: 1.0 * (name == unit) for name in formats},
                        joules_per_byte=1.0 * (unit == "byte"))  # fmt: skip
        system = replace(systems, gpu=replace(systems.gpu, power=power))
        found = step_costs(work, system, plans, software, calibration)
        parts = (found.layers, found.embedding.cost, found.head.cost)
        once = Activity()
        for part in parts:
            once = once.plus(part.forward).plus(part.backward)
        return once.times(work.global_batch_size / plans.micro_batch_size)

    used = {"fp32", work.precision.matmul}
    flops = {name: np.asarray(activity(name).core_joules) for name in sorted(used)}
    moved = activity("byte")
    time = estimate(work, systems, plans, software, calibration).time
    shape = (len(rows),)
    return _Step(
        rows, replace(moved, core_joules=0.0, memory_joules=0.0), flops, np.broadcast_to(moved.memory_joules, shape),
        np.broadcast_to(time.optimizer_seconds, shape), np.broadcast_to(time.launch_seconds + time.host_seconds, shape),
        systems.gpu,
    )  # fmt: skip


def fit_boards(data: Measurements, use: np.ndarray) -> Fitted:
    """The numbers that bring predictions nearest to what was measured of the rows in `use` [as has_card].

    Cards with runs weigh the same, those with products alone less.
    Raises: ValueError when there are fewer measurements than numbers to fit.
    """
    cards = data.has_card
    has_runs = {run.card.key for run in data.runs if run.scope == "board"}
    weights = np.ones(len(cards))
    for key in set(cards[use].tolist()):
        mine = use & (cards == key)
        weights[mine] = (1.0 if key in has_runs else PRODUCTS_WEIGHT) / np.sqrt(np.sum(mine))
    waiting = np.array([run.scope == "waiting" for run in data.runs])
    weights[: len(waiting)] *= np.where(waiting, WAITING_WEIGHT, 1.0)
    weights *= np.sqrt(np.sum(use) / np.sum(weights[use] ** 2))
    parameters: dict[str, Parameter] = {}
    acts: dict[str, np.ndarray] = {}
    for name, (begin, least, most) in RANGES.items():
        for key in dict.fromkeys(cards[use].tolist()):
            if where := where_of(name, data.cards[key]):
                full = f"{name}{SEPARATOR}{where}"
                parameters[full] = Parameter(full, begin, least, most)
                acts[full] = acts.get(full, np.zeros(len(cards), dtype=bool)) | (cards == key)
    masks = {name: mask[use] for name, mask in acts.items()}
    return fit(
        list(parameters.values()), lambda values: data.predict(values).flat[use], data.measured[use],
        weights[use], masks,
    )  # fmt: skip
