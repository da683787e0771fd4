"""How long the best of all plans takes, on one core: one large model, a larger one, and a fleet of cards.

Run: python benchmarks/search_seconds.py
"""

import resource
import time
from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np

import perfsim as ps
from perfsim.core.hardware import System
from perfsim.core.plan import Offload, Placement, Schedule
from perfsim.inputs.choice import systems_for
from perfsim.search import branch
from perfsim.search.certificate import Certificate
from perfsim.search.question import Question
from perfsim.search.space import AXES, Rows, Space
from perfsim.search.sweep import sweep

CALCULON = "11.7 M plans of GPT-3 in about 17 core-hours"  # calculon-ai/calculon caa4b11, llm/optimal_execution
CARDS = (
    "RTX 3060 12GB", "RTX 3090", "RTX 4090", "RTX 5090", "RTX A4000", "RTX A6000", "RTX 6000 Ada", "T4", "A10", "A30",
    "L4", "L40S", "V100 SXM2 32GB", "A100 SXM 40GB", "A100 SXM 80GB", "H100 PCIe", "H100 SXM", "H200 SXM", "B200",
    "GH200 96GB",
)  # fmt: skip


def divisors(whole: int) -> tuple[int, ...]:
    """All of them."""
    return tuple(part for part in range(1, whole + 1) if whole % part == 0)


def gpt3_space(layers: Sequence[int] = range(0, 96, 2)) -> Space:
    """Calculon's choices for GPT-3 175B and those that it lacks; `layers`: how many full recomputation covers."""
    return Space(
        counts=(1024,), tensor_parallel=(1, 2, 4, 8, 16, 32), pipeline_parallel=divisors(96),
        context_parallel=(1, 2, 4, 8), micro_batch_size=divisors(3072), virtual_stages=(1, 2, 3, 4, 6, 8, 12),
        recompute_layers=tuple(layers), schedule=tuple(Schedule), placement=tuple(Placement),
        hybrid_shard=(0, 2, 4, 8, 16, 32, 64),
        offload=(Offload.NONE, Offload.OPTIMIZER, Offload.ACTIVATIONS),
    )  # fmt: skip


def legal_plans(question: Question) -> int:
    """How many plans of the question are legal and no other plan's second name, counted one by one."""

    def counted(rows: Rows, steps: Sequence[branch.Step]) -> int:
        if not steps:
            return len(rows)
        at_once = max(1, branch.ROWS_AT_ONCE // width(steps[0]))
        parts = (rows.at(np.arange(i, min(i + at_once, len(rows)))) for i in range(0, len(rows), at_once))
        return sum(counted(search.legal(part, steps[0])[0], steps[1:]) for part in parts)

    def width(step: branch.Step) -> int:
        return prod(len(getattr(question.space, name)) for name in step.names)

    whole = branch.Piece(0, len(question.systems), (0,) * len(AXES), question.space)
    search = branch.Search(question, whole)
    steps = (*branch.DEGREES, branch.MICRO_BATCH, branch.SCHEDULE, branch.STATES)
    return counted(Rows(np.arange(len(question.systems)), {}), steps)


def report(name: str, workloads: Sequence[ps.Workload], software: str, systems: Sequence[System], space: Space) -> None:
    """Search, and print what it took."""
    catalogue, start = ps.catalogue(), time.process_time()
    swept = [sweep(w, catalogue.software(software), catalogue.calibration(), systems, space) for w in workloads]
    seconds = time.process_time() - start
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    told = reduce(Certificate.plus, (found.certificate for found in swept))
    found = swept[-1]
    legal = sum(
        legal_plans(Question(w, found.software, found.calibration, found.systems, found.space, found.site))
        for w in workloads
    )
    print(f"{name}: {told.considered:,} plans, {legal:,} of them legal and distinct, {told.costed:,} costed in full")
    print(f"  {seconds:.2f} s on one core, {legal / seconds / 1e6:.1f} M legal plans/s, {gigabytes:.2f} GB at most")
    system, plan, estimate = found.best()
    print(f"  best: {float(estimate.time.total_seconds):.3f} s a step on {system.name}: {plan}")


def main() -> None:
    """The three questions."""
    catalogue = ps.catalogue()
    gpt3 = ps.workload(
        catalogue.model("gpt3-175b"), task="pretrain", seq_len=2048, global_batch_size=3072, precision="bf16-mixed"
    )
    report("GPT-3 175B, 1,024 A100", [gpt3], "megatron-core", [catalogue.system("dgx-a100-80gb")], gpt3_space())
    print(f"  Calculon: {CALCULON}")
    llama = ps.workload(
        catalogue.model("llama3.1-405b"), task="pretrain", seq_len=8192, global_batch_size=2048, precision="bf16-mixed"
    )
    wide = Space(
        counts=(16384,), context_parallel=(1, 2, 4, 8, 16), schedule=tuple(Schedule), hybrid_shard=(0, 8, 64, 512),
        recompute_layers=tuple(range(0, 126, 14)), context_exchange=(0, 1, 2), offload=tuple(Offload),
    )  # fmt: skip
    report("Llama 3.1 405B, 16,384 H100", [llama], "megatron-core", [catalogue.system("dgx-h100")], wide)
    counts = tuple(range(1, 65))
    fleet = [system for card in CARDS for system in systems_for(catalogue.gpu(card), counts, catalogue)]
    tunings = [
        ps.workload(catalogue.model("llama3-8b"), task=task, seq_len=2048, global_batch_size=960, precision="bf16")
        for task in ("finetune", "lora", "qlora")
    ]
    name = f"Llama 3 8B, three ways to fine-tune, {len(CARDS)} cards in {len(fleet)} systems, 1 to 64 GPUs"
    report(name, tunings, "torchtitan", fleet, Space(counts=counts))


if __name__ == "__main__":
    main()
