"""What a job takes beside its steps: start-up, checkpoints, and what failures and preemptions cost."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.arrays import once_each
from perfsim.core.hardware import System, is_told
from perfsim.core.numbers import Floats, Ints
from perfsim.core.optimizer import OPTIMIZERS
from perfsim.core.results import JobTime
from perfsim.core.site import Site
from perfsim.core.workload import Workload
from perfsim.formulas.parameters import trainable
from perfsim.units import HOUR

NEWTON_STEPS = 4  # from Daly's estimate, which is 6 % off at worst, to the last bits
LEAST_RATE = 1e-30  # of interruptions a second; below there are none
LEAST_INTERVAL = 1e-9  # over the mean time between interruptions; below, nothing is lost
MOST_DELAY = 50.0  # of saves and restarts over that time; a job that waits e^50 as long never ends


@dataclass(frozen=True)
class Losses:
    """What a job loses of its time: seconds that do not depend on its length, and seconds per second of useful steps.

    interval_seconds: of useful steps between two checkpoints; infinite where none is needed.
    """

    start_up_seconds: Floats
    final_save_seconds: Floats
    checkpoints: Floats
    repeated: Floats
    restarts: Floats
    interval_seconds: Floats


def job_time(workload: Workload, system: System, gpus: Ints, site: Site, step_seconds: Floats) -> JobTime:
    """The job of `workload.steps` steps in parts [s]: fixed seconds, and steps·step_seconds/goodput.

    Both depend on workload, system and number of GPUs alone, so that of their plans the quickest step makes the
    quickest job.
    """

    def compute(on: System, count: Ints) -> Losses:
        return losses(workload, on, count, site)

    lost = (
        once_each([system.number, gpus], compute, system, np.asarray(gpus))
        if is_told(system)
        else compute(system, gpus)
    )
    useful = workload.steps * step_seconds
    return JobTime(
        start_up_seconds=lost.start_up_seconds,
        useful_seconds=useful,
        checkpoint_seconds=useful * lost.checkpoints,
        repeated_seconds=useful * lost.repeated,
        restart_seconds=useful * lost.restarts,
        final_save_seconds=lost.final_save_seconds,
    )


def losses(workload: Workload, system: System, gpus: Ints, site: Site) -> Losses:
    """What a job on `gpus` GPUs loses, with checkpoints at the interval that costs least.

    With interruptions at random, a save of δ and M the mean time between them, useful work of τ takes, saved,

        M·e^(R/M)·(e^((τ + δ)/M) - 1)          M·(e^(R/M) - 1)·(e^((τ + δ)/M) - 1) of it in restarts of R

    for an interruption in the middle of a restart begins another. Holds for: jobs of many τ; shorter ones lose less.
    Source: Daly 2006 (Future Generation Computer Systems 22, 303), docs/formulas.md#goodput.
    """
    nodes = np.ceil(1.0 * np.asarray(gpus) / system.gpus_per_node)
    rate = (1.0 * gpus * site.failures_per_gpu_hour + nodes * site.preemptions_per_hour) / HOUR
    rate = np.where(rate > LEAST_RATE, rate, 0.0)
    save = save_seconds(workload, nodes, site)
    delay = np.minimum(rate * save, MOST_DELAY)
    interval = best_interval(delay)
    grown = np.expm1(interval + delay)
    return Losses(
        start_up_seconds=site.start_up_seconds,
        final_save_seconds=save,
        checkpoints=delay / interval,
        repeated=np.where(delay > 0.0, np.maximum(grown - interval - delay, 0.0), 0.0) / interval,
        restarts=np.expm1(np.minimum(rate * site.restart_seconds, MOST_DELAY)) * grown / interval,
        interval_seconds=np.divide(interval, rate, out=np.full(np.shape(rate), np.inf), where=rate > 0.0),
    )


def best_interval(delay: Floats) -> Floats:
    """Useful work between two saves that wastes least, over the mean time between interruptions [-].

    delay: a save, over the same. The root x of 1 - x = e^(-x - delay), by Newton's steps from Daly's estimate,
    √(2·delay)·(1 + √(delay/2)/3 + delay/18) - delay, of which the first factor is Young's. It does not depend on how
    long a restart takes. Source: Young 1974 (CACM 17, 530), Daly 2006 (docs/formulas.md#goodput).

    >>> minutes = best_interval(np.array([5.0 / (24 * 60), 5.0 / (6 * 60), 5.0 / 15])) * np.array([24 * 60, 6 * 60, 15])
    >>> minutes.round(1).tolist()  # by his series 117, 57 and 9.1 (figures 3 to 5)
    [116.7, 56.7, 9.2]
    """
    half = np.minimum(0.5 * np.asarray(delay), 1.0)
    first = 2.0 * np.sqrt(half) * (1.0 + np.sqrt(half) / 3.0 + half / 9.0) - 2.0 * half
    interval = first = np.maximum(first, LEAST_INTERVAL)
    for _ in range(NEWTON_STEPS):
        wrong = interval + np.expm1(-(interval + delay))
        interval = interval - wrong / np.maximum(-np.expm1(-(interval + delay)), LEAST_INTERVAL)
        interval = np.clip(interval, 0.5 * first, 1.0)
    return interval


def save_seconds(workload: Workload, nodes: Floats, site: Site) -> Floats:
    """Writing what is trained, each machine its share [s]; 0 where the site leaves saves out."""
    if not site.checkpoint_bytes_per_s:
        return 0.0 * nodes
    return checkpoint_bytes(workload) / (nodes * site.checkpoint_bytes_per_s)


def checkpoint_bytes(workload: Workload) -> float:
    """What training resumes from: trained weights, their master copies and the optimizer's state [B].

    Sums of rows and columns (Adafactor) and the second moments that Muon keeps of embeddings are left out.
    """
    precision, optimizer = workload.precision, OPTIMIZERS[workload.optimizer]
    trained = trainable(workload.model, workload.task, workload.head, workload.lora_rank, workload.lora_targets)
    state = precision.master_bytes + precision.state_bytes * optimizer.moments + optimizer.own_bytes
    return float(trained) * (precision.weight_bytes + state)
