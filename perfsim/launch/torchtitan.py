"""torchtitan: the TOML that `--job.config_file` names, of the releases that read one: up to 0.2.2.

Names: pytorch/torchtitan torchtitan/config/job_config.py at v0.2.2; models and flavors torchtitan/models/*/__init__.py.
From 0.3 on, configurations there are Python. What splits sequences passes keys on ("alltoall") or gathers them
("allgather": pytorch/pytorch torch/distributed/tensor/experimental/_context_parallel/_attention.py).
"""

from collections.abc import Iterator, Mapping

from perfsim.core.plan import ContextExchange, Offload, Placement, Recompute, Schedule
from perfsim.formulas.stages import ends_counted
from perfsim.launch.job import FILL_IN, Job, LaunchFile, Refusal, Value, comment, pretraining_refusals, word

# perfsim's models: name and flavor
MODELS = {
    "llama3-8b": ("llama3", "8B"),
    "llama3.1-8b": ("llama3", "8B"),
    "llama3-70b": ("llama3", "70B"),
    "llama3.1-70b": ("llama3", "70B"),
    "llama3.3-70b": ("llama3", "70B"),
    "llama3.1-405b": ("llama3", "405B"),
    "llama4-scout": ("llama4", "17bx16e"),
    "deepseek-v2-lite": ("deepseek_v3", "16B"),
    "deepseek-v2": ("deepseek_v3", "236B"),
    "deepseek-v3": ("deepseek_v3", "671B"),
    "gpt-oss-20b": ("gpt_oss", "20b"),
    "gpt-oss-120b": ("gpt_oss", "120b"),
    "qwen3-0.6b": ("qwen3", "0.6B"),
    "qwen3-1.7b": ("qwen3", "1.7B"),
    "qwen3-4b": ("qwen3", "4B"),
    "qwen3-8b": ("qwen3", "8B"),
    "qwen3-14b": ("qwen3", "14B"),
    "qwen3-32b": ("qwen3", "32B"),
    "qwen3-30b-a3b": ("qwen3", "30B-A3B"),
    "qwen3-235b-a22b": ("qwen3", "235B-A22B"),
}
# of v0.2.2's models: those without pipelines, and those whose attention cannot share a sequence
WITHOUT_STAGES = ("qwen3", "gpt_oss")
WITHOUT_CONTEXT = ("deepseek_v3", "gpt_oss")
SCHEDULES = {Schedule.GPIPE: "GPipe", Schedule.ONE_F_ONE_B: "1F1B", Schedule.ZB_V: "ZBVZeroBubble"}
EXCHANGES = {ContextExchange.RING: "alltoall", ContextExchange.ALL_GATHER: "allgather"}
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW"}
# training.dtype and training.mixed_precision_param
PRECISIONS = {
    "fp32": ("float32", "float32"),
    "amp-bf16": ("float32", "bfloat16"),
    "bf16": ("bfloat16", "bfloat16"),
    "fp8": ("float32", "bfloat16"),
}
IMPLEMENTATIONS = {"loop": "for-loop", "foreach": "foreach", "fused": "fused"}


def refusals(job: Job) -> Iterator[Refusal]:
    """What torchtitan cannot do."""
    plan, w = job.plan, job.workload
    if w.model.key not in MODELS:
        yield Refusal("model", f"{w.model.key}: it trains {', '.join(sorted({name for name, _ in MODELS.values()}))}")
    else:
        yield from _model_refusals(job, MODELS[w.model.key][0])
    yield from pretraining_refusals(job)
    yield from _data_refusals(job)
    yield from _pipeline_refusals(job)
    if int(plan.tensor_parallel) > 1 and not plan.sequence_parallel:
        yield Refusal("tensor_parallel", "tensor parallelism without sequence parallelism")
    exchange = ContextExchange(int(plan.context_exchange))
    if int(plan.context_parallel) > 1 and exchange not in EXCHANGES:
        yield Refusal("context_exchange", "heads exchanged for tokens (Ulysses)")
    if job.recompute is Recompute.SELECTIVE and job.software.selective_recompute != "per-op":
        yield Refusal("recompute", "recomputation of attention alone; estimate with --software torchtitan")
    if (ranks := int(plan.expert_parallel)) > 1 and job.shards % ranks:
        yield Refusal("expert_parallel", f"experts split over {ranks} GPUs that do not divide those that shard weights")
    if int(plan.recompute_layers):
        yield Refusal("recompute_layers", f"recomputation of {int(plan.recompute_layers)} layers alone: all or none")
    if w.dropout or w.drops_probabilities:
        yield Refusal("dropout", f"dropout of {w.dropout:g}: its models drop nothing")
    if w.optimizer not in OPTIMIZERS:
        yield Refusal("optimizer", f"the optimizer {w.optimizer}")
    in_parts = int(plan.expert_parallel) > 1 or int(plan.pipeline_parallel) > 1
    if w.optimizer_in_backward and in_parts:
        yield Refusal("optimizer_in_backward", "an optimizer inside the backward pass with stages or experts split")


def _model_refusals(job: Job, name: str) -> Iterator[Refusal]:
    """Of what its models can: torchtitan/models/*/__init__.py and infra/parallelize.py."""
    tp, cp = int(job.plan.tensor_parallel), int(job.plan.context_parallel)
    if int(job.plan.pipeline_parallel) > 1 and name in WITHOUT_STAGES:
        yield Refusal("pipeline_parallel", f"pipeline stages of {name}")
    if cp > 1 and name in WITHOUT_CONTEXT:
        yield Refusal("context_parallel", f"sequences of {name} split over GPUs")
    divisor = 2 * tp * cp
    if int(job.workload.seq_len) % divisor:
        yield Refusal("context_parallel" if cp > 1 else "tensor_parallel", f"sequences that {divisor} does not divide")
    if job.workload.precision.key == "fp8" and name == "deepseek_v3" and tp > 1:
        yield Refusal("precision", "fp8 with one scale a tensor beside tensor parallelism of deepseek_v3")


def _data_refusals(job: Job) -> Iterator[Refusal]:
    """Of sharding, offload and number formats, which hang together in FSDP2."""
    key, is_sharded = job.workload.precision.key, job.shards > 1
    if job.zero == 1:
        yield Refusal("zero_stage", "ZeRO-1: FSDP2 shards gradients with the optimizer's state")
    if not job.zero and job.shard_ranks > 1 and job.is_split:
        yield Refusal("zero_stage", "replicas that shard nothing beside tensor, pipeline or context parallelism")
    if job.zero and job.shards % int(job.plan.context_parallel):
        yield Refusal("hybrid_shard", "groups that shard the weights and hold a part of a sequence's ranks")
    if job.offload in (Offload.OPTIMIZER, Offload.ACTIVATIONS) or (
        job.offload is Offload.PARAMETERS and not is_sharded
    ):
        yield Refusal("offload", f"the {job.offload.label} in host memory: parameters that FSDP2 shards alone")
    if key not in PRECISIONS and key != "mxfp4":
        yield Refusal("precision", f"{key}: FSDP2 keeps one set of weights, in fp32 or in bf16 (such as amp-bf16)")
    elif key in ("amp-bf16", "fp8") and job.is_split and not is_sharded:
        yield Refusal("precision", f"{key} where only tensors or stages are split: it needs weights that FSDP2 shards")


def _pipeline_refusals(job: Job) -> Iterator[Refusal]:
    plan = job.plan
    stages, chunks = int(plan.pipeline_parallel), int(plan.virtual_stages)
    if stages == 1:
        return
    if job.schedule not in SCHEDULES:
        yield Refusal("schedule", f"the schedule {job.schedule.label}")
    if Placement(int(plan.placement)) is not Placement.DATA_INNER:
        yield Refusal("placement", "stages as neighbours: its replicas are")
    layers, ends = job.workload.model.layers, int(ends_counted(job.workload.model.layers, stages, chunks))
    if (layers + 2 * ends) % (stages * chunks):
        yield Refusal("pipeline_parallel", f"{layers} layers on {stages} stages with the longer ones in the middle")


def write(job: Job) -> LaunchFile:
    """The TOML."""
    notes = tuple(_notes(job))
    head = comment([job.title, *notes, f"{FILL_IN} stands where only you know what to write"])
    tables = {name: table for name, table in _tables(job).items() if table}
    text = "".join(f"\n[{name}]\n" + _lines(table) for name, table in tables.items())
    return LaunchFile("torchtitan.toml", head + text, notes)


def _tables(job: Job) -> dict[str, Mapping[str, Value | list[str]]]:
    w = job.workload
    name, flavor = MODELS[w.model.key]
    model: dict[str, Value | list[str]] = {"name": name, "flavor": flavor, "hf_assets_path": FILL_IN}
    if w.precision.key == "fp8":
        model["converters"] = ["quantize.linear.float8"]
    mode = {Recompute.NONE: "none", Recompute.SELECTIVE: "selective", Recompute.FULL: "full"}[job.recompute]
    recompute = {"mode": mode} | ({"selective_ac_option": "op"} if mode == "selective" else {})
    return {
        "job": {"dump_folder": FILL_IN},
        "model": model,
        "optimizer": {
            "name": OPTIMIZERS[w.optimizer],
            "implementation": IMPLEMENTATIONS[job.software.optimizer],
            "early_step_in_backward": w.optimizer_in_backward,
        },
        "training": _training(job),
        "parallelism": {**_data_parallelism(job), **_pipeline(job)},
        "activation_checkpoint": recompute,
        "compile": {"enable": job.is_compiled},
        "quantize.linear.float8": {"recipe_name": "tensorwise"} if w.precision.key == "fp8" else {},
        "checkpoint": {"enable": True, "folder": FILL_IN},
    }


def _training(job: Job) -> dict[str, Value]:
    w, has_stages = job.workload, int(job.plan.pipeline_parallel) > 1
    kept, computed = PRECISIONS[w.precision.key]
    return {
        "dataset": FILL_IN,
        "seq_len": int(w.seq_len),
        "local_batch_size": int(job.plan.micro_batch_size) * (job.microbatches if has_stages else 1),
        "global_batch_size": int(w.global_batch_size),
        "steps": job.steps,
        "dtype": kept,
        "mixed_precision_param": computed,
        "mixed_precision_reduce": "float32",
        "enable_cpu_offload": job.offload is Offload.PARAMETERS,
    }


def _data_parallelism(job: Job) -> dict[str, Value]:
    plan = job.plan
    tp, cp, ep = int(plan.tensor_parallel), int(plan.context_parallel), int(plan.expert_parallel)
    degrees: dict[str, Value] = {
        "data_parallel_replicate_degree": job.shard_ranks // job.shards,
        "data_parallel_shard_degree": max(1, job.shards // cp) if job.zero else 1,
        "fsdp_reshard_after_forward": "always" if job.zero == 3 else "never",
        "tensor_parallel_degree": tp,
        "context_parallel_degree": cp,
        "expert_parallel_degree": ep,
    }
    if cp > 1:
        degrees["context_parallel_rotate_method"] = EXCHANGES[ContextExchange(int(plan.context_exchange))]
    if ep > 1:
        degrees["expert_tensor_parallel_degree"] = tp
    return degrees


def _pipeline(job: Job) -> dict[str, Value]:
    plan, layers = job.plan, job.workload.model.layers
    stages, chunks = int(plan.pipeline_parallel), int(plan.virtual_stages)
    if stages == 1:
        return {"pipeline_parallel_degree": 1}
    ends = int(ends_counted(layers, stages, chunks))
    is_interleaved = job.schedule is Schedule.ONE_F_ONE_B and chunks > 1
    return {
        "pipeline_parallel_degree": stages,
        "pipeline_parallel_schedule": "Interleaved1F1B" if is_interleaved else SCHEDULES[job.schedule],
        "pipeline_parallel_layers_per_stage": (layers + 2 * ends) // (stages * chunks),
        "pipeline_parallel_first_stage_less_layers": ends,
        "pipeline_parallel_last_stage_less_layers": ends,
        "pipeline_parallel_microbatch_size": int(plan.micro_batch_size),
    }


def _notes(job: Job) -> Iterator[str]:
    where = f"--nnodes {job.nodes} --nproc-per-node {job.gpus_a_node}"
    if job.nodes > 1:
        where += f" --rdzv-backend c10d --rdzv-endpoint {FILL_IN}:29500"
    yield f"run on every node: torchrun {where} -m torchtitan.train --job.config_file torchtitan.toml"
    yield from job.own_notes
    yield "torchtitan 0.2.2 or earlier; it fills every sequence with several samples"
    if job.zero == 2:
        yield "ZeRO-2 here is FSDP2 that keeps gathered weights until the backward pass has used them"
    if int(job.plan.context_parallel) > 1 and int(job.plan.context_exchange) == ContextExchange.RING:
        yield 'the rotate method "alltoall" sends keys to the next rank alone: a ring'
    if job.workload.precision.key == "fp8":
        yield "perfsim counts fp8 with bf16 weights and an fp32 copy; FSDP2 keeps fp32 weights alone, 2 bytes less"


def _lines(table: Mapping[str, Value | list[str]]) -> str:
    texts = ((key, str(value).replace("'", '"') if isinstance(value, list) else word(value))
             for key, value in table.items())  # fmt: skip
    return "".join(f"{key} = {text}\n" for key, text in texts)
