"""What a command line says about one plan: its cards, its degrees, and the micro-batch where none is given."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.offers import Offer
from perfsim.core.plan import ContextExchange, Offload, Placement, Plan, Recompute, Schedule
from perfsim.core.results import Estimate
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.errors import InputError
from perfsim.formulas.fits import surely_fits
from perfsim.formulas.stages import ends_counted
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.choice import divisors_text, systems_for
from perfsim.inputs.prices import with_prices

MAX_DEGREE = 10**6
WORKLOAD_KEYS = (
    "task",
    "head",
    "seq_len",
    "image_size",
    "decoder_seq_len",
    "global_batch_size",
    "samples",
    "sample_tokens",
    "packed",
    "epochs",
    "tokens",
    "steps",
    "precision",
    "optimizer",
    "optimizer_in_backward",
    "loss_chunks",
    "fused_linear_loss",
    "dropout",
    "lora_rank",
    "trained_towers",
)
DEGREES = ("tensor_parallel", "pipeline_parallel", "context_parallel", "expert_parallel", "virtual_stages")


def split_count(name: str) -> tuple[int | None, str]:
    """The count and the card of "2x RTX 4090", "RTX 4090:2" or "RTX 4090".

    >>> split_count("2x RTX 4090"), split_count("A100:8"), split_count("T4")
    ((2, 'RTX 4090'), (8, 'A100'), (None, 'T4'))
    """
    if found := re.fullmatch(r"\s*(\d{1,7})\s*[x×*]\s*(.+)", name, re.ASCII):
        return int(found[1]), found[2]
    if found := re.fullmatch(r"(.+?)\s*:\s*(\d{1,7})", name, re.ASCII):
        return int(found[2]), found[1]
    return None, name


def choose_system(
    catalogue: Catalogue, gpu: str | None, count: int | None, name: str | None, own: Sequence[Offer] = ()
) -> tuple[System, int]:
    """The system that the options name and how many of its GPUs are used.

    own: prices that come before those of the specs.
    Raises: InputError, UnknownNameError.
    """
    if (gpu is None) == (name is None):
        raise InputError('--gpu: name a card, or a system with --system, not both; write --gpu "RTX 4090"')
    said, card = split_count(gpu or "")
    for told in (count, said):
        if told is not None and not 1 <= told <= MAX_DEGREE:
            raise InputError(f"--gpus: {told} is not allowed; write a number from 1 to {MAX_DEGREE:,}")
    if said and count and said != count:
        raise InputError(f"--gpus: {count} here and {said} in --gpu; keep one of them")
    if name is not None:
        system = with_prices(catalogue.system(name), catalogue, own)
        gpus = count or int(system.gpus_per_node)
    else:
        gpus = said or count or 1
        system = systems_for(catalogue.gpu(card), [gpus], catalogue, own)[0]
    if gpus > system.max_gpus:
        todo = f"write at most {int(system.max_gpus):,}, or name a larger system with --system"
        raise InputError(f"--gpus: {gpus:,} GPUs are more than {system.name} can hold; {todo}")
    return system, gpus


def checked_degrees(workload: Workload, **degrees: int) -> None:
    """Refuses degrees that are no positive number or do not divide what they split.

    Raises: InputError that lists every one of them.
    """
    found = _degree_problems(workload, degrees)
    if found:
        raise InputError("\n".join(found))


def one_plan(
    workload: Workload,
    system: System,
    gpus: int,
    software: Software,
    predict: Callable[[Plan], Estimate],
    options: Mapping[str, Any],
) -> Plan:
    """The plan of the options; without a micro-batch size the fastest one that fits.

    Raises: InputError that lists every option that cannot be used.
    """
    degrees = {key: int(options[key]) for key in DEGREES}
    found = _degree_problems(workload, degrees)
    if found:
        raise InputError("\n".join(found))
    data = _data_parallel(gpus, options.get("data_parallel"), degrees)
    batch = int(workload.global_batch_size)
    micro = options.get("micro_batch_size")
    if batch % data or (micro is not None and (micro < 1 or batch % (data * micro))):
        asked = f"{data} data-parallel ranks" + (f" of {micro} sequences" if micro is not None else "")
        todo = f"choose a global batch that is a multiple of {data * max(1, micro or 1)}"
        raise InputError(f"--global-batch-size: {batch} cannot be split over {asked}; {todo}")
    plan = Plan(
        **degrees,
        data_parallel=data,
        micro_batch_size=micro or 1,
        sequence_parallel=degrees["tensor_parallel"] > 1 and software.has_sequence_parallel,
        zero_stage=int(options["zero_stage"]),
        hybrid_shard=_hybrid_shard(options, data * degrees["context_parallel"]),
        recompute=Recompute[str(options["recompute"]).upper()],
        offload=Offload[str(options["offload"]).upper()],
        schedule=next(schedule for schedule in Schedule if schedule.label == options["schedule"]),
        recompute_layers=_recomputed_layers(options, workload),
        placement=next(place for place in Placement if place.label == options["placement"]),
        context_exchange=next(kind for kind in ContextExchange if kind.label == options["context_exchange"]),
    )
    return plan if micro else replace(plan, micro_batch_size=_fastest(plan, batch // data, predict))


def _hybrid_shard(options: Mapping[str, Any], ranks: int) -> int:
    """Over how many neighbours ZeRO-3 shards; 0 for all data-parallel ranks."""
    asked = options["hybrid_shard"] or 0
    if asked and options["zero_stage"] != 3:
        raise InputError("--hybrid-shard: says over how many GPUs ZeRO-3 shards; add --zero 3")
    if asked and (asked < 1 or ranks % asked):
        raise InputError(f"--hybrid-shard: {asked} does not divide {ranks} data-parallel ranks; choose a divisor")
    return int(asked)


def _recomputed_layers(options: Mapping[str, Any], workload: Workload) -> int:
    """How many layers full recomputation covers; 0 for all."""
    some, layers = options["recompute_layers"] or 0, workload.model.layers + workload.model.encoder_layers
    if some and options["recompute"] != "full":
        raise InputError("--recompute-layers: says how many layers are recomputed whole; add --recompute full")
    if not 0 <= some <= layers:
        raise InputError(f"--recompute-layers: {some} of {layers} layers; write a number from 1 to {layers}")
    return int(some)


def _fastest(plan: Plan, share: int, predict: Callable[[Plan], Estimate]) -> int:
    """The micro-batch size of the quickest step among those that surely fit, else may fit; 1 where none does."""
    sizes = np.array([n for n in range(1, min(share, 1024) + 1) if share % n == 0])
    found = predict(replace(plan, micro_batch_size=sizes))
    runs = np.broadcast_to(found.problems, sizes.shape) == 0
    safe = runs & surely_fits(found.memory.total_bytes, found.memory_capacity_bytes, found.memory_spread)
    seconds = np.where(safe if np.any(safe) else runs, found.time.total_seconds, np.inf)
    best = int(np.argmin(seconds))
    return int(sizes[best]) if np.isfinite(seconds[best]) else 1


def _data_parallel(gpus: int, asked: int | None, degrees: Mapping[str, int]) -> int:
    others = degrees["tensor_parallel"] * degrees["pipeline_parallel"] * degrees["context_parallel"]
    if asked is None and gpus % others == 0:
        return gpus // others
    if asked is not None and asked >= 1 and asked * others == gpus:
        return asked
    shown = f"{others}" if asked is None else f"{others} x {asked}"
    todo = f"let tp x pp x cp x dp be {gpus}, or use another --gpus"
    raise InputError(f"--gpus: the degrees multiply to {shown}, which does not make {gpus} GPUs; {todo}")


def _degree_problems(workload: Workload, degrees: Mapping[str, int]) -> list[str]:
    model = workload.model
    wholes = {
        "tensor_parallel": (model.split_heads, "attention heads"),
        "context_parallel": (int(workload.seq_len), "tokens of a sequence"),
        "expert_parallel": (model.moe.experts if model.moe else 1, "experts"),
    }
    found = []
    for key, degree in degrees.items():
        option = f"--{key.replace('_', '-')}"
        if not 1 <= degree <= MAX_DEGREE:
            found.append(f"{option}: {degree} is not allowed; write a number from 1 to {MAX_DEGREE:,}")
        elif key in wholes and wholes[key][0] % degree:
            whole, noun = wholes[key]
            what = f"{degree} does not divide the {whole:,} {noun}" if whole > 1 else f"{model.key} has no {noun}"
            if model.nets:
                what = f"{degree} cannot split {model.key}, of which ranks share nothing but the batch"
            found.append(f"{option}: {what}; write {divisors_text(whole)}")
    return [*found, *_stage_problems(model.split_layers, degrees, bool(model.nets))]


def _stage_problems(layers: int, degrees: Mapping[str, int], is_net: bool) -> Iterator[str]:
    """What is wrong with stages and chunks; stages alone may hold one layer more or less."""
    stages, chunks = degrees.get("pipeline_parallel", 1), degrees.get("virtual_stages", 1)
    if is_net and stages > 1:
        yield f"--pipeline-parallel: {stages} cannot split a model of which ranks share nothing but the batch; write 1"
    elif stages > layers:
        yield f"--pipeline-parallel: {stages} stages for {layers:,} layers; write at most {layers:,}"
    elif chunks > 1 and stages >= 1 and layers % (stages * chunks) and not ends_counted(layers, stages, chunks):
        yield (
            f"--virtual-stages: {stages} stages of {chunks} chunks do not divide the {layers:,} layers;"
            f" make their product {divisors_text(layers)}, or a divisor of {layers + 2:,} (ends count as layers)"
        )
