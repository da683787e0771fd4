"""A plan as the options of `perfsim estimate`, `trace` and `launch`, to go on from another command's answer."""

from collections.abc import Iterator
from typing import Any

from perfsim.core.hardware import System
from perfsim.core.plan import ContextExchange, Offload, Placement, Plan, Recompute, Schedule
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Head, Workload

PLAIN = Plan()


def plan_options(workload: Workload, system: System, plan: Plan, software: Software, site: Site) -> list[str]:
    """The words behind the command; what is as it is without being said is left out.

    Of a workload and a site what the options can say; a listed system is named, a plain box is its cards.
    """
    told: dict[str, Any] = {"--model": workload.model.key, **_cards(system, int(plan.gpus)), **dict(_job(workload))}
    told |= dict(_plan(plan)) | ({"--price": site.price} if site.price != Site.price else {})
    words = [word for option, value in told.items() for word in (option, str(value))]
    return [*words, *_flags(workload), "--software", software.key]


def _cards(system: System, gpus: int) -> dict[str, Any]:
    limit, own = float(system.gpu.power_limit_watts), float(system.gpu.board_limit_watts)
    is_box = system.key.startswith("box-")
    named = {"--gpu": f"{gpus}x {system.gpu.key}"} if is_box else {"--system": system.key, "-n": gpus}
    return named | ({"--power-limit": f"{limit:g}"} if limit < own else {})


def _job(workload: Workload) -> Iterator[tuple[str, Any]]:
    yield "--task", workload.task
    if workload.head is not Head.NONE:
        yield "--head", workload.head
    if workload.model.nets:
        yield "--image-size", int(workload.image_size)
    else:
        yield "--seq-len", int(workload.seq_len)
    if workload.decoder_seq_len:
        yield "--decoder-seq-len", int(workload.decoder_seq_len)
    yield "--gbs", int(workload.global_batch_size)
    yield "--steps", int(workload.steps)
    yield "--precision", workload.precision.key
    yield "--optimizer", workload.optimizer
    if workload.sample_tokens:
        yield "--sample-tokens", float(workload.sample_tokens)
    if workload.loss_chunks > 1:
        yield "--loss-chunks", workload.loss_chunks
    if workload.dropout:
        yield "--dropout", workload.dropout
    if workload.is_adapter:
        yield "--lora-rank", workload.lora_rank


def _flags(workload: Workload) -> list[str]:
    flags = {"--packed": workload.is_packed, "--optimizer-in-backward": workload.optimizer_in_backward,
             "--fused-linear-loss": workload.fused_linear_loss}  # fmt: skip
    return [flag for flag, is_on in flags.items() if is_on]


def _plan(plan: Plan) -> Iterator[tuple[str, Any]]:
    yield "--mbs", int(plan.micro_batch_size)
    numbers = {"--tp": "tensor_parallel", "--pp": "pipeline_parallel", "--cp": "context_parallel",
               "--ep": "expert_parallel", "--vpp": "virtual_stages", "--zero": "zero_stage",
               "--hybrid-shard": "hybrid_shard", "--recompute-layers": "recompute_layers"}  # fmt: skip
    for option, name in numbers.items():
        if int(getattr(plan, name)) != getattr(PLAIN, name):
            yield option, int(getattr(plan, name))
    labels = {"--recompute": Recompute(int(plan.recompute)).name.lower(), "--offload": Offload(int(plan.offload)).label,
              "--schedule": Schedule(int(plan.schedule)).label, "--placement": Placement(int(plan.placement)).label,
              "--context-exchange": ContextExchange(int(plan.context_exchange)).label}  # fmt: skip
    plain = (
        "none",
        Offload.NONE.label,
        Schedule.ONE_F_ONE_B.label,
        Placement.DATA_INNER.label,
        ContextExchange.RING.label,
    )
    yield from ((option, label) for (option, label), usual in zip(labels.items(), plain, strict=True) if label != usual)
