"""Markdown for a request for funds, held to the letter with figures that no formula decides."""

from pathlib import Path
from typing import Any

from perfsim.core.results import MEMORY_PARTS
from perfsim.core.site import Site
from perfsim.report.funding import Asked, comparison_markdown, plan_markdown
from perfsim.report.waterfall import TIME_PARTS
from perfsim.units import GIB

GOLDEN = Path(__file__).parents[1] / "golden"
COMMAND = "perfsim estimate --model bert-large --gpu '2x RTX 4090' --steps 36000"


def record(scale: float = 1.0, **changes: Any) -> dict[str, Any]:
    """A record as estimate --json writes it."""
    figures = {
        "step_seconds": 0.1, "samples_per_s": 1280.0 / scale**2, "tokens_per_s": 163_840.0 / scale**2, "mfu": 0.4,
        "watts_per_gpu": 300.0, "memory_bytes": 9 * GIB, "job_hours": 1.0, "job_usd": 1.5, "job_kwh": 0.9,
        "job_kg_co2": 0.4,
    }  # fmt: skip
    figures = {name: scale * value for name, value in figures.items()}
    ends = {f"{name}_{end}": figures[name] * by for name in figures for end, by in (("low", 0.9), ("high", 1.2))}
    parts = dict.fromkeys(TIME_PARTS, 0.0) | {"forward_seconds": 0.03 * scale, "backward_seconds": 0.07 * scale}
    held = dict.fromkeys(MEMORY_PARTS, scale * GIB)
    plan = {
        "tensor_parallel": 1, "pipeline_parallel": 1, "data_parallel": 2, "context_parallel": 1, "expert_parallel": 1,
        "micro_batch_size": 64, "virtual_stages": 1, "zero_stage": 0, "hybrid_shard": 0, "recompute_layers": 0,
        "schedule": "1f1b", "recompute": "none", "placement": "data-inner", "context_exchange": "ring",
        "offload": "none",
    }  # fmt: skip
    told = {
        "model": "bert-large|<b>", "task": "finetune", "gpu_name": "GeForce RTX 4090", "gpus": 2, "system": "box",
        "goodput": 0.95,
        "memory_capacity_bytes": 24 * GIB, "power_limit_watts": 450.0, "board_limit_watts": 450.0, "problems": [],
        "price_basis": "RunPod, 2024", "software": "pytorch-2-eager", "precision": "amp-fp16", "basis": "measured",
        "energy_basis": "fitted", "memory_basis": "extrapolated", "basis_reason": "no measured peak",
    }  # fmt: skip
    return {**told, **plan, **figures, **ends, **parts, **held, **changes}


ONE = Asked(record(), "BERT, 36,000 steps", True, {"datasheet of RTX 4090": "a vendor, 2022"})
OTHER = Asked(record(2.0, zero_stage=3), "BERT, 36,000 steps")


def test_one_plan() -> None:
    assert plan_markdown(ONE, Site(), COMMAND) == (GOLDEN / "plan.md").read_text(encoding="utf-8")


def test_two_plans() -> None:
    told = comparison_markdown(ONE, OTHER, ["A is 2 times as fast"], Site(), COMMAND)
    assert told == (GOLDEN / "two-plans.md").read_text(encoding="utf-8")


def test_what_is_not_known_is_said() -> None:
    bare = {name: value for name, value in record(job_usd=None).items() if not name.endswith(("_low", "_high"))}
    told = plan_markdown(Asked(bare, has_job=False), Site(), COMMAND)
    assert "no price is known" in told and "figures are of one step" in told and "the job, USD" not in told
    odd = Asked(record(job_kwh="x", job_usd_low=True, basis=[1], problems="no", price_basis={}))
    assert "kWh |" not in plan_markdown(odd, Site(), COMMAND)  # as a file of somebody else may be
    refused = plan_markdown(Asked(record(problems=["too large"])), Site(), COMMAND)
    assert "It cannot run: too large." in refused
    beside = comparison_markdown(Asked(record(problems=["too large"])), OTHER, [], Site(), COMMAND)
    assert "What makes the difference" not in beside
