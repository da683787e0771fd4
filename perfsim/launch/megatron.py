"""Megatron-LM: a shell script that starts pretrain_gpt.py with the plan and the model as its arguments.

Names: NVIDIA/Megatron-LM megatron/training/arguments.py at core_v0.19.0, what goes with what from its validate_args and
megatron/core/transformer/transformer_config.py; the model's from `perfsim.launch.megatron_model`.
"""

from collections.abc import Iterator

import numpy as np

from perfsim.core.plan import ContextExchange, Offload, Placement, Recompute, Schedule
from perfsim.formulas.stages import ends_counted, layers_on_stage
from perfsim.launch import megatron_model
from perfsim.launch.job import (
    FILL_IN,
    Job,
    LaunchFile,
    Refusal,
    Value,
    command,
    comment,
    pretraining_refusals,
    rendezvous,
)

Arguments = Iterator[tuple[str, Value | None]]

EXCHANGES = {
    ContextExchange.RING: "p2p", ContextExchange.ALL_TO_ALL: "a2a", ContextExchange.ALL_GATHER: "all_gather",
}  # fmt: skip
OPTIMIZERS: dict[str, tuple[tuple[str, Value], ...]] = {
    "adamw": (("--optimizer", "adam"),),
    "adam": (("--optimizer", "adam"), ("--weight-decay", 0.0)),
    "sgd": (("--optimizer", "sgd"), ("--sgd-momentum", 0.9)),
    "sgd-plain": (("--optimizer", "sgd"), ("--sgd-momentum", 0.0)),
    "lion": (("--optimizer", "lion"),),
    "muon": (("--optimizer", "muon"),),
}
WITH_FSDP = ("adamw", "adam", "sgd", "sgd-plain")
PRECISIONS: dict[str, tuple[tuple[str, Value | None], ...]] = {
    "fp32": (),
    "fp16-o2": (("--fp16", None),),
    "bf16-mixed": (("--bf16", None),),
    "fp8": (("--bf16", None), ("--fp8-format", "hybrid")),
    "nvfp4": (("--bf16", None), ("--fp4-format", "e2m1"), ("--fp4-recipe", "nvfp4")),
}
SHARDING = {2: "optim_grads", 3: "optim_grads_params"}
BACKENDS = {
    "naive": "unfused",
    "sdpa": "flash",
    "flash-1": "flash",
    "flash-2": "flash",
    "flash-3": "flash",
    "cudnn": "fused",
}
NATIVE_LOSS_BYTES = 46.0  # per logit, of Megatron's own loss: specs/software/megatron-core-plain.toml


def refusals(job: Job) -> Iterator[Refusal]:
    """What Megatron-LM cannot do."""
    plan, w = job.plan, job.workload
    yield from megatron_model.refusals(job)
    yield from pretraining_refusals(job)
    yield from _split_refusals(job)
    if w.optimizer not in OPTIMIZERS or (job.zero > 1 and w.optimizer not in WITH_FSDP):
        yield Refusal(
            "optimizer", f"the optimizer {w.optimizer}{' with its FSDP' if w.optimizer in OPTIMIZERS else ''}"
        )
    if w.precision.key not in PRECISIONS and w.precision.key != "mxfp4":
        yield Refusal(
            "precision", f"{w.precision.key}: it keeps 16-bit weights beside an fp32 copy (such as bf16-mixed)"
        )
    if job.recompute is Recompute.SELECTIVE and job.software.selective_recompute == "per-op":
        yield Refusal("recompute", "recomputation of all but every second product")
    if int(plan.recompute_layers) % (int(plan.pipeline_parallel) * int(plan.virtual_stages)):
        yield Refusal("recompute_layers", f"{int(plan.recompute_layers)} recomputed layers, not as many on each chunk")
    if w.optimizer_in_backward:
        yield Refusal("optimizer_in_backward", "an optimizer inside the backward pass")
    if why := _offload_problem(job):
        yield Refusal("offload", why)


def _split_refusals(job: Job) -> Iterator[Refusal]:
    plan = job.plan
    tp, pp, cp = int(plan.tensor_parallel), int(plan.pipeline_parallel), int(plan.context_parallel)
    if pp > 1 and job.schedule is not Schedule.ONE_F_ONE_B:
        fork = ": a fork has it, sail-sg/zero-bubble-pipeline-parallelism" if "ZB" in job.schedule.name else ""
        yield Refusal("schedule", f"the schedule {job.schedule.label}{fork}")
    if pp > 1 and cp > 1 and Placement(int(plan.placement)) is Placement.PIPELINE_INNER:
        yield Refusal("placement", "stages nearer to each other than the ranks that split a sequence")
    if cp > 1 and int(job.workload.seq_len) % (2 * cp):
        yield Refusal("context_parallel", f"sequences that {2 * cp} does not divide")
    if tp > 1 and job.workload.model.moe and not plan.sequence_parallel:
        yield Refusal("sequence_parallel", "experts and tensor parallelism without sequence parallelism")


def _offload_problem(job: Job) -> str:
    if job.offload is Offload.PARAMETERS:
        return "parameters in host memory"
    if job.offload is Offload.OPTIMIZER and job.zero != 1:
        return f"the optimizer in host memory with ZeRO-{job.zero}: with ZeRO-1 alone"
    if job.offload is Offload.ACTIVATIONS and (int(job.plan.pipeline_parallel) > 1 or job.recompute):
        return "activations in host memory in a pipeline or with recomputation"
    return ""


def write(job: Job) -> LaunchFile:
    """The shell script."""
    notes = tuple(_notes(job))
    head = comment([job.title, "pretrain_gpt.py of NVIDIA/Megatron-LM, core_v0.19.0", *notes])
    arguments = [*megatron_model.arguments(job), *_batch(job), *_degrees(job), *_sharding(job), *_memory(job)]
    arguments += [*_kernels(job), *_own()]
    needs_order = (int(job.plan.tensor_parallel) > 1 or int(job.plan.context_parallel) > 1) and job.zero < 2
    order = "export CUDA_DEVICE_MAX_CONNECTIONS=1\n" if needs_order else "unset CUDA_DEVICE_MAX_CONNECTIONS\n"
    own = (
        f"LR={FILL_IN}  # learning rate\n"
        f"TOKENIZER={FILL_IN}  # a folder with the model's tokenizer\n"
        f"DATA={FILL_IN}  # prefix of the data that tools/preprocess_data.py wrote\n"
        f"CHECKPOINTS={FILL_IN}  # folder to load from and save to\n"
        f"SAVE_INTERVAL={FILL_IN}  # steps between two checkpoints\n"
    )
    text = f"#!/usr/bin/env bash\n{head}{rendezvous(job)}{own}{order}{command(job, 'pretrain_gpt.py', arguments)}"
    return LaunchFile("megatron.sh", text, notes)


def _own() -> Arguments:
    yield "--lr", '"$LR"'
    yield "--tokenizer-type", "HuggingFaceTokenizer"
    yield "--tokenizer-model", '"$TOKENIZER"'
    yield "--data-path", '"$DATA"'
    yield "--load", '"$CHECKPOINTS"'
    yield "--save", '"$CHECKPOINTS"'
    yield "--save-interval", '"$SAVE_INTERVAL"'


def _batch(job: Job) -> Arguments:
    w = job.workload
    yield "--seq-length", int(w.seq_len)
    yield "--micro-batch-size", int(job.plan.micro_batch_size)
    yield "--global-batch-size", int(w.global_batch_size)
    yield "--train-iters", job.steps
    yield "--hidden-dropout", w.dropout
    yield "--attention-dropout", w.dropout if w.attention_dropout is None else w.attention_dropout
    yield from OPTIMIZERS[w.optimizer]
    yield from PRECISIONS[w.precision.key]


def _degrees(job: Job) -> Arguments:
    plan = job.plan
    tp, pp, cp = int(plan.tensor_parallel), int(plan.pipeline_parallel), int(plan.context_parallel)
    yield "--tensor-model-parallel-size", tp
    yield "--pipeline-model-parallel-size", pp
    yield "--context-parallel-size", cp
    if plan.sequence_parallel and tp > 1:
        yield "--sequence-parallel", None
    if cp > 1:
        yield "--cp-comm-type", EXCHANGES[ContextExchange(int(plan.context_exchange))]
    if job.workload.model.moe:
        yield "--expert-model-parallel-size", int(plan.expert_parallel)
        yield "--expert-tensor-parallel-size", tp
    if pp > 1:
        yield from _stages(job)


def _stages(job: Job) -> Arguments:
    plan, layers = job.plan, job.workload.model.layers
    pp, chunks = int(plan.pipeline_parallel), int(plan.virtual_stages)
    if chunks > 1:
        yield "--num-virtual-stages-per-pipeline-rank", chunks
    if ends_counted(layers, pp, chunks):
        yield "--account-for-embedding-in-pipeline-split", None
        yield "--account-for-loss-in-pipeline-split", None
    elif layers % pp:
        held = layers_on_stage(0, layers, layers, np.arange(pp), pp, 1)
        stages = "|".join(f"t*{int(count)}" for count in np.asarray(held))
        yield "--pipeline-model-parallel-layout", f"'E{stages}L'"
    if Placement(int(plan.placement)) is Placement.PIPELINE_INNER:
        yield "--use-tp-pp-dp-mapping", None


def _sharding(job: Job) -> Arguments:
    if job.zero:
        yield "--use-distributed-optimizer", None
    if job.zero > 1:
        yield "--use-megatron-fsdp", None
        yield "--data-parallel-sharding-strategy", SHARDING[job.zero]
        yield "--ckpt-format", "fsdp_dtensor"
    if job.is_hybrid:
        yield "--num-distributed-optimizer-instances", job.shard_ranks // job.shards
    if job.software.gradient_bucket_bytes and job.shard_ranks > 1:
        yield "--overlap-grad-reduce", None


def _memory(job: Job) -> Arguments:
    plan, layers = job.plan, job.workload.model.layers
    if job.recompute is Recompute.SELECTIVE:
        yield "--recompute-granularity", "selective"
        yield "--recompute-modules", "core_attn"
    elif job.recompute is Recompute.FULL:
        some = int(plan.recompute_layers)
        yield "--recompute-granularity", "full"
        yield "--recompute-method", "block" if some else "uniform"
        yield "--recompute-num-layers", some // int(plan.pipeline_parallel * plan.virtual_stages) if some else 1
    if job.offload is Offload.OPTIMIZER:
        yield "--optimizer-cpu-offload", None
        yield "--use-precision-aware-optimizer", None
    elif job.offload is Offload.ACTIVATIONS:
        yield "--cpu-offloading-num-layers", layers - 1


def _kernels(job: Job) -> Arguments:
    software = job.software
    is_local = software.framework == "megatron"  # before Transformer Engine
    yield "--transformer-impl", "local" if is_local else "transformer_engine"
    yield "--attention-backend", "local" if is_local and software.attention == "naive" else BACKENDS[software.attention]
    yield "--make-vocab-size-divisible-by", software.vocabulary_multiple
    if software.loss_bytes_per_logit < NATIVE_LOSS_BYTES and not is_local:
        yield "--cross-entropy-loss-fusion", None
    if not software.fuses_weight_gradients:
        yield "--no-gradient-accumulation-fusion", None
    if software.tensor_parallel_overlap == "all" and job.plan.sequence_parallel:
        yield "--tp-comm-overlap", None


def _notes(job: Job) -> Iterator[str]:
    model = job.workload.model
    yield from job.own_notes
    if model.positions == "rope":
        yield "--rotary-base and --norm-epsilon: add them where the model's config.json differs from 10000 and 1e-5"
    if job.offload is Offload.ACTIVATIONS:
        yield f"--cpu-offloading-num-layers takes at most {model.layers - 1} of the {model.layers} layers"
    if job.nodes > 1:
        yield "run on every node"
