"""Which training steps are measured, the most useful first, and their rows in the columns of a table of runs."""

from dataclasses import dataclass

from perfsim.measure.cases import AMPERE
from perfsim.measure.session import Row
from perfsim.units import GIGA

BERT_DROPOUT = 0.1
LORA_RANK = 16
RUN_COLUMNS = (
    "run_id source gpu n_gpus model task seq_len micro_batch grad_accum recompute precision lora_rank attention fusion "
    "optimizer extras stack software step_time_s tokens_per_s_per_gpu peak_memory_gb memory_kind outcome notes"
).split()
STEP_COLUMNS = (
    "run_id gpu step_ms step_ms_min step_ms_max n_steps tokens_per_s allocated_gb reserved_gb state_gb n_params "
    "n_trained loss sm_mhz sm_mhz_min mem_mhz power_w temp_c throttle window_s outcome error"
).split()


@dataclass(frozen=True)
class Step:
    """A way to train a model of specs/models on one GPU.

    precision: as tables of runs have it; bf16-mixed and amp-fp16 are autocast over fp32 weights, bf16 is all in bf16.
    fusion: "eager", or "compiled" by torch.compile. lora_rank: 0 trains all weights.
    """

    model: str
    seq_len: int
    micro_batch: int
    precision: str
    fusion: str = "eager"
    lora_rank: int = 0
    recompute: str = "none"
    grad_accum: int = 1

    @property
    def is_classified(self) -> bool:
        """BERT is fine-tuned to two classes, with dropout; the others predict words."""
        return self.model.startswith("bert")

    @property
    def dropout(self) -> float:
        """On hidden values and on the attention's probabilities."""
        return BERT_DROPOUT if self.is_classified else 0.0

    @property
    def task(self) -> str:
        """As tables of runs have it."""
        return "lora" if self.lora_rank else "finetune" if self.is_classified else "pretrain"

    @property
    def tokens(self) -> int:
        """Of one optimizer step."""
        return self.seq_len * self.micro_batch * self.grad_accum

    @property
    def label(self) -> str:
        """The step in a few words, without blanks.

        >>> Step("gpt2", 1024, 8, "bf16", lora_rank=16).label
        'gpt2-1024x8-bf16-eager-lora16'
        """
        parts = [self.model, f"{self.seq_len}x{self.micro_batch}", self.precision, self.fusion]
        parts += [f"lora{self.lora_rank}"] * (self.lora_rank > 0) + ["recompute"] * (self.recompute != "none")
        return "-".join([*parts, *[f"accumulate{self.grad_accum}"] * (self.grad_accum > 1)])


def training_steps(is_quick: bool, capability: tuple[int, int]) -> list[Step]:
    """What to train on a card of this compute capability; without bf16, autocast is to fp16 and Llama is left out."""
    amp = "bf16-mixed" if capability >= AMPERE else "amp-fp16"
    base, large, gpt, llama = "bert-base-uncased", "bert-large-uncased", "gpt2", "llama3.2-1b"
    quick = [
        Step(base, 128, 32, amp),
        Step(gpt, 1024, 8, amp),
        Step(large, 384, 16, amp),
        Step(llama, 2048, 2, "bf16"),
        Step(llama, 2048, 2, "bf16", lora_rank=LORA_RANK),
        Step(base, 128, 32, "tf32"),
        Step(gpt, 1024, 8, amp, "compiled"),
        Step(large, 384, 64, amp),
    ]
    full = [
        *quick,
        Step(large, 128, 32, amp),
        Step(base, 128, 32, "fp32"),
        Step("gpt2-medium", 1024, 8, amp),
        Step(base, 128, 4, amp),
        Step(base, 128, 256, amp),
        Step(large, 512, 8, amp, recompute="full"),
        Step(gpt, 1024, 32, amp),
        Step(gpt, 1024, 4, amp, grad_accum=4),
        Step(llama, 2048, 8, "bf16", recompute="full"),
        Step(llama, 2048, 2, "bf16-mixed"),
        Step("llama3-8b", 2048, 1, "bf16", lora_rank=LORA_RANK),
        Step("llama3-8b", 2048, 4, "bf16", lora_rank=LORA_RANK, recompute="full"),
        Step("llama3.2-3b", 2048, 2, "bf16"),
        Step(large, 384, 16, "tf32"),
        Step(large, 384, 16, "fp32"),
        Step(base, 512, 16, amp),
        Step(llama, 8192, 1, "bf16"),
        Step(large, 384, 16, amp, "compiled"),
        Step(llama, 2048, 2, "bf16", "compiled"),
        Step(gpt, 1024, 8, "tf32"),
        Step(base, 128, 1, amp),
        Step(gpt, 1024, 1, amp),
        Step(large, 384, 256, amp),  # where memory ends
        Step(gpt, 1024, 128, amp),
        Step(llama, 2048, 16, "bf16"),
        Step("gpt2-xl", 1024, 4, amp),
        Step("gpt2-large", 1024, 8, amp, "compiled"),
        Step("llama3-8b", 2048, 1, "bf16"),
    ]
    steps = quick if is_quick else full
    return [step for step in steps if capability >= AMPERE or step.precision in ("fp32", "amp-fp16")]


def run_row(step: Step, gpu: str, torch_version: str, day: str, limit_watts: float | None, measured: Row) -> Row:
    """The step in the columns of a table of runs, as `perfsim validate` reads them.

    day: when it was measured (ISO); limit_watts: the board's power limit where it is below the card's own [W].
    """
    extras = ["params=fp32"] * (step.precision == "bf16-mixed") + [f"dropout={step.dropout}"] * step.is_classified
    extras += [f"power_limit_w={round(limit_watts)}"] if limit_watts else []
    row = {
        "run_id": f"{gpu}-{step.label}", "source": "perfsim measure", "gpu": gpu, "n_gpus": 1, "model": step.model,
        "task": step.task, "seq_len": step.seq_len, "micro_batch": step.micro_batch, "grad_accum": step.grad_accum,
        "recompute": step.recompute, "precision": step.precision, "lora_rank": step.lora_rank or None,
        "attention": "sdpa", "fusion": step.fusion, "optimizer": "adamw", "extras": ";".join(extras),
        "stack": "perfsim-measure", "software": f"torch {torch_version}, perfsim measure, {day}",
        "outcome": measured["outcome"],
        "notes": "random tokens of one length, gradients clipped, loss and norm read at each step",
    }  # fmt: skip
    if measured["outcome"] == "ok":
        row |= {
            "step_time_s": measured["step_ms"] / 1e3,
            "tokens_per_s_per_gpu": measured["tokens_per_s"],
            "peak_memory_gb": measured["allocated_bytes"] / GIGA,
            "memory_kind": "allocated",
        }
    return row
