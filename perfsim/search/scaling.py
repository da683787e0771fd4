"""How a sweep's best plans scale: of every card the fastest plan of each number of GPUs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perfsim.core.results import Estimate
from perfsim.search.branch import is_safe

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

EXPOSED = (
    "tensor_parallel_seconds", "context_parallel_seconds", "expert_parallel_seconds", "parameter_gather_seconds",
    "pipeline_send_seconds", "gradient_reduce_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Scaling:
    """One card's fastest plans over the number of GPUs, fewest first: arrays have one entry a number.

    rows: of the sweep; samples_per_s; speedup: over the fewest GPUs; efficiency: of it, what so many more GPUs would
    reach at best is 1; exposed and bubble: shares of the step that communication and the pipeline's ends take.
    """

    gpu_key: str
    gpu_name: str
    rows: np.ndarray
    gpus: np.ndarray
    samples_per_s: np.ndarray
    exposed: np.ndarray
    bubble: np.ndarray

    @property
    def speedup(self) -> np.ndarray:
        """Over the fewest GPUs that run it."""
        found: np.ndarray = self.samples_per_s / self.samples_per_s[0]
        return found

    @property
    def efficiency(self) -> np.ndarray:
        """The speed-up over that of a job that scales perfectly, 1 at best (more where memory or batches grow)."""
        found: np.ndarray = self.speedup * self.gpus[0] / self.gpus
        return found


def scaling(sweep: "Sweep") -> list[Scaling]:
    """The cards of a sweep in its order, each with its fastest plan of every number of GPUs.

    Plans that surely fit stand before those that may not.
    """
    count = len(sweep)
    gpus = np.broadcast_to(sweep.plans.gpus, (count,))
    seconds = np.broadcast_to(sweep.estimates.time.total_seconds, (count,))
    safe = np.broadcast_to(is_safe(sweep.estimates), (count,))
    best: dict[tuple[str, int], int] = {}
    for row in np.lexsort((seconds, ~safe)).tolist():
        best.setdefault((sweep.systems[int(sweep.system_index[row])].gpu.key, int(gpus[row])), row)
    exposed, bubble = (np.broadcast_to(share, (count,)) for share in exposed_shares(sweep.estimates))
    rate = np.broadcast_to(sweep.estimates.samples_per_s, (count,))
    found = []
    for first in sweep.best_per_gpu().tolist():
        gpu = sweep.systems[int(sweep.system_index[first])].gpu
        rows = np.array([best[key] for key in sorted(key for key in best if key[0] == gpu.key)])
        found.append(Scaling(gpu.key, gpu.name, rows, gpus[rows], rate[rows], exposed[rows], bubble[rows]))
    return found


def exposed_shares(found: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Of a step, the shares of communication that nothing hides and of the pipeline's bubble."""
    parts, total = found.time.parts(), found.time.total_seconds
    exposed = sum((np.asarray(parts[name]) for name in EXPOSED), start=np.zeros(()))
    return np.asarray(exposed / total), np.asarray(found.time.pipeline_bubble_seconds / total)
