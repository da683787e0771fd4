"""How long the best of all plans takes: GPT-3 175B on 1,024 A100 over a space wider than Calculon's, on one core.

Run: python benchmarks/search_seconds.py
"""

import resource
import time

import perfsim as ps
from perfsim.core.plan import Offload, Placement, Schedule
from perfsim.search.space import Space
from perfsim.search.sweep import sweep

BATCH, LAYERS = 3072, 96
CALCULON = "11.7 M plans in about 17 core-hours"  # calculon-ai/calculon caa4b11, llm/optimal_execution


def divisors(whole: int) -> tuple[int, ...]:
    """All of them."""
    return tuple(part for part in range(1, whole + 1) if whole % part == 0)


def main() -> None:
    """Print the size of the space, seconds, memory and the best plan."""
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model("gpt3-175b"), task="pretrain", seq_len=2048, global_batch_size=BATCH, precision="bf16-mixed"
    )
    space = Space(
        counts=(1024,), tensor_parallel=(1, 2, 4, 8, 16, 32), pipeline_parallel=divisors(LAYERS),
        context_parallel=(1, 2, 4, 8), micro_batch_size=divisors(BATCH), virtual_stages=(1, 2, 3, 4, 6, 8, 12),
        recompute_layers=(0, 24, 48, 72), schedule=(Schedule.GPIPE, Schedule.ONE_F_ONE_B), placement=tuple(Placement),
        offload=(Offload.NONE, Offload.OPTIMIZER, Offload.ACTIVATIONS),
    )  # fmt: skip
    system, software = catalogue.system("dgx-a100-80gb"), catalogue.software("megatron-core")
    start = time.process_time()
    found = sweep(workload, software, catalogue.calibration(), [system], space)
    seconds = time.process_time() - start
    _, plan, estimate = found.best()
    print(f"{found.considered:,} plans, {found.runnable:,} of which can run: {seconds:.1f} s, one core")
    print(
        f"{found.considered / seconds:,.0f} plans/s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )
    print(f"best: {float(estimate.time.total_seconds):.2f} s a step: {plan}")
    print(f"Calculon: {CALCULON}")


if __name__ == "__main__":
    main()
