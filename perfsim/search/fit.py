"""What fits on which card: the largest micro-batch, the longest sequence and the chance, for several ways to train.

Memory does not depend on the card, so it is counted once for all of them and held against what each has.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.core.arrays import stack
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu, System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.plan import Plan, Problem, Recompute
from perfsim.core.software import Software
from perfsim.core.workload import Head, Workload
from perfsim.formulas.fits import fit_probability, safe_bytes
from perfsim.formulas.legality import card_problems
from perfsim.formulas.memory import memory
from perfsim.formulas.pipeline import microbatches_of
from perfsim.graphs.holdings import stage_holdings
from perfsim.graphs.stage import stage_costs

if TYPE_CHECKING:
    import pandas as pd

MOST_SAMPLES, MOST_TOKENS = 2**16, 2**24  # of a micro-batch, of a sequence; nothing larger is looked for
SHARDS = (2, 4, 8)  # times the GPUs asked for, over which ZeRO-3 is tried
_BY_TOKEN = (Head.LANGUAGE_MODEL, Head.SPAN, Head.REPLACED)  # heads that may work on every token of a sequence


@dataclass(frozen=True)
class Method:
    """A way to train; `workloads` differ in number formats, of which a card takes the first that it can."""

    name: str
    workloads: tuple[Workload, ...]


@dataclass(frozen=True)
class FitQuestion:
    """Cards and ways to train.

    plan: its micro-batch is the one asked about, at the workloads' seq_len. recompute: the choices that plans have,
    the quickest first. least_tokens, most_tokens: that a sequence of the model may have; system: any, for memory does
    not depend on it.
    """

    methods: tuple[Method, ...]
    cards: tuple[Gpu, ...]
    software: Software
    calibration: Calibration
    system: System
    plan: Plan
    recompute: tuple[Recompute, ...]
    least_tokens: int
    most_tokens: int


@dataclass(frozen=True)
class Lighter:
    """A change of the plan, and what it leaves of the need [methods], [B]; NaN where there is no such change."""

    text: str
    memory_bytes: np.ndarray


@dataclass(frozen=True)
class Fit:
    """The answer; arrays [methods, cards] but for capacity_bytes [cards].

    formats: which of a method's workloads a card takes; problems: bits of what stops all of them, 0 elsewhere.
    memory_bytes: of the micro-batch asked about, with the first recomputation that surely fits, else with the one that
    needs least; fit_probability: that this fits [-]. largest_micro_batch [sequences] at the seq_len asked about and
    longest_sequence [tokens] of a micro-batch of one: of all that surely fit, 0 where none does.
    """

    question: FitQuestion
    capacity_bytes: np.ndarray
    formats: np.ndarray
    problems: np.ndarray
    recompute: np.ndarray
    memory_bytes: np.ndarray
    fit_probability: np.ndarray
    largest_micro_batch: np.ndarray
    longest_sequence: np.ndarray
    lighter: tuple[Lighter, ...]

    def workload(self, method: int, card: int) -> Workload:
        """What a card is asked to train."""
        return self.question.methods[method].workloads[int(self.formats[method, card])]

    def records(self) -> dict[str, list[Any]]:
        """Columns of plain values, one row a card and method, SI units in the names; None where nothing runs."""
        cards, methods = self.question.cards, self.question.methods
        runs = (self.problems == 0).ravel().tolist()
        jobs = [self.workload(i, j) for i in range(len(methods)) for j in range(len(cards))]
        figures = ("memory_bytes", "fit_probability", "largest_micro_batch", "longest_sequence")
        told = {name: getattr(self, name).ravel().tolist() for name in figures}
        return {
            "gpu": [card.key for _ in methods for card in cards],
            "gpu_name": [card.name for _ in methods for card in cards],
            "method": [method.name for method in methods for _ in cards],
            "precision": [job.precision.key for job in jobs],
            "optimizer": [job.optimizer for job in jobs],
            "gpus": [int(self.question.plan.gpus)] * len(jobs),
            "zero_stage": [int(self.question.plan.zero_stage)] * len(jobs),
            "micro_batch_size": [int(self.question.plan.micro_batch_size)] * len(jobs),
            "seq_len": [int(job.seq_len) for job in jobs],
            "memory_capacity_bytes": np.tile(self.capacity_bytes, len(methods)).tolist(),
            **{name: [one if ok else None for one, ok in zip(told[name], runs, strict=True)] for name in figures},
            "recompute": [Recompute(r).name.lower() for r in self.recompute.ravel().tolist()],
            "problem": [" and ".join(p.text for p in Problem if p & bits) for bits in self.problems.ravel().tolist()],
        }

    def to_pandas(self) -> "pd.DataFrame":
        """One row a card and method (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def _repr_html_(self) -> str:
        import perfsim

        return perfsim.html(self)


def fit(question: FitQuestion) -> Fit:
    """The fit matrix of a question."""
    cards, software = stack(question.cards), question.software
    shape = len(question.methods), len(question.cards)
    capacity = np.broadcast_to(question.calibration.visible_memory_share * cards.memory_bytes, shape[1:])
    limits = np.asarray(safe_bytes(capacity, software.memory_spread))
    formats, problems = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    found = np.zeros((4, *shape))
    lighter: list[dict[str, float]] = []
    for row, method in enumerate(question.methods):
        bits = np.array([np.broadcast_to(card_problems(one, cards, software), shape[1:]) for one in method.workloads])
        worst = 2 * (bits & Problem.PRECISION != 0) + (bits != 0)
        formats[row] = np.argmin(worst, axis=0)  # the first that runs, else the first that there are units for
        problems[row] = bits[formats[row], np.arange(shape[1])]
        known: dict[object, np.ndarray] = {}
        for which in np.unique(formats[row]):
            workload = method.workloads[which]
            alike = replace(workload.precision, key="", matmul="")  # formats of the same bytes
            if alike not in known:
                known[alike] = _figures(question, workload, limits)
            found[:, row] = np.where(formats[row] == which, known[alike], found[:, row])
        lighter.append(_lighter(question, method.workloads[0]))
    runs = problems == 0
    chance = fit_probability(found[0], capacity, software.memory_spread)
    return Fit(
        question, capacity, formats, problems, found[1].astype(int), found[0], np.where(runs, chance, np.nan),
        np.where(runs, found[2], 0.0).astype(int), np.where(runs, found[3], 0.0).astype(int),
        tuple(Lighter(name, np.array([one.get(name, np.nan) for one in lighter])) for name in _names(lighter)),
    )  # fmt: skip


def needed_bytes(question: FitQuestion, workload: Workload, plan: Plan, samples: Ints, tokens: Ints) -> np.ndarray:
    """Bytes of the fullest GPU [B] with micro-batches of so many samples of so many tokens.

    plan: its micro-batch is not read. One micro-batch makes a step; more of them need no more.
    """
    is_by_token = workload.head in _BY_TOKEN and np.all(workload.head_positions == workload.seq_len)
    batch: Ints = samples * plan.data_parallel
    positions: Floats = 1.0 * tokens if is_by_token else workload.head_positions
    job = replace(workload, seq_len=tokens, global_batch_size=batch, head_positions=positions)
    these = replace(plan, micro_batch_size=samples)
    costs = stage_costs(job, question.system, these, question.software, question.calibration)
    held = stage_holdings(job, question.system, these, costs)
    used = memory(*held, these, question.software, job, microbatches_of(job, these))
    shape = np.broadcast_shapes(np.shape(samples), np.shape(tokens), np.shape(plan.recompute), np.shape(plan.gpus))
    return np.broadcast_to(used.total_bytes, shape)


def _figures(question: FitQuestion, workload: Workload, limits: np.ndarray) -> np.ndarray:
    """(bytes of the micro-batch asked about, its recomputation, largest micro-batch, longest sequence) [4, cards]."""
    choices = np.array(question.recompute)
    plan = replace(question.plan, recompute=choices.reshape(-1, 1, 1, 1))

    def least(sizes: np.ndarray) -> np.ndarray:
        """Bytes [2, points, limits] of sizes like that: micro-batches in the first row, sequences in the second."""
        is_batch = np.array([True, False]).reshape(2, 1, 1)
        samples, tokens = np.where(is_batch, sizes, 1), np.where(is_batch, workload.seq_len, sizes)
        needs: np.ndarray = needed_bytes(question, workload, plan, samples, tokens).min(axis=0)
        return needs

    distinct, place = np.unique(limits, return_inverse=True)
    lows, highs = np.array([1, question.least_tokens]), np.array([MOST_SAMPLES, question.most_tokens])
    batches, sequences = _largest(least, distinct, lows, highs)[:, place]
    at_once = replace(question.plan, recompute=choices)
    asked = needed_bytes(question, workload, at_once, question.plan.micro_batch_size, workload.seq_len)
    fits = asked[:, None] <= limits
    first = np.where(fits.any(axis=0), np.argmax(fits, axis=0), np.argmin(asked))
    return np.array([asked[first], choices[first], batches, sequences])


def _largest(
    least: Callable[[np.ndarray], np.ndarray], limits: np.ndarray, lows: np.ndarray, highs: np.ndarray
) -> np.ndarray:
    """The largest whole numbers from `lows` to `highs` [n] whose need is within `limits` [m], 0 where none; [n, m].

    least: the needs [n, points, m] of numbers like that, which grow with them. Powers of two first; then each gap is
    narrowed by its middle and by where a straight line would meet the limit, for needs are nearly straight.
    """
    powers = np.clip(2 ** np.arange(int(highs.max()).bit_length() + 1), lows[:, None], highs[:, None])
    needs = least(powers[:, :, None])
    order = (needs <= limits).sum(axis=1)  # points that fit, the clipped ones with them
    row = np.arange(len(lows))[:, None]
    below, above = np.maximum(order - 1, 0), np.minimum(order, powers.shape[1] - 1)
    low, high = powers[row, below], powers[row, above]
    low_need, high_need = needs[row, below, 0], needs[row, above, 0]
    none, all_fit = order == 0, order == powers.shape[1]
    high = np.where(none | all_fit, low, high)
    while np.any(high - low > 1):
        straight = low + (limits - low_need) / np.maximum(high_need - low_need, 1.0) * (high - low)
        guess = np.floor(straight).astype(np.int64)
        tried = np.stack([guess, guess + 1, (low + high) // 2], axis=1)
        tried = np.sort(np.clip(tried, low[:, None] + 1, np.maximum(high[:, None] - 1, low[:, None])), axis=1)
        needs = least(tried)
        for point in range(tried.shape[1]):
            size, need = tried[:, point], needs[:, point]
            is_between = (low < size) & (size < high)
            up, down = is_between & (need <= limits), is_between & (need > limits)
            low, low_need = np.where(up, size, low), np.where(up, need, low_need)
            high, high_need = np.where(down, size, high), np.where(down, need, high_need)
    return np.where(none, 0, low)


def _lighter(question: FitQuestion, workload: Workload) -> dict[str, float]:
    """What the micro-batch asked about needs after each change that makes it lighter [B]; "" is no change."""
    samples, tokens, plan = question.plan.micro_batch_size, workload.seq_len, question.plan
    choices = sorted({*question.recompute, Recompute.FULL})
    at_once = replace(plan, recompute=np.array(choices))

    def needs(workload: Workload, plan: Plan) -> np.ndarray:
        return needed_bytes(question, workload, plan, samples, tokens)

    by_choice = dict(zip(choices, needs(workload, at_once).tolist(), strict=True))
    found = {"": min(by_choice[one] for one in question.recompute)}
    if Recompute.FULL not in question.recompute:
        found["full recomputation"] = by_choice[Recompute.FULL]
    own = replace(plan, recompute=min(question.recompute, key=by_choice.__getitem__))
    if workload.optimizer in ("adam", "adamw"):
        name = f"{workload.optimizer}8bit"
        found[name] = float(needs(replace(workload, optimizer=name), own))
    ranks = int(plan.data_parallel) * np.array(SHARDS)
    sharded = needs(workload, replace(own, data_parallel=ranks, zero_stage=3))
    found |= zip((f"ZeRO-3 over {n:,} GPUs" for n in ranks.tolist()), sharded.tolist(), strict=True)
    return {name: size for name, size in found.items() if not name or size < found[""]}


def _names(lighter: list[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for one in lighter for name in one))
