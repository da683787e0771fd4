"""Plans a second on one core: GPT-3 175B as an open grid, as a flat list and one by one; one long pipeline simulated.

Run: python benchmarks/plans_per_second.py
"""

import time
from collections.abc import Callable
from dataclasses import fields

import numpy as np

import perfsim as ps
from perfsim.core.arrays import ravel, take
from perfsim.core.plan import Plan, Schedule
from perfsim.estimate import estimate
from perfsim.formulas.pipeline import Work
from perfsim.graphs.schedule import step_seconds
from perfsim.search.space import Space, filled, grid

GPUS = (512, 1024, 2048)
CHUNK = 65_536
HUGE_STAGES, HUGE_MICROBATCHES = 35, 2240  # a 530B model's pipeline in 3 virtual stages
CALCULON_PLANS_PER_S = "73-191"  # calculon-ai/calculon caa4b11, llm/optimal_execution, one core of the same kind


def seconds_of(run: Callable[[], object], times: int = 3) -> float:
    """The fastest of a few runs, in CPU seconds."""
    best = np.inf
    for _ in range(times):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return float(best)


def main() -> None:
    """Print the rates."""
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model("gpt3-175b"), task="pretrain", seq_len=2048, global_batch_size=1536, precision="bf16-mixed"
    )
    system, software = catalogue.system("dgx-a100-80gb"), catalogue.software("megatron-2022")
    calibration = catalogue.calibration()
    space = filled(Space(counts=GPUS), workload, [system])
    plans, _ = grid(space, software)
    shape = np.broadcast_shapes(*(np.shape(getattr(plans, f.name)) for f in fields(Plan)))
    flat = ravel(plans, shape)
    size = int(np.prod(shape))
    repeats = max(1, 1_000_000 // size)

    def cost(these: Plan) -> np.ndarray:
        found = estimate(workload, system, these, software, calibration)
        return np.where(found.problems == 0, found.time.total_seconds, np.inf)

    def in_chunks() -> None:
        for _ in range(repeats):
            for start in range(0, size, CHUNK):
                cost(take(flat, slice(start, start + CHUNK)))

    one = take(flat, 0)
    print(f"GPT-3 175B on {GPUS} A100, {size:,} plans, one core")
    print(f"open grid   {size / seconds_of(lambda: cost(plans)):>14,.0f} plans/s")
    print(f"flat list   {size * repeats / seconds_of(in_chunks):>14,.0f} plans/s")
    print(f"one by one  {1 / (seconds_of(lambda: [cost(one) for _ in range(20)]) / 20):>14,.0f} plans/s")
    even = np.ones((3, HUGE_STAGES))  # chunks, stages
    huge = Work(even, even, even, send=0.1)
    simulated = seconds_of(lambda: step_seconds(Schedule.ONE_F_ONE_B, HUGE_STAGES, HUGE_MICROBATCHES, 3, huge))
    print(f"simulated   {1e3 * simulated:>14,.1f} ms for one interleaved plan of 530B (SimuMax: 30 s)")
    print(f"Calculon    {CALCULON_PLANS_PER_S:>14} plans/s (its own figures on a like core)")


if __name__ == "__main__":
    main()
