"""One plan's report: the parts add up to what is said, and every part is told in words."""

from dataclasses import fields, replace

import pytest

from perfsim.core.plan import Plan, Problem, Recompute
from perfsim.core.results import MEMORY_PARTS, StepTime
from perfsim.core.site import Site
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.choice import systems_for
from perfsim.inputs.workload import make_workload
from perfsim.report.breakdown import breakdown, case_record
from perfsim.report.case import Case, make_case
from perfsim.report.table import plain_text
from perfsim.report.words import BOUNDS, part_words

HYBRID = Plan(tensor_parallel=2, pipeline_parallel=2, data_parallel=2, micro_batch_size=4, zero_stage=1)


def case_of(card: str, plan: Plan, model: str = "bert-large", **keys: object) -> Case:
    known = catalogue()
    workload = make_workload(known.model(model), **{"global_batch_size": 64, "seq_len": 128} | keys)
    system = systems_for(known.gpu(card), [int(plan.gpus)], known)[0]
    return make_case(workload, system, plan, known.software("pytorch-2-eager"), known.calibration(), Site())


@pytest.mark.parametrize("explain", [False, True])
def test_verdict_first_then_parts(explain: bool) -> None:
    case = case_of("RTX 4090", HYBRID, samples=1000)
    lines = plain_text(breakdown(case, explain)).splitlines()
    assert lines[0].startswith("Fits: 8x RTX 4090, TP2 PP2 DP2 ZeRO-1 mb4: ")
    assert lines[2].startswith("the job: ") and "MFU" in lines[2]
    text = "\n".join(lines)
    for part in ("weights", "optimizer", "tensor parallel", "pipeline bubble", "gradient reduce"):
        assert f"\n{part} " in text
    assert max(map(len, lines)) <= 100
    assert ("split by TP 2 and PP 2" in " ".join(text.split())) is explain


def test_what_does_not_fit_says_how_much_it_needs() -> None:
    case = case_of("GTX 1060", Plan(micro_batch_size=64), precision="fp32")
    lines = plain_text(breakdown(case)).splitlines()
    assert case.problems == [Problem.MEMORY]
    assert "does not fit in GPU memory: needs " in lines[0] and "of 5.94 GiB a GPU; more" in lines[0]


def test_a_card_without_the_precision_is_named() -> None:
    case = case_of("GTX 1080 Ti", Plan(micro_batch_size=4), precision="amp-bf16")
    assert Problem.PRECISION in case.problems


def test_record_is_flat_and_adds_up() -> None:
    record = case_record(case_of("RTX 4090", HYBRID))
    assert record["step_seconds"] == pytest.approx(sum(record[f.name] for f in fields(StepTime)))
    assert record["memory_bytes"] == pytest.approx(sum(record[name] for name in MEMORY_PARTS))
    assert record["problems"] == [] and record["operations"]


@pytest.mark.parametrize("model", ["bert-large", "llama3-8b", "mixtral-8x7b"])
@pytest.mark.parametrize("task", ["pretrain", "finetune", "lora", "qlora", "freeze"])
def test_every_part_has_words(model: str, task: str) -> None:
    workload = make_workload(catalogue().model(model), task=task)
    for plan in (Plan(), replace(HYBRID, zero_stage=3, recompute=Recompute.FULL)):
        for name in (*(f.name for f in fields(StepTime)), *MEMORY_PARTS):
            assert part_words(name, workload, plan), name


def test_bounds_name_parts_of_a_step() -> None:
    assert set(BOUNDS) < {field.name for field in fields(StepTime)}


@pytest.mark.parametrize("model", ["bert-large", "t5-base", "mixtral-8x7b", "resnet-50"])
def test_every_operation_is_bound_by_something(model: str) -> None:
    keys = {"seq_len": None} if model == "resnet-50" else {"decoder_seq_len": 64} if model == "t5-base" else {}
    case = case_of("RTX 4090", Plan(), model, task="pretrain", **keys)
    assert set(case.estimate.operations) <= set(case.operation_bounds)
