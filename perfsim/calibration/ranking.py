"""Whether what is predicted to be the fastest is measured to be, among runs that differ by one choice.

Who sweeps takes the plan, the number of GPUs or the card that is predicted to be the best. An error that all of them
share does no harm then; an error that favours some does, however small the mean error is.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, median
from typing import Literal, get_args

import numpy as np
from scipy.stats import kendalltau

from perfsim.calibration.accuracy import NAMES, By
from perfsim.calibration.runs import UNSTATED_MICRO_BATCH
from perfsim.calibration.validate import Replayed

Choice = Literal["plan", "gpus", "card"]  # plan or batch on the same GPUs; how many GPUs of a card; which card
CHOICES: tuple[Choice, ...] = get_args(Choice)
TRUSTED = "ab"  # qualities of the rows that are ranked
FEWEST = 3  # plans, numbers of GPUs or cards
NOISE = 0.01


@dataclass(frozen=True)
class Measured:
    """Runs that are alike in everything: sequences per second and GPU, the median measurement and the prediction."""

    runs: tuple[Replayed, ...]
    measured_per_s: float
    predicted_per_s: float


@dataclass(frozen=True)
class Alternatives:
    """What one could have chosen for the same training, at least three, not all measured to be equally fast.

    Alternatives whose measurements lie within NOISE of each other have no measured order: what was run twice differs
    by as much (0.9 % in the median pair of the shipped table's repetitions). `tau` and `is_best` take every figure at
    its word; `clear_tau` and `is_near_best` count what lies beyond the noise.
    """

    choice: Choice
    members: tuple[Measured, ...]

    @property
    def chosen(self) -> Measured:
        """The one that is predicted to be the fastest; the slowest measured of those, where several are."""
        return max(self.members, key=lambda one: (one.predicted_per_s, -one.measured_per_s))

    @property
    def best(self) -> Measured:
        """The one that is measured to be the fastest."""
        return max(self.members, key=lambda one: one.measured_per_s)

    @property
    def regret(self) -> float:
        """Share of the best measured throughput that is lost by trusting the prediction."""
        return 1.0 - self.chosen.measured_per_s / self.best.measured_per_s

    @property
    def is_best(self) -> bool:
        """The chosen one is the best measured one."""
        return self.regret == 0.0

    @property
    def is_near_best(self) -> bool:
        """The chosen one is the best measured one, or within NOISE of it."""
        return self.regret <= NOISE

    @property
    def tau(self) -> float:
        """Kendall's tau-b of predicted and measured throughputs; 0 where all predictions are equal."""
        predicted = [one.predicted_per_s for one in self.members]
        found = float(kendalltau(predicted, [one.measured_per_s for one in self.members]).statistic)
        return 0.0 if np.isnan(found) else found

    @property
    def clear_tau(self) -> float | None:
        """Pairs in the right order less those in the wrong one, of pairs more than NOISE apart; None without any.

        A pair that is predicted to be equal counts as neither.
        """
        signs = [
            np.sign((a.predicted_per_s - b.predicted_per_s) * (a.measured_per_s - b.measured_per_s))
            for a, b in combinations(self.members, 2)
            if abs(a.measured_per_s - b.measured_per_s) > NOISE * max(a.measured_per_s, b.measured_per_s)
        ]
        return float(np.mean(signs)) if signs else None


@dataclass(frozen=True)
class Ranking:
    """How well the groups of one source, card, model or software are ranked; shares of one, None without any."""

    name: str
    groups: int
    runs: int
    mean_tau: float | None
    median_tau: float | None
    clear_groups: int  # with pairs that are further apart than the noise
    mean_clear_tau: float | None
    mean_regret: float | None
    worst_regret: float | None
    best_chosen: int
    near_best_chosen: int
    worst: Alternatives | None  # by regret, then tau


def alternatives(replayed: Sequence[Replayed], choice: Choice = "plan") -> list[Alternatives]:
    """The groups of runs among which there is this choice, in the order of their first runs.

    Alike are publication and software (the stack, where the table names one), model, task, sequence length, number
    formats and all else of the workload but the global batch; and, unless it is what is chosen, the card, the number
    of GPUs and the machines. Rows of quality a and b count whose step was measured and predicted. A recomputation
    or ZeRO stage that the source does not state is assumed alike for all, but an unstated micro-batch leaves the row
    out. Runs that are alike in everything are one alternative.
    """
    groups: dict[Hashable, dict[Hashable, list[Replayed]]] = defaultdict(lambda: defaultdict(list))
    chosen: dict[Hashable, set[Hashable]] = defaultdict(set)
    for one in replayed:
        run = one.run
        if one.time_error is None or run.quality not in TRUSTED or UNSTATED_MICRO_BATCH in run.assumptions:
            continue
        if run.workload and run.system and run.plan:
            machines, plan = repr(replace(run.system, key="", name="")), (run.plan, run.workload.global_batch_size)
            card: Hashable = (run.gpu_key, run.system.gpu.power_limit_watts)
            gpus = int(run.plan.gpus)
            fixed: Hashable
            option: Hashable
            if choice == "plan":
                fixed, option = (gpus, machines), plan
            elif choice == "gpus":
                fixed, option = card, gpus
            else:
                fixed, option = gpus, card
            workload = replace(run.workload, global_batch_size=0)
            setting = run.collection, run.stack or run.software_text, run.software, workload, fixed
            groups[setting][machines, plan].append(one)
            chosen[setting].add(option)
    found = [
        Alternatives(choice, tuple(_measured(runs) for runs in members.values()))
        for setting, members in groups.items()
        if len(chosen[setting]) >= FEWEST
    ]
    return [group for group in found if len({one.measured_per_s for one in group.members}) > 1]


def ranking(groups: Sequence[Alternatives], by: By = "source") -> list[Ranking]:
    """How well the groups of each source, card, model or software are ranked, most first, after all of them, "all".

    A group that is about several cards goes by the first.
    """
    by_name: dict[str, list[Alternatives]] = defaultdict(list)
    for group in groups:
        by_name[NAMES[by](group.members[0].runs[0])].append(group)
    ordered = sorted(by_name.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_ranking("all", groups), *(_ranking(name, members) for name, members in ordered)]


def _measured(runs: Sequence[Replayed]) -> Measured:
    """One alternative from its runs, which are predicted alike."""
    run = runs[0].run
    batch = run.workload.global_batch_size / run.plan.gpus if run.workload and run.plan else 0
    seconds = median(one.run.measured_step_seconds for one in runs)
    return Measured(tuple(runs), float(batch / seconds), float(batch / runs[0].predicted_step_seconds))


def _ranking(name: str, groups: Sequence[Alternatives]) -> Ranking:
    taus, regrets = [group.tau for group in groups], [group.regret for group in groups]
    clear = [tau for group in groups if (tau := group.clear_tau) is not None]
    return Ranking(
        name=name,
        groups=len(groups),
        runs=sum(len(one.runs) for group in groups for one in group.members),
        mean_tau=fmean(taus) if taus else None,
        median_tau=median(taus) if taus else None,
        clear_groups=len(clear),
        mean_clear_tau=fmean(clear) if clear else None,
        mean_regret=fmean(regrets) if regrets else None,
        worst_regret=max(regrets, default=None),
        best_chosen=sum(group.is_best for group in groups),
        near_best_chosen=sum(group.is_near_best for group in groups),
        worst=max(groups, key=lambda group: (group.regret, -group.tau), default=None),
    )
