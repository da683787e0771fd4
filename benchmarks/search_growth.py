"""How the search's time grows with its space: GPT-3 175B on 1,024 A100 with ever more choices, on one core.

Run: python benchmarks/search_growth.py [PICTURE]   prints a table; writes the picture (docs/search-growth.svg)
"""

import sys
import time
from dataclasses import replace

import matplotlib.pyplot as plt
from search_seconds import gpt3_space, legal_plans

import perfsim as ps
from perfsim.core.plan import Offload, Schedule
from perfsim.search import branch
from perfsim.search.question import Question
from perfsim.search.space import Space
from perfsim.search.sweep import sweep

FULL = gpt3_space()
SPACES = (
    replace(
        FULL, context_parallel=(1,), recompute_layers=(0,), schedule=(Schedule.ONE_F_ONE_B,), hybrid_shard=(0,),
        offload=(Offload.NONE,), virtual_stages=(1, 2),
    ),
    replace(FULL, context_parallel=(1,), recompute_layers=(0,), hybrid_shard=(0,), offload=(Offload.NONE,)),
    replace(FULL, recompute_layers=(0, 48), hybrid_shard=(0,)),
    replace(FULL, recompute_layers=tuple(range(0, 96, 12))),
    FULL,
    replace(FULL, recompute_layers=tuple(range(96)), hybrid_shard=(0, 2, 8, 16, 32, 64, 128), context_exchange=(0, 2)),
)  # fmt: skip


def main() -> None:
    """Time every space and draw legal plans against seconds."""
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model("gpt3-175b"), task="pretrain", seq_len=2048, global_batch_size=3072, precision="bf16-mixed"
    )
    software, system = catalogue.software("megatron-core"), catalogue.system("dgx-a100-80gb")

    def timed(space: Space) -> tuple[int, float]:
        """(legal plans, seconds) of one search, printed."""
        start = time.process_time()
        found = sweep(workload, software, catalogue.calibration(), [system], space)
        seconds, told = time.process_time() - start, found.certificate
        legal = legal_plans(
            Question(workload, software, catalogue.calibration(), found.systems, found.space, found.site)
        )
        print(f"{told.considered:16,} {legal:16,} {told.costed:15,} {seconds:8.2f}")
        return legal, seconds

    print(f"{'plans':>16} {'legal, distinct':>16} {'costed in full':>15} {'seconds':>8}")
    points = [timed(space) for space in (SPACES[0], *SPACES)][1:]  # the first search reads files
    if len(sys.argv) > 1:
        few, branch.FEW = branch.FEW, sys.maxsize  # as many as come are costed without a look at their bounds
        start = time.process_time()
        costed = sweep(workload, software, catalogue.calibration(), [system], SPACES[1]).certificate.costed
        branch.FEW = few
        draw(points, (time.process_time() - start) / costed, sys.argv[1])


def draw(points: list[tuple[int, float]], each: float, path: str) -> None:
    """Seconds over legal plans on logarithmic axes, beside what costing each of them would take."""
    legal, seconds = zip(*points, strict=True)
    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    axes.loglog(legal, seconds, "o-", color="tab:blue")
    axes.loglog(legal, [each * n for n in legal], "--", color="tab:gray")
    axes.annotate("branch and bound", (legal[-1], seconds[-1]), (-8, 10), textcoords="offset points", ha="right")
    axes.annotate("every plan costed", (legal[-3], each * legal[-3]), (-8, 6), textcoords="offset points", ha="right")
    axes.set(xlabel="legal, distinct plans", ylabel="seconds on one core", title="GPT-3 175B on 1,024 A100")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
