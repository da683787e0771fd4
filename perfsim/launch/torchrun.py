"""torchrun and DistributedDataParallel: a shell script that starts a script built on transformers' Trainer.

Names: pytorch/pytorch torch/distributed/run.py; see `perfsim.launch.trainer` for the script's own.
"""

from collections.abc import Iterator

from perfsim.core.plan import Offload
from perfsim.launch import trainer
from perfsim.launch.job import Job, LaunchFile, Refusal, Value, command, comment, rendezvous

PRECISIONS = ("fp32", "tf32", "amp-fp16", "amp-bf16", "bf16")


def refusals(job: Job) -> Iterator[Refusal]:
    """What DistributedDataParallel cannot do."""
    w, plan = job.workload, job.plan
    for choice, text in (
        ("tensor_parallel", "layers split"),
        ("context_parallel", "sequences split"),
        ("expert_parallel", "experts split"),
    ):
        if (degree := int(getattr(plan, choice))) > 1:
            yield Refusal(choice, f"{text} over {degree} GPUs")
    if job.zero:
        yield Refusal("zero_stage", f"ZeRO-{job.zero}: DistributedDataParallel shards nothing")
    if job.offload in (Offload.OPTIMIZER, Offload.PARAMETERS):
        yield Refusal("offload", f"the {job.offload.label} in host memory")
    if w.precision.key not in PRECISIONS and w.precision.key != "mxfp4":
        yield Refusal("precision", f"{w.precision.key} with DistributedDataParallel")
    yield from trainer.refusals(job)
    yield from trainer.optimizer_refusals(job)


def write(job: Job) -> LaunchFile:
    """The shell script."""
    arguments = trainer.arguments(job)
    if job.gpus > 1:
        arguments += _buckets(job)
    notes = tuple(trainer.notes(job))
    head = comment([job.title, f"{trainer.SCRIPT}: a script that takes transformers' TrainingArguments", *notes])
    text = f"#!/usr/bin/env bash\n{head}{rendezvous(job)}{command(job, trainer.SCRIPT, arguments)}"
    return LaunchFile("torchrun.sh", text, notes)


def _buckets(job: Job) -> list[tuple[str, Value | None]]:
    """The gradients that are reduced at once, in MB of 2^20 bytes; the default where the software has none."""
    bucket = job.software.gradient_bucket_bytes
    return [("--ddp_bucket_cap_mb", round(bucket / 2**20))] if bucket else []
