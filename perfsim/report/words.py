"""What each part of an estimate is made of, in words with the numbers that went into it."""

from collections.abc import Callable
from dataclasses import replace

from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Head, Workload
from perfsim.formulas.parameters import count, trainable
from perfsim.formulas.pipeline import microbatches_of
from perfsim.report.text import sample_text
from perfsim.units import count_text, number_text

BOUNDS = {  # parts whose bound does not depend on the operations
    "launch_seconds": "launch",
    "tensor_parallel_seconds": "communication",
    "context_parallel_seconds": "communication",
    "expert_parallel_seconds": "communication",
    "parameter_gather_seconds": "communication",
    "pipeline_bubble_seconds": "waiting",
    "pipeline_send_seconds": "communication",
    "gradient_reduce_seconds": "communication",
    "optimizer_seconds": "memory",
    "offload_seconds": "host",
    "host_seconds": "host",
    "straggler_seconds": "stragglers",
}


def part_name(part: str) -> str:
    """A part of a step or of memory as people say it.

    >>> part_name("pipeline_bubble_seconds")
    'pipeline bubble'
    """
    return part.removesuffix("_seconds").removesuffix("_bytes").replace("_", " ")


def as_run(workload: Workload, software: Software) -> Workload:
    """The workload with gradients in the format that the software keeps them in."""
    precision = workload.precision
    size = min(precision.gradient_bytes, software.reduced_bytes_per_gradient)
    return replace(workload, precision=replace(precision, gradient_bytes=size))


def part_words(name: str, workload: Workload, plan: Plan) -> str:
    """What the part called `name` is made of.

    >>> from perfsim.core.plan import Plan
    >>> import perfsim as ps
    >>> part_words("pipeline_send_seconds", ps.workload("bert-large"), Plan(pipeline_parallel=2))
    'activations and their gradients between 2 stages'
    """
    return _WORDS[name](workload, plan) if name in _WORDS else ""


def _split(plan: Plan, zero_from: int) -> str:
    """Over how many GPUs a tensor of the model is split."""
    ways = [
        f"{label} {degree}"
        for label, degree in (("TP", plan.tensor_parallel), ("PP", plan.pipeline_parallel))
        if degree > 1
    ]
    if plan.zero_stage >= zero_from and plan.data_parallel > 1:
        ways.append(f"ZeRO-{plan.zero_stage} over DP {plan.data_parallel}")
    return f", split by {' and '.join(ways)}" if ways else ""


def _trained(workload: Workload) -> float:
    return float(trainable(workload.model, workload.task, workload.head, workload.lora_rank, workload.lora_targets))


def _batches(workload: Workload, plan: Plan) -> str:
    number = int(microbatches_of(workload, plan))
    return f"{number:,} micro-batch{'es' if number > 1 else ''}"


def _weights(workload: Workload, plan: Plan) -> str:
    total, frozen = count(workload.model).total, workload.base_bytes
    each = f"{number_text(frozen or workload.precision.weight_bytes)} B each"
    beside = f", and {count_text(_trained(workload))} of adapters" if workload.is_adapter else ""
    return f"{count_text(total)} parameters, {each}{beside}{_split(plan, 3)}"


def _gradients(workload: Workload, plan: Plan) -> str:
    each = number_text(workload.precision.gradient_bytes)
    return f"{count_text(_trained(workload))} trained parameters, {each} B each{_split(plan, 2)}"


def _optimizer(workload: Workload, plan: Plan) -> str:
    precision = workload.precision
    master = f"a master copy of {number_text(precision.master_bytes)} B and " if precision.master_bytes else ""
    return (
        f"{workload.optimizer} on {count_text(_trained(workload))} trained parameters: {master}moments of"
        f" {number_text(precision.state_bytes)} B each{_split(plan, 1)}"
    )


def _activations(workload: Workload, plan: Plan) -> str:
    some = f"inputs alone of {plan.recompute_layers} of all layers" if plan.recompute_layers else "layer inputs kept"
    kept = {0: "all kept", 1: "parts recomputed", 2: some}[int(plan.recompute)]
    return f"{_tokens(workload, plan)} through {_layers(workload, plan)}, {kept}"


def _tokens(workload: Workload, plan: Plan) -> str:
    return f"{plan.micro_batch_size} x {sample_text(workload)}"


def _layers(workload: Workload, plan: Plan) -> str:
    layers = workload.model.depth / plan.pipeline_parallel
    return f"{layers:g} units" if workload.model.nets else f"{layers:g} layers"


def _pass(verb: str) -> Callable[[Workload, Plan], str]:
    def words(workload: Workload, plan: Plan) -> str:
        return f"{_batches(workload, plan)} of {_tokens(workload, plan)} {verb} {_layers(workload, plan)} and the ends"

    return words


def _passing(workload: Workload, plan: Plan) -> str:
    positions = f"{plan.micro_batch_size} x {workload.head_positions} positions"
    words = f"logits ({positions} x {count_text(workload.model.vocab_size)} words), "
    if workload.head is Head.CONTRASTIVE:
        words = f"similarities of {plan.micro_batch_size} samples to {workload.global_batch_size}, "
    if workload.model.nets:
        words = "classes of every position of the output, "
    logits = words if workload.head_positions else ""
    return f"{logits}activation gradients, what is being recomputed, the update's temporaries: whichever are there"


def _bubble(workload: Workload, plan: Plan) -> str:
    return f"{plan.pipeline_parallel} stages fill and drain around {_batches(workload, plan)}"


def _reduce(workload: Workload, plan: Plan) -> str:
    trained = count_text(_trained(workload))
    return f"gradients of {trained} parameters over {plan.data_parallel} ranks, what compute does not hide"


_WORDS: dict[str, Callable[[Workload, Plan], str]] = {
    "context_bytes": lambda w, p: "CUDA context and loaded kernels",
    "collective_bytes": lambda w, p: "NCCL's buffers",
    "weights_bytes": _weights,
    "gradients_bytes": _gradients,
    "optimizer_bytes": _optimizer,
    "activations_bytes": _activations,
    "passing_bytes": _passing,
    "buffers_bytes": lambda w, p: "weights in the compute format, gradient buckets, gathered layers, workspaces",
    "fragmentation_bytes": lambda w, p: "reserved by the allocator beyond what is allocated",
    "forward_seconds": _pass("through"),
    "backward_seconds": _pass("back through"),
    "recompute_seconds": _pass("once more through"),
    "launch_seconds": lambda w, p: "the GPU waits for the host to launch kernels",
    "tensor_parallel_seconds": lambda w, p: f"activations summed over {p.tensor_parallel} ranks in every layer",
    "context_parallel_seconds": lambda w, p: f"keys and values passed around {p.context_parallel} ranks",
    "expert_parallel_seconds": lambda w, p: f"tokens sent to experts on {p.expert_parallel} ranks and back",
    "parameter_gather_seconds": lambda w, p: f"ZeRO-{p.zero_stage}: parameters gathered from {p.data_parallel} ranks",
    "pipeline_bubble_seconds": _bubble,
    "pipeline_send_seconds": lambda w, p: f"activations and their gradients between {p.pipeline_parallel} stages",
    "gradient_reduce_seconds": _reduce,
    "offload_seconds": lambda w, p: "copies from and to host memory that kernels do not hide, the CPU's update",
    "optimizer_seconds": lambda w, p: f"{w.optimizer} updates {count_text(_trained(w))} parameters{_split(p, 1)}",
    "host_seconds": lambda w, p: "data, logging and synchronisation of a step",
    "straggler_seconds": lambda w, p: f"waiting for the slowest of {p.gpus:,} GPUs",
}
