"""Samples shorter than their sequences: padded they waste tokens, packed they are many."""

import pytest

import perfsim as ps
from perfsim.core.plan import Plan
from perfsim.errors import InputError
from perfsim.estimate import estimate

KNOWN = ps.catalogue()


def cost(**keys: object):
    asked = {"task": "finetune", "seq_len": 4096, "global_batch_size": 8, "samples": 8000, "epochs": 2}
    workload = ps.workload(KNOWN.model("llama3.2-1b"), **(asked | keys))
    plan, system = Plan(), KNOWN.box("h100-sxm5-80gb", 1)
    return workload, estimate(workload, system, plan, KNOWN.software("torchtune-compiled"), KNOWN.calibration())


def test_padding_costs_what_full_sequences_cost_and_packing_does_not() -> None:
    (whole, full), (_, padded), (_, packed) = cost(), cost(sample_tokens=512), cost(sample_tokens=512, packed=True)
    assert padded.time.total_seconds == full.time.total_seconds
    assert padded.useful_tokens_per_s == pytest.approx(full.useful_tokens_per_s / 8)
    assert packed.samples_per_s > 8 * full.samples_per_s  # eight samples a sequence, and less attention
    assert packed.job.useful_seconds < full.job.useful_seconds / 8
    assert packed.memory.total_bytes == full.memory.total_bytes
    assert whole.steps == 2000


def test_attention_of_packed_samples_reaches_over_their_own_tokens() -> None:
    """Tokens of long samples see more: E[n²]/E[n] = mean·(1 + spread²)."""
    even, uneven = (cost(sample_tokens=512, packed=True, sample_spread=spread)[1] for spread in (0.0, 1.0))
    model = KNOWN.model("llama3.2-1b")
    square = model.layers * 12.0 * model.heads * model.head_dim * 8 * 4096
    assert float(uneven.model_flops - even.model_flops) == pytest.approx(square * 512, rel=1e-9)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"packed": True},
            "sample_tokens: is missing: how long are the samples that are packed?; add their mean length",
        ),
        ({"sample_tokens": 5000}, "sample_tokens: 5000 tokens of a sample do not fit into sequences of 4,096"),
        ({"sample_spread": 0.5}, "sample_tokens: is missing"),
    ],
)
def test_lengths_that_say_too_little_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as refused:
        cost(**keys)
    assert message in str(refused.value)
