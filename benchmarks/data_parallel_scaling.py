"""How a step grows with the number of GPUs that exchange gradients: measured ratios against predicted ones.

Run: python benchmarks/data_parallel_scaling.py [RUNS.csv]

Takes the BERT steps of lambdal/deeplearning-benchmark and NVIDIA/DeepLearningExamples that were measured on one GPU and
on several with the same micro-batches, and divides: n-GPU step over 1-GPU step. Printed by the kind of links, with the
presets that a system gets by rule, and with the bus bandwidth that the other runs on the same machine show (the folder
that they were published in). The presets for ways through host memory were set to the median of these very rows: for
them the first table is in sample.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perfsim.calibration.validate import Replayed, replay
from perfsim.formulas.parameters import count
from perfsim.formulas.stragglers import straggling
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.runs import read_runs
from perfsim.paths import builtin

COLLECTIONS = {"lambda-bertb": "Lambda BERT", "lambda-bertl": "Lambda BERT", "dle-bert": "NVIDIA BERT"}


@dataclass(frozen=True)
class Scaling:
    """One run on several GPUs and its twin on one; seconds of a step.

    group: collection and kind of links. machine: runs of the same one share its links. gradient_bytes: exchanged [B].
    """

    group: str
    machine: Hashable
    ranks: int
    gradient_bytes: float
    measured_one: float
    measured: float
    predicted_one: float
    predicted: float

    @property
    def wire_bytes(self) -> float:
        """What a rank sends in a ring [B]."""
        return 2.0 * (self.ranks - 1) / self.ranks * self.gradient_bytes

    def longer(self, jitter: float) -> float:
        """What the step takes longer than on one GPU, apart from waiting for the slowest rank [s]."""
        return self.measured / (1.0 + float(straggling(self.ranks, jitter))) - self.measured_one

    def error(self, predicted_ratio: float) -> float:
        """Of a predicted n-GPU over 1-GPU step, against the measured one [%]."""
        return 100.0 * (predicted_ratio / (self.measured / self.measured_one) - 1.0)


def scalings(replayed: Sequence[Replayed], links: dict[str, str]) -> list[Scaling]:
    """Every run on several GPUs whose workload was also measured on one, with the same micro-batches and software."""
    ones: dict[Hashable, list[Replayed]] = defaultdict(list)
    timed = [r for r in replayed if r.predicted_step_seconds and r.run.measured_step_seconds]
    for found in timed:
        if _gpus(found) == 1:
            ones[_twin(found)].append(found)
    pairs = []
    for found in timed:
        run, one = found.run, ones.get(_twin(found))
        if _gpus(found) == 1 or not one:
            continue
        pairs.append(
            Scaling(
                group=f"{COLLECTIONS[run.collection]}, {links[run.run_id]}",
                machine=(_folder(run.source), run.gpu_key, links[run.run_id], _gpus(found)),
                ranks=_gpus(found),
                gradient_bytes=min(run.workload.precision.gradient_bytes, 4.0) * count(run.workload.model).total,
                measured_one=float(np.median([o.run.measured_step_seconds for o in one])),
                measured=run.measured_step_seconds,
                predicted_one=float(np.median([o.predicted_step_seconds for o in one])),
                predicted=found.predicted_step_seconds,
            )
        )
    return pairs


def _folder(source: str) -> str:
    """Where a run was published, without the file's name."""
    return source.split("#")[0].rpartition("/")[0]


def _gpus(found: Replayed) -> int:
    return int(found.run.plan.gpus)


def _twin(found: Replayed) -> Hashable:
    run = found.run
    share = int(run.workload.global_batch_size) // int(run.plan.data_parallel)
    return (
        run.collection, run.gpu_key, run.software.key, run.workload.precision.key, run.model_key,
        int(run.workload.seq_len), int(run.plan.micro_batch_size), share,
    )  # fmt: skip


def by_preset(pairs: Sequence[Scaling]) -> dict[int, float]:
    """Errors [%] with the presets that the systems get by rule, by place in `pairs`."""
    return {i: pair.error(pair.predicted / pair.predicted_one) for i, pair in enumerate(pairs)}


def by_machine(pairs: Sequence[Scaling], jitter: float) -> dict[int, float]:
    """Errors [%] with the bus bandwidth of the machine's other runs; runs without others are left out.

    The seconds a wire byte takes are fitted by least squares to the others' longer steps, each in its own step times.
    """
    errors = {}
    for i, pair in enumerate(pairs):
        others = [p for j, p in enumerate(pairs) if p.machine == pair.machine and j != i]
        if others:
            wire, longer = np.array([(p.wire_bytes / p.measured, p.longer(jitter) / p.measured) for p in others]).T
            seconds_per_byte = max(0.0, float(wire @ longer / (wire @ wire)))
            alone = pair.measured_one + pair.wire_bytes * seconds_per_byte
            errors[i] = pair.error(alone * (1.0 + float(straggling(pair.ranks, jitter))) / pair.measured_one)
    return errors


def show(title: str, pairs: Sequence[Scaling], errors: dict[int, float]) -> None:
    """One line for each group, and one for all."""
    print(f"{title:44}{'rows':>6}{'MAPE':>7}{'median':>8}{'bias':>8}")
    groups = sorted({pairs[i].group for i in errors})
    for group in [*groups, "all"]:
        found = np.array([error for i, error in errors.items() if group in (pairs[i].group, "all")])
        size = np.abs(found)
        print(f"  {group:42}{len(found):>6}{size.mean():>7.1f}{np.median(size):>8.1f}{found.mean():>+8.1f}")


def main(path: Path) -> None:
    """Print both tables."""
    known = catalogue()
    with path.open(newline="", encoding="utf-8") as file:
        links = {row["run_id"]: row["fabric"] for row in csv.DictReader(file)}
    runs = [run for run in read_runs([path], known) if run.quality in "ab" and run.collection in COLLECTIONS]
    calibration = known.calibration()
    pairs = scalings(replay(runs, calibration), links)
    show("presets by rule", pairs, by_preset(pairs))
    show("bus bandwidth of the machine's other runs", pairs, by_machine(pairs, calibration.rank_jitter))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else builtin("scenarios") / "validation" / "runs.csv")
