"""What jobs need of a card's software, and which cards are refused for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.hardware import Gpu
from perfsim.core.plan import CARD_CANNOT
from perfsim.formulas.legality import problems
from perfsim.formulas.needs import attention_needs, is_older_than, lacks_any, library_needs, verdict


def job(model: str = "gpt2", **options: Any) -> ps.Workload:
    return ps.workload(model, seq_len=512, global_batch_size=8, **options)


@pytest.mark.parametrize(
    ("options", "software", "needs"),
    [
        ({"precision": "amp-fp16"}, "pytorch-2-eager", ()),
        ({"precision": "amp-fp16"}, "pytorch-2-compiled", ("torch-compile",)),
        ({"precision": "amp-fp16"}, "pytorch-nvfuser", ()),  # before Triton
        ({"precision": "amp-fp16"}, "jax", ("cudnn-attention",)),  # compiled, but not by Triton
        ({"precision": "amp-fp16"}, "llm-foundry", ("flash-attention-1",)),
        ({"precision": "fp8"}, "megatron-core", ("cudnn-attention", "fp8")),
        ({"precision": "bf16", "task": "qlora"}, "pytorch-2-eager", ("bitsandbytes-4bit",)),
        ({"precision": "bf16", "task": "qlora"}, "torchtune", ()),  # quantises with torchao
        ({"precision": "bf16", "task": "lora"}, "pytorch-2-eager", ()),
    ],
)
def test_needs(options: dict[str, Any], software: str, needs: tuple[str, ...]) -> None:
    workload, stack = job(**options), ps.software(software)
    assert (*attention_needs(workload, stack), *library_needs(workload, stack)) == needs


def test_a_network_without_attention_needs_no_kernel_for_it() -> None:
    assert attention_needs(ps.workload("resnet-50", global_batch_size=8), ps.software("megatron-core")) == ()


@pytest.mark.parametrize(
    ("card", "options", "software", "lacking", "problem"),
    [
        ("GTX 1080 Ti", {"precision": "amp-fp16"}, "pytorch-2-eager", (), 0),
        ("GTX 1080 Ti", {"precision": "amp-fp16"}, "pytorch-2-compiled", ("torch-compile",), ps.Problem.LIBRARY),
        ("T4", {"precision": "amp-bf16"}, "pytorch-2-eager", ("bf16",), ps.Problem.PRECISION),
        ("A100 PCIe 80GB", {"precision": "fp8"}, "megatron-core", ("fp8",), ps.Problem.PRECISION),
        ("T4", {"precision": "amp-fp16"}, "megatron-core", ("cudnn-attention",), ps.Problem.ATTENTION),
        ("H100 PCIe", {"precision": "fp8"}, "megatron-core", (), 0),
        ("RTX 5090", {"precision": "nvfp4"}, "megatron-core", (), 0),  # partial, not refused
        ("A30", {"precision": "amp-fp16"}, "pytorch-1.4", ("releases of pytorch-1.4",), ps.Problem.RELEASE),
        ("T4", {"precision": "amp-fp16"}, "pytorch-1.4", (), 0),
        ("B200", {"precision": "amp-bf16"}, "megatron-2022", ("releases of megatron-2022",), ps.Problem.RELEASE),
    ],
)
def test_cards_are_refused_for_what_they_lack(
    card: str, options: dict[str, Any], software: str, lacking: tuple[str, ...], problem: int
) -> None:
    workload, stack, system = job(**options), ps.software(software), ps.catalogue().box(card, 1)
    told = verdict(system.gpu, workload, stack)
    assert told.lacking == lacking
    assert told.sentence == ps.support(card).sentence
    found = problems(workload, system, ps.Plan(micro_batch_size=8), stack)
    assert int(found) & CARD_CANNOT == problem
    assert bool(int(found) & CARD_CANNOT) == bool(lacking)


def test_flash_3_is_for_hopper_alone() -> None:
    stack = replace(ps.software("pytorch-2-eager"), attention="flash-3")
    refused = {key for key in ("a30", "l4", "h100-pcie-80gb", "b200", "rtx-5090")
               if verdict(ps.gpu(key), job(), stack).lacking}  # fmt: skip
    assert refused == {"a30", "l4", "b200", "rtx-5090"}


def test_a_fleet_is_asked_at_once() -> None:
    cards = [ps.gpu(name) for name in ("GTX 1080 Ti", "T4", "A30")]
    fleet: Gpu = replace(
        cards[0],
        lacks={key: np.array([card.lacks[key] for card in cards]) for key in cards[0].lacks},
        first_code_day=np.array([card.first_code_day for card in cards]),
    )
    assert lacks_any(fleet, ("torch-compile", "flash-attention-2")).tolist() == [True, True, False]
    assert not np.any(lacks_any(fleet, ()))
    assert is_older_than(ps.software("pytorch-1.4"), fleet).tolist() == [False, False, True]


def test_verdict_without_a_job_lacks_nothing() -> None:
    assert verdict(ps.gpu("P4")) == ps.Verdict(ps.support("P4").sentence)
