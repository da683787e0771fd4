"""What is trained and how: the model, the task, the batch, the number formats and the optimizer."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from perfsim.core.model import Model
from perfsim.core.numbers import Floats, Ints


class Task(StrEnum):
    """What of the model is trained."""

    PRETRAIN = "pretrain"
    FINETUNE = "finetune"
    LORA = "lora"
    QLORA = "qlora"
    FREEZE = "freeze"


class Head(StrEnum):
    """What stands on top of the last layer."""

    LANGUAGE_MODEL = "language-model"  # a vocabulary projection and cross entropy at `head_positions` per sequence
    CLASSIFICATION = "classification"  # one small projection a sequence
    SPAN = "span"  # two scores a token (question answering)
    CONTRASTIVE = "contrastive"  # every sample against the other tower's of the whole global batch, both ways
    REPLACED = "replaced-token"  # a hidden layer and one score a token (ELECTRA)
    NONE = "none"


@dataclass(frozen=True)
class Precision:
    """Number formats of one training recipe, in bytes per parameter or value.

    `matmul` names the rate of the GPU that products run at. `weight_copy_bytes` is a second, transient copy of the
    weights in the compute format (autocast's cache). `has_8_bit_attention`: attention's products run in FP8 too, a
    choice of the recipe (Transformer Engine's fp8_dpa).
    """

    key: str
    matmul: str
    activation_bytes: float
    weight_bytes: float
    gradient_bytes: float
    master_bytes: float
    state_bytes: float  # one optimizer moment
    weight_copy_bytes: float = 0.0
    has_8_bit_attention: bool = False


DEFAULT_LORA_RANK = 16  # of adapters whose rank nobody tells

# Bytes of a 4-bit weight with double-quantised scales: Dettmers et al. 2023 (arXiv 2305.14314), section 3
NF4_BYTES = 4.127 / 8

PRECISIONS = {
    p.key: p
    for p in (
        Precision("fp32", "fp32", 4, 4, 4, 0, 4),
        Precision("tf32", "tf32", 4, 4, 4, 0, 4),
        Precision("amp-fp16", "fp16", 2, 4, 4, 0, 4, 2),
        Precision("fp16-o2", "fp16", 2, 2, 2, 4, 4),
        Precision("amp-bf16", "bf16", 2, 4, 4, 0, 4, 2),
        Precision("bf16-mixed", "bf16", 2, 2, 4, 4, 4),
        Precision("bf16", "bf16", 2, 2, 2, 0, 2),
        Precision("fp8", "fp8", 2, 2, 4, 4, 4, 1),
        Precision("nvfp4", "fp4", 2, 2, 4, 4, 4, 0.5625),
        Precision("mxfp4", "fp4", 2, 2, 4, 4, 4, 0.53125),
    )
}


@dataclass(frozen=True)
class Workload:
    """One training job, apart from the machine and the plan.

    seq_len tokens a sequence (a decoder's target length with Transformer-XL, whose memory is `memory_len`);
    `head_positions` positions a sequence that go through the vocabulary projection; `decoder_seq_len` for
    encoder-decoder models; `steps` optimizer steps of the whole job; `attention_dropout` where it differs from dropout;
    `optimizer` a key of core.optimizer; `optimizer_in_backward`: each parameter is updated once its gradient is there;
    `loss_chunks` parts of the tokens whose loss is computed one after another, their logits kept; `fused_linear_loss`:
    no logits are kept either, for the forward pass makes the gradients;
    `expert_imbalance` tokens of the expert-parallel rank with the most, over the mean of all ranks.
    """

    model: Model
    task: Task
    seq_len: Ints
    global_batch_size: Ints
    precision: Precision
    optimizer: str
    steps: Floats
    head: Head
    head_positions: Floats
    decoder_seq_len: Ints = 0
    memory_len: Ints = 0
    dropout: float = 0.0
    attention_dropout: float | None = None
    lora_rank: int = 0
    lora_targets: tuple[str, ...] = ()  # products with adapters, as formulas.parameters names them; (): all in layers
    sample_tokens: Floats = 0.0  # mean of the samples' own lengths; 0: every sample fills its sequence
    sample_spread: Floats = 0.0  # standard deviation of these lengths over their mean
    is_packed: bool = False  # sequences are filled with several samples that do not see each other, else padded
    expert_imbalance: Floats = 1.0
    image_size: Ints = 0  # pixels a side; an image is a sequence of one token
    optimizer_in_backward: bool = False
    loss_chunks: int = 1
    fused_linear_loss: bool = False
    base_bytes: float = 0.0  # bytes per frozen base parameter; 0: the precision's weight_bytes

    @property
    def tokens_per_step(self) -> Ints:
        """Tokens of one optimizer step (source tokens of an encoder-decoder)."""
        return self.global_batch_size * self.seq_len

    @property
    def samples_per_sequence(self) -> Floats:
        """Samples that a sequence holds: packed without gaps, else one."""
        if not self.is_packed:
            return 1.0
        return 1.0 * self.seq_len / np.where(np.asarray(self.sample_tokens) > 0, self.sample_tokens, self.seq_len)

    @property
    def useful_share(self) -> Floats:
        """Tokens that belong to samples, of all that are computed."""
        own = np.where(np.asarray(self.sample_tokens) > 0, self.sample_tokens, 1.0 * self.seq_len)
        return 1.0 if self.is_packed else np.minimum(own / self.seq_len, 1.0)

    @property
    def attended_tokens(self) -> Floats:
        """Keys that a token's own sample holds, on average: long samples have more of the tokens; all where padded."""
        if not self.is_packed:
            return 1.0 * self.seq_len
        mean = self.sample_tokens * (1.0 + 1.0 * self.sample_spread**2)  # E[n²]/E[n]
        return np.where(np.asarray(self.sample_tokens) > 0, np.minimum(mean, self.seq_len), 1.0 * self.seq_len)

    @property
    def drops_probabilities(self) -> bool:
        """Dropout runs on the attention's probabilities."""
        return (self.dropout if self.attention_dropout is None else self.attention_dropout) > 0

    @property
    def is_adapter(self) -> bool:
        """Only low-rank adapters are trained."""
        return self.task in (Task.LORA, Task.QLORA)

    @property
    def trains_head(self) -> bool:
        """The head's own weights are trained: with all others, alone, or a small one beside adapters."""
        return not (self.is_adapter and self.head is Head.LANGUAGE_MODEL)


def model_of(model: Model, task: Task, head: Head) -> Model:
    """What of a model a task runs.

    Generators and layers for further tokens are there in pre-training, a tower to compare with under its head.
    """
    is_pretraining = task is Task.PRETRAIN
    there = {"input": True, "generator": is_pretraining, "contrast": head is Head.CONTRASTIVE}
    towers = tuple(tower for tower in model.towers if there[tower.role])
    return replace(model, towers=towers, mtp_layers=model.mtp_layers if is_pretraining else 0)
