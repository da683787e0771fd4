"""What fits: the largest of brute force, a chance that falls with what is asked, and one memory for all cards."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.plan import Plan, Problem, Recompute
from perfsim.formulas.fits import fit_probability, surely_fits
from perfsim.inputs.fit import fit_question
from perfsim.search.fit import Fit, fit, needed_bytes

KNOWN = ps.catalogue()
CARDS = ("GTX 1060 6GB", "RTX 2080 Ti", "RTX 3090", "A100 PCIe 80GB")
MODELS = ("bert-base", "gpt2", "llama3-8b", "mixtral-8x7b")


def asked(model: str = "bert-base", **options: Any) -> Fit:
    return fit(fit_question(model, KNOWN, options.pop("gpus", CARDS), **options))


def sure_by_estimate(found: Fit, method: int, card: int, samples: int, tokens: int) -> bool:
    """Whether `perfsim estimate` says of one plan, with the lighter recomputation, that it surely fits."""
    question = found.question
    job = ps.workload(
        question.methods[method].workloads[0].model.key, task=str(found.workload(method, card).task), seq_len=tokens,
        global_batch_size=samples, precision=found.workload(method, card).precision.key,
    )  # fmt: skip
    plans = [replace(question.plan, micro_batch_size=samples, recompute=r) for r in question.recompute]
    system = KNOWN.box(question.cards[card], 1)
    estimates = [ps.estimate(job, system, plan) for plan in plans]
    return any(surely_fits(e.memory.total_bytes, e.memory_capacity_bytes, e.memory_spread) for e in estimates)


@pytest.mark.parametrize("recompute", ["auto", "none"])
@pytest.mark.parametrize("model", ["gpt2", "llama3-8b"])
def test_figures_are_those_of_single_estimates(model: str, recompute: str) -> None:
    found = asked(model, recompute=recompute, gpus=("RTX 2080 Ti", "A100 PCIe 80GB"))
    for (method, card), batch in np.ndenumerate(found.largest_micro_batch):
        length = int(found.longest_sequence[method, card])
        for samples, tokens, fits in ((int(batch), 512, True), (int(batch) + 1, 512, False), (1, length, True)):
            if samples and tokens:
                assert sure_by_estimate(found, method, card, samples, tokens) == fits
        if length < found.question.most_tokens:
            assert not sure_by_estimate(found, method, card, 1, length + 1)


@pytest.mark.parametrize("recompute", ["auto", "none", "full"])
def test_largest_are_those_of_brute_force(recompute: Any) -> None:
    """Every micro-batch and every length up to beyond what fits, one by one."""
    found = asked("gpt2", recompute=recompute, gpus=("GTX 1060 6GB", "RTX 3060 Ti"), seq_len=512)
    question = found.question
    plan = replace(question.plan, recompute=np.array(question.recompute)[:, None])
    for method in range(3):
        job = found.workload(method, 0)
        sizes = np.arange(1, 1025)
        batches = needed_bytes(question, job, plan, sizes[:128], np.full(128, 512)).min(axis=0)
        lengths = needed_bytes(question, job, plan, np.ones(1024, dtype=int), sizes).min(axis=0)
        for card in range(2):
            limit = float(found.capacity_bytes[card])
            for needs, figure in ((batches, found.largest_micro_batch), (lengths, found.longest_sequence)):
                fits = surely_fits(needs, limit, question.software.memory_spread)
                assert figure[method, card] == fits.sum() == (sizes[: len(fits)] * fits).max()


@settings(max_examples=10)
@given(
    model=st.sampled_from(MODELS), method=st.integers(0, 2), recompute=st.sampled_from([0, 2]),
    gpus=st.sampled_from([1, 4]), zero=st.integers(0, 3), precision=st.sampled_from(["amp-fp16", "bf16", "fp32"]),
)  # fmt: skip
def test_larger_never_needs_less(model: str, method: int, recompute: int, gpus: int, zero: int, precision: str) -> None:
    """What the search for the largest rests on: memory grows with micro-batch and sequence."""
    question = fit_question(model, KNOWN, ["T4"], count=gpus, zero_stage=zero, precision=precision, seq_len=256)
    job = question.methods[method].workloads[0]
    plan = replace(question.plan, recompute=recompute)
    sizes = np.unique(np.geomspace(1, 512, 24).astype(int))
    for samples, tokens in ((sizes, np.full(len(sizes), 256)), (np.ones(len(sizes), dtype=int), sizes)):
        needs = needed_bytes(question, job, plan, samples, tokens)
        assert np.all(np.diff(needs) >= -1e-9 * needs[1:])
        chance = fit_probability(needs, 24e9, question.software.memory_spread)
        assert np.all(np.diff(chance) <= 1e-12)


@settings(max_examples=5)
@given(model=st.sampled_from(MODELS), samples=st.integers(1, 64), recompute=st.sampled_from(["none", "full"]))
def test_more_memory_never_fits_less_and_longer_never_more(model: str, samples: int, recompute: str) -> None:
    short, long = (asked(model, micro_batch_size=samples, seq_len=n, recompute=recompute) for n in (128, 256))
    order = np.argsort(short.capacity_bytes)
    for figure in ("fit_probability", "largest_micro_batch", "longest_sequence"):
        assert np.all(np.diff(getattr(short, figure)[:, order], axis=1) >= 0)
    assert np.all(long.largest_micro_batch <= short.largest_micro_batch)
    assert np.all(long.fit_probability <= short.fit_probability)
    assert np.array_equal(long.longest_sequence, short.longest_sequence)
    surely = surely_fits(short.memory_bytes, short.capacity_bytes, short.question.software.memory_spread)
    assert np.array_equal(surely, short.largest_micro_batch >= samples)


def test_lighter_methods_never_fit_less() -> None:
    found = asked("llama3-8b", gpus=())
    full, lora, qlora = found.largest_micro_batch
    assert np.all(full <= lora) and np.all(lora <= qlora) and full.any() and (qlora == 0).any()


@pytest.mark.parametrize("model", ["bert-base", "mixtral-8x7b", "resnet-50"])
def test_memory_does_not_depend_on_the_card(model: str) -> None:
    """What counting it once for all cards rests on."""
    job = ps.workload(model, precision="amp-fp16", global_batch_size=8)
    plan = Plan(micro_batch_size=8, recompute=np.array([0, 2]))
    needs = [ps.estimate(job, KNOWN.box(name, 1), plan).memory.total_bytes for name in ("GTX 1080 Ti", "B200", "T4")]
    assert np.array_equal(needs[0], needs[1]) and np.array_equal(needs[0], needs[2])


def test_cards_without_bf16_take_fp16_and_say_so() -> None:
    found = asked()
    table = found.to_pandas()
    own = dict(zip(table["gpu"], table["precision"], strict=True))
    assert own == {
        "gtx-1060-6gb": "amp-fp16", "rtx-2080-ti": "amp-fp16", "rtx-3090": "amp-bf16", "a100-pcie-80gb": "amp-bf16",
    }  # fmt: skip
    assert not found.problems.any()


def test_what_a_card_cannot_has_no_figures() -> None:
    found = asked(precision="bf16", gpus=("T4", "A100 PCIe 80GB"))
    assert np.all(found.problems == [[Problem.PRECISION, 0]] * 3)
    assert np.isnan(found.fit_probability[:, 0]).all() and not found.largest_micro_batch[:, 0].any()
    first = found.to_pandas().iloc[0]
    assert first["problem"] == Problem.PRECISION.text and np.isnan(first["fit_probability"])


def test_recomputation_only_where_it_takes_that() -> None:
    found = asked("bert-large", micro_batch_size=8, gpus=("RTX 3060 12GB", "RTX 3090"))
    assert found.recompute[0].tolist() == [Recompute.FULL, Recompute.NONE]
    none = asked("bert-large", micro_batch_size=8, gpus=("RTX 3060 12GB", "RTX 3090"), recompute="none")
    assert none.fit_probability[0, 0] < 0.95 <= found.fit_probability[0, 0]
    assert np.all(none.largest_micro_batch < found.largest_micro_batch)


def test_changes_are_those_of_plans_that_have_them() -> None:
    found = asked("llama3-8b")
    changes = {one.text: one.memory_bytes for one in found.lighter}
    eight_bit = asked("llama3-8b", optimizer="adamw8bit")
    sharded = asked("llama3-8b", count=4)
    assert changes["adamw8bit"][0] == eight_bit.lighter[0].memory_bytes[0]
    assert changes["ZeRO-3 over 4 GPUs"][0] == sharded.lighter[0].memory_bytes[0]
    assert changes[""][0] == found.memory_bytes[0, -1]


def test_all_cards_and_methods_within_a_second_and_a_half() -> None:
    question = fit_question("llama3-8b", KNOWN)
    assert len(question.cards) >= 60 and len(question.methods) == 3
    start = time.process_time()
    fit(question)
    assert time.process_time() - start < 1.5
