"""accelerate and FSDP2: the YAML that `accelerate launch --config_file` reads.

Names: huggingface/accelerate src/accelerate/commands/launch.py, commands/config/config_args.py and
parallelism_config.py, 1.15. What splits sequences there passes keys on ("alltoall") or gathers them ("allgather":
pytorch/pytorch torch/distributed/tensor/experimental/_context_parallel/_attention.py).
"""

from collections.abc import Iterator, Mapping

from perfsim.core.plan import ContextExchange, Offload, Recompute
from perfsim.launch import trainer
from perfsim.launch.job import FILL_IN, Job, LaunchFile, Refusal, Value, arguments_text, comment, word

PRECISIONS = {"fp32": "no", "amp-fp16": "fp16", "amp-bf16": "bf16", "bf16": "no", "fp8": "fp8"}
EXCHANGES = {ContextExchange.RING: "alltoall", ContextExchange.ALL_GATHER: "allgather"}


def refusals(job: Job) -> Iterator[Refusal]:
    """What accelerate's FSDP cannot do."""
    plan, w = job.plan, job.workload
    zero = job.zero
    if zero == 1:
        yield Refusal("zero_stage", "ZeRO-1: FSDP shards gradients with the optimizer's state")
    if zero == 0 and job.is_split:
        yield Refusal("zero_stage", "tensor or context parallelism of weights that are not sharded: it needs FSDP2")
    if int(plan.expert_parallel) > 1:
        yield Refusal("expert_parallel", f"experts split over {int(plan.expert_parallel)} GPUs")
    exchange = ContextExchange(int(plan.context_exchange))
    if int(plan.context_parallel) > 1 and exchange not in EXCHANGES:
        yield Refusal("context_exchange", "heads exchanged for tokens (Ulysses) beside FSDP")
    if job.shards % int(plan.context_parallel) and zero:
        yield Refusal("hybrid_shard", "groups that shard the weights and hold a part of a sequence's ranks")
    if job.offload is Offload.OPTIMIZER:
        yield Refusal("offload", "the optimizer alone in host memory: FSDP's parameters go with it")
    if w.precision.key not in PRECISIONS and w.precision.key != "mxfp4":
        yield Refusal("precision", f"{w.precision.key}: FSDP keeps one set of weights, in fp32 or in bf16")
    yield from trainer.refusals(job)
    yield from trainer.optimizer_refusals(job)


def write(job: Job) -> LaunchFile:
    """The YAML; the micro-batch, the accumulation and the optimizer are the script's, in the command above it."""
    arguments = trainer.arguments(job, has_precision=False, has_recompute=not job.zero)
    told = " ".join(arguments_text(arguments))
    notes = (
        f"run on every node: accelerate launch --config_file accelerate.yaml {trainer.SCRIPT} {told}",
        *trainer.notes(job),
        *_notes(job),
    )
    text = comment([job.title, *notes, f"{FILL_IN} stands where only you know what to write"])
    return LaunchFile("accelerate.yaml", text + _yaml(_config(job)), notes)


def _config(job: Job) -> dict[str, Value | Mapping[str, Value]]:
    zero, key = job.zero, job.workload.precision.key
    kind = "FSDP" if zero else ("MULTI_GPU" if job.gpus > 1 else "NO")
    config: dict[str, Value | Mapping[str, Value]] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind,
        "num_machines": job.nodes,
        "num_processes": job.gpus,
        "machine_rank": 0,
    }
    if job.nodes > 1:
        config |= {"main_process_ip": FILL_IN, "main_process_port": 29500, "rdzv_backend": "static"}
    config["mixed_precision"] = PRECISIONS[key]
    if key == "fp8":
        config["fp8_config"] = {"backend": "AO"}
    if job.is_compiled:
        config["dynamo_config"] = {"dynamo_backend": "INDUCTOR"}
    if zero:
        config["fsdp_config"] = _fsdp(job)
    if job.is_split or job.is_hybrid:
        config["parallelism_config"] = _degrees(job)
    return config


def _fsdp(job: Job) -> dict[str, Value]:
    return {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_reshard_after_forward": job.zero == 3,
        "fsdp_offload_params": job.offload is Offload.PARAMETERS,
        "fsdp_activation_checkpointing": job.recompute is Recompute.FULL,
        "fsdp_cpu_ram_efficient_loading": job.workload.precision.key != "fp8",  # torchao's FP8 cannot
        "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    }


def _degrees(job: Job) -> dict[str, Value]:
    cp = int(job.plan.context_parallel)
    degrees: dict[str, Value] = {
        "parallelism_config_dp_replicate_size": job.shard_ranks // job.shards,
        "parallelism_config_dp_shard_size": job.shards // cp,
        "parallelism_config_tp_size": int(job.plan.tensor_parallel),
        "parallelism_config_cp_size": cp,
    }
    if cp > 1:
        exchange = EXCHANGES[ContextExchange(int(job.plan.context_exchange))]
        degrees["parallelism_config_cp_comm_strategy"] = exchange
    return degrees


def _notes(job: Job) -> Iterator[str]:
    if job.nodes > 1:
        yield f"machine_rank: 0 to {job.nodes - 1}, another on every node (or --machine_rank on the command line)"
    if job.zero == 2:
        yield "ZeRO-2 here is FSDP that keeps gathered weights until the backward pass has used them"
    if job.workload.precision.key == "fp8":
        yield "perfsim counts fp8 with bf16 weights and an fp32 copy; FSDP2 keeps fp32 weights alone, 2 bytes less"


def _yaml(config: Mapping[str, Value | Mapping[str, Value]]) -> str:
    lines = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines.append(f"{key}:")
            lines += [f"  {name}: {word(inner)}" for name, inner in value.items()]
        else:
            fill = "  # the first node's address" if value == FILL_IN else ""
            lines.append(f"{key}: {word(value)}{fill}")
    return "".join(f"{line}\n" for line in lines)
