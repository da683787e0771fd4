"""Fit what boards draw to measured power: at each limit the watts, and the time over that at the board's own limit.

Few numbers, each with a physical cause: what waiting costs by kind of memory, what a cycle of a multiprocessor costs,
the energy of an fp32 operation and the voltage's curve by process, a byte's by memory. Other formats keep their ratio
to fp32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfsim.calibration.energy import PoweredCard, PoweredRun
from perfsim.calibration.fit import SEPARATOR, Fitted, Parameter, Values, fit
from perfsim.calibration.validate import stacks
from perfsim.core.arrays import stack
from perfsim.core.calibration import Calibration
from perfsim.core.power import CardPower, ProcessPower
from perfsim.estimate import estimate
from perfsim.units import MEGA, NANO, PICO

WAITING_WEIGHT = 3.0  # a card's one row of waiting against one of its rows of training
RANGES = {  # start, least and most
    "idle_share": (0.18, 0.05, 0.4),
    "busy_nanojoules_per_clock": (0.25, 0.02, 2.0),
    "picojoules_fp32": (8.5, 1.0, 30.0),
    "knee_mhz": (850.0, 300.0, 2000.0),
    "voltage_rise": (1.0, 0.05, 10.0),
    "picojoules_per_byte": (45.0, 5.0, 200.0),
}


@dataclass(frozen=True)
class Predicted:
    """Of each run: watts of one board, time over that at the board's own limit, seconds of a step; joules by part."""

    watts: np.ndarray
    relative_seconds: np.ndarray
    seconds: np.ndarray


def where_of(name: str, card: PoweredCard) -> str:
    """The class of cards that share a parameter."""
    match name:
        case "idle_share":
            return "HBM" if card.memory_type.startswith("HBM") else "GDDR"
        case "picojoules_per_byte":
            return card.memory_type
        case "busy_nanojoules_per_clock":
            return "all"
    return f"{card.nanometres} nm"


def value_of(name: str, card: PoweredCard, values: Values) -> float:
    """The card's number: of its class, else of the nearest process, else the median over classes."""
    where = where_of(name, card)
    if (own := values.get(f"{name}{SEPARATOR}{where}")) is not None:
        return own
    others = {key.partition(SEPARATOR)[2]: v for key, v in values.items() if key.startswith(name + SEPARATOR)}
    if where.endswith(" nm"):
        nearest = min(others, key=lambda at: (abs(int(at.split()[0]) - card.nanometres), at))
        return others[nearest]
    return float(np.median(list(others.values())))


def fitted_power(card: PoweredCard, values: Values) -> tuple[ProcessPower, float]:
    """(what the card's process draws, joules of a byte) with the fit's numbers."""
    own = {name: value_of(name, card, values) for name in RANGES}
    unit = own["picojoules_fp32"] * PICO / card.process.joules_per_flop["fp32"]
    return ProcessPower(
        own["idle_share"],
        own["busy_nanojoules_per_clock"] * NANO,
        {name: unit * joules for name, joules in card.process.joules_per_flop.items()},
        own["knee_mhz"] * MEGA,
        own["voltage_rise"],
    ), own["picojoules_per_byte"] * PICO


class Replay:
    """Runs of boards, stacked once and costed for any numbers of their cards."""

    def __init__(self, rows: Sequence[PoweredRun], calibration: Calibration) -> None:
        self.rows, self._calibration = rows, calibration
        self._cards = {row.card.key: row.card for row in rows}
        self._stacks = [(np.array(chosen), *self._stacked(chosen)) for chosen in stacks([row.run for row in rows])]

    def _stacked(self, chosen: Sequence[int]) -> tuple[Any, Any, Any]:
        """(workload, systems, plans) of these runs, and then of the same at their boards' own limits."""
        runs = [self.rows[i].run for i in chosen]
        systems: list[Any] = [run.system for run in runs]
        full = [
            replace(system, gpu=replace(system.gpu, power_limit_watts=system.gpu.board_limit_watts))
            for system in systems
        ]
        work: Any = runs[0].workload
        columns = {
            name: np.array([getattr(run.workload, name) for run in (*runs, *runs)])
            for name in ("seq_len", "global_batch_size", "head_positions", "decoder_seq_len")
        }
        return replace(work, **columns), stack([*systems, *full]), stack([run.plan for run in (*runs, *runs)])

    def predict(self, powers: Mapping[str, CardPower]) -> Predicted:
        """The runs with these powers of their cards."""
        count = len(self.rows)
        watts, relative, seconds = np.zeros(count), np.ones(count), np.zeros(count)
        for i, row in enumerate(self.rows):
            if row.scope == "waiting":
                watts[i] = powers[row.card.key].idle_watts
        for chosen, workload, systems, plans in self._stacks:
            keys = [self.rows[i].card.key for i in chosen]
            power = stack([powers[key] for key in (*keys, *keys)])
            software: Any = self.rows[chosen[0]].run.software
            system = replace(systems, gpu=replace(systems.gpu, power=power))
            found = estimate(workload, system, plans, software, self._calibration)
            step = np.broadcast_to(found.time.total_seconds, (2 * len(chosen),))
            watts[chosen] = np.broadcast_to(found.watts_per_gpu, step.shape)[: len(chosen)]
            relative[chosen] = step[: len(chosen)] / step[len(chosen) :]
            seconds[chosen] = step[: len(chosen)]
        return Predicted(watts, relative, seconds)

    def powers(self, values: Values) -> dict[str, CardPower]:
        """The cards' powers by the fit's numbers."""
        return {key: card.power(*fitted_power(card, values)) for key, card in self._cards.items()}


def fit_boards(replay: Replay, use: np.ndarray, start: Values | None = None) -> Fitted:
    """The numbers that bring watts and relative times of the rows in `use` nearest, each card weighing the same.

    Raises: ValueError when there are fewer measurements than numbers to fit.
    """
    chosen = [row for row, is_used in zip(replay.rows, use, strict=True) if is_used]
    part = Replay(chosen, replay._calibration)
    timed = np.array([row.relative_seconds > 0.0 for row in chosen])
    measured = np.concatenate([[row.watts for row in chosen], [r.relative_seconds for r in chosen if r.relative_seconds]])
    cards = np.array([row.card.key for row in chosen])
    counts = {key: np.sum(cards == key) for key in set(cards.tolist())}
    weights = np.array([np.sqrt(len(chosen) / len(counts) / counts[row.card.key]) for row in chosen])
    weights *= np.array([WAITING_WEIGHT if row.scope == "waiting" else 1.0 for row in chosen])
    parameters: dict[str, Parameter] = {}
    acts: dict[str, np.ndarray] = {}
    for name, (begin, least, most) in RANGES.items():
        for row_at, row in enumerate(chosen):
            full = f"{name}{SEPARATOR}{where_of(name, row.card)}"
            parameters[full] = Parameter(full, (start or {}).get(full, begin), least, most)
            acts.setdefault(full, np.zeros(len(chosen), dtype=bool))[row_at] = True

    def predict(values: Values) -> np.ndarray:
        found = part.predict(part.powers(values))
        return np.concatenate([found.watts, found.relative_seconds[timed]])

    masks = {name: np.concatenate([mask, mask[timed]]) for name, mask in acts.items()}
    return fit(list(parameters.values()), predict, measured, np.concatenate([weights, weights[timed]]), masks)
