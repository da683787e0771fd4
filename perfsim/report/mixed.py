"""Cards of several kinds in one job: each one's share, and the step beside that of one kind alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.core.workload import Workload
from perfsim.report.intervals import NONE_OF_MIXED
from perfsim.report.text import card_text, workload_text
from perfsim.search.mixed import Mix, Share
from perfsim.units import GIB, number_text, printable, seconds_text

Ways = Mapping[str, Mix | None]


def mixed_lines(workload: Workload, ways: Ways, most_alone: str | None) -> Iterator[RenderableType]:
    """The quickest way, each card's share of it, and all ways side by side; most_alone: the quickest single kind."""
    fitting = ranked(ways)
    if not fitting:
        yield Text("Nothing fits: no way to use these cards has memory to spare", style="bold")
        yield Text(workload_text(workload))
        return
    name, best = fitting[0]
    rate = f"{seconds_text(best.step_seconds)} a step, {number_text(_rate(workload, best))} samples/s"
    yield Text(f"Best: {printable(name)}: {rate}", style="bold")
    yield Text(workload_text(workload))
    for way, mix in fitting:
        if len({(share.sequences, share.units) for share in mix.shares}) > 1:
            yield Text("")
            yield _shares_table(workload, way, mix)
    yield Text("")
    yield _ways_table(workload, ways, most_alone)
    yield Text(NONE_OF_MIXED, style="dim")


def mixed_record(workload: Workload, ways: Ways) -> list[dict[str, Any]]:
    """Every way that fits, quickest first, with the shares of its cards."""
    return [
        {
            "way": name,
            "step_seconds": mix.step_seconds,
            "samples_per_s": _rate(workload, mix),
            "shares": [_share_record(workload, share) for share in mix.shares],
        }
        for name, mix in ranked(ways)
    ]


def ranked(ways: Ways) -> list[tuple[str, Mix]]:
    """The ways that fit, quickest first."""
    return sorted(((name, mix) for name, mix in ways.items() if mix), key=lambda way: way[1].step_seconds)


def _rate(workload: Workload, mix: Mix) -> float:
    return float(workload.global_batch_size * workload.samples_per_sequence / mix.step_seconds)


def _share_record(workload: Workload, share: Share) -> dict[str, Any]:
    record: dict[str, Any] = {
        "gpu": share.system.gpu.key,
        "sequences": share.sequences,
        "micro_batch_size": share.micro_batch_size,
        "busy_seconds": share.busy_seconds,
        "memory_bytes": share.memory_bytes,
    }
    if share.units:
        first, end = _layers(workload, share)
        record |= {"first_layer": first, "layers": end - first, "recomputed_layers": share.recomputed_layers}
    return record


def _layers(workload: Workload, share: Share) -> tuple[int, int]:
    """The layers [from, to) of a stage's units, without embedding and head."""
    start, end = share.units or (0, 0)
    count = workload.model.layers + workload.model.encoder_layers
    first = max(start - 1, 0)
    return first, max(first, min(end - 1, count))


def _shares_table(workload: Workload, way: str, mix: Mix) -> Table:
    has_stages = mix.shares[0].units is not None
    headers = ["layers", "recomputed"] if has_stages else ["sequences"]
    table = _table(way, *headers, "micro-batch", "busy", "GiB", "of")
    for share in mix.shares:
        if has_stages:
            first, end = _layers(workload, share)
            own = [f"{first}-{end - 1}" if end > first else "none", str(share.recomputed_layers)]
        else:
            own = [str(share.sequences)]
        memory = (number_text(share.memory_bytes / GIB), number_text(float(share.system.gpu.memory_bytes) / GIB))
        busy = seconds_text(share.busy_seconds)
        table.add_row(card_text(share.system.gpu.name), *own, str(share.micro_batch_size), busy, *memory)
    return table


def _ways_table(workload: Workload, ways: Ways, most_alone: str | None) -> Table:
    table = _table("way", "step", "samples/s", "speed")
    alone = ways[most_alone] if most_alone else None
    for name, mix in ranked(ways):
        speed = number_text(alone.step_seconds / mix.step_seconds) if alone else ""
        table.add_row(printable(name), seconds_text(mix.step_seconds), number_text(_rate(workload, mix)), speed)
    for name in (name for name in ways if ways[name] is None):
        table.add_row(printable(name), "does not fit", "", "")
    return table


def _table(first: str, *headers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(printable(first), no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    return table
