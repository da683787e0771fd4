"""`perfsim estimate --gpu "RTX 4090 + RTX 3090"`: cards of two or three kinds in one job."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from perfsim.inputs.catalogue import Catalogue
    from perfsim.search.mixed import Cards

UNSHARED = {  # option: what it is where cards are of several kinds
    "count": None, "system_name": None, "power_limit": None, "micro_batch_size": None, "tensor_parallel": 1,
    "data_parallel": None, "context_parallel": 1, "expert_parallel": 1, "schedule": "1f1b", "virtual_stages": 1,
    "hybrid_shard": None, "recompute_layers": None, "context_exchange": "ring", "placement": "data-inner",
    "price": "rent", "prices": (),
}  # fmt: skip
MOST_KINDS, MOST_CARDS = 3, 8


def mixed(ctx: click.Context, json_file: str | None, **options: Any) -> None:
    """Share the batch, and the layers, over the cards; print both beside each kind alone. Exit code 1: nothing fits."""
    from perfsim.core.plan import Plan, Recompute
    from perfsim.errors import UnsupportedError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.options import WORKLOAD_KEYS
    from perfsim.inputs.workload import make_workload
    from perfsim.report.export import json_text, write
    from perfsim.report.mixed import mixed_lines, mixed_record, ranked
    from perfsim.report.table import override_lines, show
    from perfsim.report.text import card_text
    from perfsim.search.mixed import Cards, Mix, share_batch, share_layers

    known = catalogue(tuple(ctx.obj or ()))
    _refuse_options(options)
    cards = asked_cards(options["gpu"], known)
    total = sum(kind.count for kind in cards)
    if options["pipeline_parallel"] not in (1, total):
        _stop(
            f"--pipeline-parallel: {options['pipeline_parallel']} stages for {total} cards; write {total} or leave it"
        )
    workload = make_workload(known.model(options["model"]), **{key: options[key] for key in WORKLOAD_KEYS})
    software, calibration = known.software(options["software"]), known.calibration()
    plan = Plan(zero_stage=options["zero_stage"], recompute=Recompute[options["recompute"].upper()])
    job = plan, software, calibration
    alone = {}
    for kind in cards:
        box = Cards(known.box(kind.system.gpu, kind.count), kind.count)
        alone[f"{kind.count}x {card_text(kind.system.gpu.name)} alone"] = share_batch(workload, [box], *job)
    ways: dict[str, Mix | None] = {}
    if options["pipeline_parallel"] == 1:
        ways["batch shared"] = share_batch(workload, cards, *job)
        ways["batch shared evenly"] = share_batch(workload, cards, *job, is_even=True)
    try:
        ways["layers shared"] = share_layers(workload, cards, *job)
    except UnsupportedError:
        if options["pipeline_parallel"] > 1:
            raise
    ways |= alone
    if json_file:
        write(json_file, json_text(mixed_record(workload, ways)))
    if json_file != "-":
        quickest = next((name for name, _ in ranked(alone)), None)
        show([*override_lines(known.overrides()), *mixed_lines(workload, ways, quickest)])
    if not ranked(ways):
        ctx.exit(1)


def asked_cards(text: str, known: "Catalogue") -> "list[Cards]":
    """The kinds of "2x RTX 4090 + RTX 3090" and how many of each, in one box without bridges.

    Raises: InputError, UnknownNameError.
    """
    from perfsim.inputs.options import split_count
    from perfsim.search.mixed import Cards

    counts: dict[str, int] = {}
    for part in text.split("+"):
        count, name = split_count(part.strip())
        key = known.gpu(name).key
        counts[key] = counts.get(key, 0) + (1 if count is None else count)
    total = sum(counts.values())
    if not 2 <= len(counts) <= MOST_KINDS or min(counts.values()) < 1 or total > MOST_CARDS:
        _stop(f"--gpu: {total} cards of {len(counts)} kinds; write 2 or 3 kinds and up to {MOST_CARDS} cards")
    return [Cards(known.box(known.gpu(key), total), count) for key, count in counts.items()]


def _refuse_options(options: Mapping[str, Any]) -> None:
    for name, usual in UNSHARED.items():
        if options[name] != usual:
            option = {"count": "gpus", "system_name": "system"}.get(name, name).replace("_", "-")
            _stop(f"--{option}: not modelled for cards of several kinds, which share the batch or the layers; leave it")


def _stop(text: str) -> None:
    from perfsim.errors import InputError

    raise InputError(text)
