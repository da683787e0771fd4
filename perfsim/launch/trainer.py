"""What a script built on transformers' Trainer is told: the arguments that torchrun, accelerate and DeepSpeed share.

Names: huggingface/transformers src/transformers/training_args.py, 5.24; peft's LoraConfig; transformers'
BitsAndBytesConfig.
"""

from collections.abc import Iterator

from perfsim.core.plan import Offload, Recompute
from perfsim.core.workload import Task
from perfsim.launch.job import FILL_IN, Job, Refusal, Value

SCRIPT = f"{FILL_IN}.py"
# core.optimizer's keys: TrainingArguments.optim
OPTIMIZERS = {
    "adamw": "adamw_torch",
    "adafactor": "adafactor",
    "sgd-plain": "sgd",
    "lion": "lion_32bit",
    "adamw8bit": "adamw_bnb_8bit",
    "adamw4bit": "adamw_torch_4bit",
    "paged-adamw": "paged_adamw_32bit",
    "paged-adamw8bit": "paged_adamw_8bit",
}


def refusals(job: Job) -> Iterator[Refusal]:
    """What a Trainer's arguments cannot say, whichever tool launches it."""
    w, plan = job.workload, job.plan
    if int(plan.pipeline_parallel) > 1:
        yield Refusal("pipeline_parallel", f"{int(plan.pipeline_parallel)} pipeline stages")
    yield from layer_refusals(job)
    if w.optimizer_in_backward:
        yield Refusal("optimizer_in_backward", "an optimizer inside the backward pass")
    if job.offload is Offload.ACTIVATIONS:
        yield Refusal("offload", "activations in host memory")


def layer_refusals(job: Job) -> Iterator[Refusal]:
    """What of recomputation and sequence parallelism a tool cannot say that wraps whole layers of any model."""
    if job.plan.sequence_parallel and int(job.plan.tensor_parallel) > 1:
        yield Refusal("sequence_parallel", "sequence parallelism: tensor-parallel ranks that share norms and dropouts")
    if job.recompute is Recompute.SELECTIVE:
        yield Refusal("recompute", "selective recomputation: it recomputes layers whole or not at all")
    if int(job.plan.recompute_layers):
        yield Refusal(
            "recompute_layers", f"recomputation of {int(job.plan.recompute_layers)} layers alone: all or none"
        )


def optimizer_refusals(job: Job) -> Iterator[Refusal]:
    """An optimizer that no argument of the Trainer names."""
    if job.workload.optimizer not in (*OPTIMIZERS, "none"):
        yield Refusal("optimizer", f"the optimizer {job.workload.optimizer}")


def arguments(job: Job, has_precision: bool = True, has_recompute: bool = True) -> list[tuple[str, Value | None]]:
    """The Trainer's arguments, in the order in which people read them.

    has_precision, has_recompute: whether they, and not the tool's own file, say so.
    """
    w, plan = job.workload, job.plan
    found: list[tuple[str, Value | None]] = [
        ("--output_dir", FILL_IN),
        ("--max_steps", job.steps),
        ("--per_device_train_batch_size", int(plan.micro_batch_size)),
        ("--gradient_accumulation_steps", job.microbatches),
    ]
    if w.optimizer in OPTIMIZERS:
        found.append(("--optim", _optimizer(job)))
    if has_precision:
        found += _precision(job)
    if has_recompute:
        found.append(("--gradient_checkpointing", job.recompute is Recompute.FULL))
    found.append(("--torch_compile", job.is_compiled))
    if w.fused_linear_loss:
        found.append(("--use_liger_kernel", True))
    return found


def notes(job: Job) -> Iterator[str]:
    """What the script itself has to do, because no argument of the Trainer says so."""
    w = job.workload
    yield from job.own_notes
    if w.model.nets:
        yield f"in the script: images of {int(w.image_size)} pixels a side"
    else:
        target = f" and {int(w.decoder_seq_len):,} of the target" if w.decoder_seq_len else ""
        yield f"in the script: sequences of {int(w.seq_len):,} tokens{target}{', packed' if w.is_packed else ''}"
    if w.is_adapter:
        targets = f"[{', '.join(w.lora_targets)}]" if w.lora_targets else "'all-linear'"
        yield f"in the script: peft.LoraConfig(r={w.lora_rank}, target_modules={targets}); targets by the model's names"
    if w.task is Task.QLORA:
        computed = "torch.float16" if w.precision.matmul == "fp16" else "torch.bfloat16"
        stored = f", bnb_4bit_quant_storage={computed}" if job.zero == 3 else ""  # else 4-bit weights do not shard
        yield (
            "in the script: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4',"
            f" bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype={computed}{stored})"
        )
    if w.task is Task.FREEZE:
        yield "in the script: requires_grad_(False) for all but the head"
    if w.precision.key == "bf16":
        yield "in the script: from_pretrained(..., dtype=torch.bfloat16), for weights and optimizer are in bf16 alone"
    if w.dropout or w.attention_dropout:
        yield f"in the model's config: dropout {w.dropout:g}, attention {_attention_dropout(job):g}"


def _attention_dropout(job: Job) -> float:
    w = job.workload
    return w.dropout if w.attention_dropout is None else w.attention_dropout


def _optimizer(job: Job) -> str:
    fused = job.software.optimizer == "fused" and job.workload.optimizer == "adamw"
    return "adamw_torch_fused" if fused else OPTIMIZERS[job.workload.optimizer]


def _precision(job: Job) -> list[tuple[str, Value | None]]:
    key = job.workload.precision.key
    return [("--bf16", key == "amp-bf16"), ("--fp16", key == "amp-fp16"), ("--tf32", key == "tf32")]
