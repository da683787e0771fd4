"""DeepSpeed: the JSON that `deepspeed.initialize` and transformers' Trainer read.

Names: deepspeedai/DeepSpeed deepspeed/runtime/config.py, runtime/zero/config.py, runtime/precision_config.py,
runtime/tensor_parallel/config.py and module_inject/auto_ep_config.py, 0.19; pipelines run ZeRO-1 at most
(runtime/pipe/engine.py) and 1F1B alone (runtime/pipe/schedule.py).
"""

import json
from collections.abc import Iterator
from typing import Any

from perfsim.core.plan import ContextExchange, Offload, Placement, Recompute, Schedule
from perfsim.launch import trainer
from perfsim.launch.job import FILL_IN, Job, LaunchFile, Refusal, arguments_text

# core.optimizer's keys: the type and its parameters; others are left to the Trainer
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("AdamW", {}),
    "adam": ("Adam", {"adam_w_mode": False}),
    "lamb": ("Lamb", {}),
    "lion": ("Lion", {}),
    "muon": ("Muon", {}),
    "sgd": ("SGD", {"momentum": 0.9}),
    "sgd-plain": ("SGD", {}),
}
ON_HOST = ("adamw", "adam", "lion")
PRECISIONS = ("fp32", "amp-fp16", "amp-bf16", "fp16-o2", "bf16-mixed", "bf16")


def refusals(job: Job) -> Iterator[Refusal]:
    """What DeepSpeed cannot do."""
    plan, w = job.plan, job.workload
    stages, key = int(plan.pipeline_parallel), w.precision.key
    if stages > 1:
        yield from _pipeline_refusals(job)
    exchange = ContextExchange(int(plan.context_exchange))
    if int(plan.context_parallel) > 1 and exchange is not ContextExchange.ALL_TO_ALL:
        yield Refusal("context_exchange", f"context parallelism by {exchange.label}: it exchanges heads for tokens")
    if job.is_hybrid:
        yield Refusal("hybrid_shard", f"weights sharded over {job.shards} of {job.shard_ranks} ranks, and copies")
    if job.offload is Offload.ACTIVATIONS and job.recompute is not Recompute.FULL:
        yield Refusal("offload", "activations in host memory, but for the inputs of layers that are recomputed whole")
    if job.offload in (Offload.OPTIMIZER, Offload.PARAMETERS) and (not job.zero or w.optimizer not in ON_HOST):
        yield Refusal("offload", f"the {w.optimizer} optimizer in host memory with ZeRO-{job.zero}")
    if (key not in PRECISIONS and key != "mxfp4") or (key == "bf16" and not job.zero):
        yield Refusal("precision", f"{key}{' without ZeRO' if key == 'bf16' else ''}")
    if w.optimizer_in_backward:
        yield Refusal("optimizer_in_backward", "an optimizer inside the backward pass")
    if w.optimizer not in OPTIMIZERS:
        yield from trainer.optimizer_refusals(job)
    yield from trainer.layer_refusals(job)


def _pipeline_refusals(job: Job) -> Iterator[Refusal]:
    if job.zero > 1:
        yield Refusal("zero_stage", f"ZeRO-{job.zero} in a pipeline: stage 1 at most")
    if job.schedule is not Schedule.ONE_F_ONE_B:
        yield Refusal("schedule", f"the schedule {job.schedule.label}: its pipelines run 1f1b")
    if int(job.plan.virtual_stages) > 1:
        yield Refusal("virtual_stages", f"{int(job.plan.virtual_stages)} interleaved chunks a GPU")
    if Placement(int(job.plan.placement)) is not Placement.DATA_INNER:
        yield Refusal("placement", "stages as neighbours: its replicas are")
    if int(job.plan.context_parallel) > 1 or int(job.plan.expert_parallel) > 1:
        yield Refusal("pipeline_parallel", "a pipeline with sequences or experts split besides")


def write(job: Job) -> LaunchFile:
    """The JSON, which holds no comments; what it cannot say is in the notes."""
    notes = (*_run(job), *trainer.notes(job), *_notes(job))
    return LaunchFile("deepspeed.json", json.dumps(_config(job), indent=2) + "\n", notes)


def _config(job: Job) -> dict[str, Any]:
    plan, w = job.plan, job.workload
    config: dict[str, Any] = {
        "train_batch_size": int(w.global_batch_size),
        "train_micro_batch_size_per_gpu": int(plan.micro_batch_size),
        "gradient_accumulation_steps": job.microbatches,
        "zero_optimization": _zero(job),
        **_precision(job),
        "activation_checkpointing": {
            "partition_activations": False,
            "cpu_checkpointing": job.offload is Offload.ACTIVATIONS,
        },
    }
    if w.optimizer in OPTIMIZERS:
        name, parameters = OPTIMIZERS[w.optimizer]
        config["optimizer"] = {"type": name, "params": {"lr": 1e-5, **parameters}}
    elif job.zero:
        config["zero_allow_untested_optimizer"] = True
    if (ranks := int(plan.tensor_parallel)) > 1:
        config["tensor_parallel"] = {"autotp_size": ranks}
    if (ranks := int(plan.context_parallel)) > 1:
        config["sequence_parallel_size"] = ranks
    if (ranks := int(plan.expert_parallel)) > 1:
        config["expert_parallel"] = {"enabled": True, "autoep_size": ranks}
    if (stages := int(plan.pipeline_parallel)) > 1:
        interval = int(job.recompute is Recompute.FULL)
        config["pipeline"] = {"stages": stages, "activation_checkpoint_interval": interval}
    return config


def _zero(job: Job) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": job.zero, "overlap_comm": job.software.gradient_bucket_bytes > 0}
    if job.offload in (Offload.OPTIMIZER, Offload.PARAMETERS):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if job.offload is Offload.PARAMETERS:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return zero


def _precision(job: Job) -> dict[str, Any]:
    key = job.workload.precision.key
    config: dict[str, Any] = {
        "fp16": {"enabled": key == "fp16-o2"},
        "bf16": {"enabled": key in ("bf16-mixed", "bf16")},
    }
    if key == "bf16":
        config["bf16"] |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    if key == "bf16-mixed":
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if key.startswith("amp-"):
        config["torch_autocast"] = {"enabled": True, "dtype": {"amp-fp16": "float16", "amp-bf16": "bfloat16"}[key]}
    return config


def _run(job: Job) -> Iterator[str]:
    nodes = f" --num_nodes {job.nodes} --hostfile {FILL_IN}" if job.nodes > 1 else ""
    start = f"deepspeed{nodes} --num_gpus {job.gpus_a_node} {trainer.SCRIPT}"
    if int(job.plan.pipeline_parallel) > 1:
        yield f"run: {start} --deepspeed_config deepspeed.json"
        stages = int(job.plan.pipeline_parallel)
        yield f"in the script: the model as deepspeed.pipe.PipelineModule(..., num_stages={stages})"
        yield f"in the script: engine.train_batch() {job.steps:,} times"
    else:
        told = " ".join(arguments_text(trainer.arguments(job, has_precision=False)))
        yield f"run: {start} --deepspeed deepspeed.json {told}"


def _notes(job: Job) -> Iterator[str]:
    if job.workload.optimizer in OPTIMIZERS:
        yield "optimizer.params.lr is DeepSpeed's to know, not perfsim's: 1e-5 is a placeholder"
    if job.is_compiled and int(job.plan.pipeline_parallel) > 1:
        yield "in the script: engine.compile(), as estimated"
    if job.offload is Offload.ACTIVATIONS:
        yield "in the script: deepspeed.checkpointing.checkpoint around every layer, for cpu_checkpointing is its"
