"""A card's roofline with a model's kernels, for the terminal, as JSON and as CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from perfsim.core.workload import Workload
from perfsim.graphs.points import Point, Roof, Roofline
from perfsim.report.export import csv_text, json_text
from perfsim.report.roofline_chart import chart_lines
from perfsim.report.table import WIDE
from perfsim.report.text import TASK_TEXTS, card_text
from perfsim.units import (
    GIGA,
    MILLI,
    NO_NUMBER,
    TERA,
    bytes_per_s_text,
    flops_per_s_text,
    number_text,
    percent_text,
    printable,
    seconds_text,
)

SHOWN = 8
_SUMMED = ("launches", "flops", "bytes", "seconds", "time_share")
_SHORT = {"forward": "fwd", "backward": "bwd"}
_HEADER = ("operation", "pass", "kernels", "FLOP/B", "TFLOP/s", "GB/s", "of roof", "us", "share", "bound")
_LEFT = ("operation", "pass", "kernels", "bound")
_WIDE_ONLY = ("kernels", "us")


def title_text(found: Roofline) -> str:
    """The card and, where there is a model, the job that is drawn."""
    card = card_text(found.gpu.name)
    if found.workload is None or found.plan is None or found.software is None:
        return f"Roofline of {card}"
    parallel = f", TP {found.plan.tensor_parallel}" if found.plan.tensor_parallel > 1 else ""
    return (
        f"{printable(found.workload.model.name)} {TASK_TEXTS[found.workload.task]} on {card}:"
        f" {found.plan.micro_batch_size} x {_sample(found.workload)}{parallel},"
        f" {found.workload.precision.key}, {printable(found.software.key)}"
    )


def roofline_lines(found: Roofline, most: int | None = SHOWN) -> Iterator[RenderableType]:
    """Verdict, chart, roofs and the kernels with most time, `most` of them or all."""
    yield Text(title_text(found), style="bold")
    yield from (Text(line) for line in _verdict(found))
    yield Text("")
    yield from (Text(line, no_wrap=True) for line in chart_lines(found))
    yield Text("")
    sources: list[str] = []
    yield _roofs_table(found, sources)
    if found.points:
        yield Text("")
        points = merged(found.points)
        shown = points[:most]
        yield _KernelTable(found, shown)
        if rest := len(points) - len(shown):
            share = sum(point.time_share for point in points[len(shown) :])
            yield Text(f"... {rest} more, {percent_text(share)} of the time: --all", style="dim")
    yield from (Text(f"[{i}] {printable(source)}", style="dim") for i, source in enumerate(sources, 1))
    yield from (Text(line, style="dim") for line in _notes(found))


def roofline_json(found: Roofline) -> str:
    """The roofs and all kernels; FLOPs, bytes and seconds of one layer, one micro-batch and one GPU."""
    record: dict[str, Any] = {"title": title_text(found), "gpu": found.gpu.key}
    if found.workload is not None and found.plan is not None and found.software is not None:
        record |= {
            "model": found.workload.model.key,
            "task": str(found.workload.task),
            "seq_len": int(found.workload.seq_len),
            "image_size": int(found.workload.image_size),
            "micro_batch_size": int(found.plan.micro_batch_size),
            "tensor_parallel": int(found.plan.tensor_parallel),
            "precision": found.workload.precision.key,
            "software": found.software.key,
            "kernel_seconds": found.seconds,
            "launches": found.launches,
            "host_seconds": found.host_seconds,
        }
    record["roofs"] = [_roof_record(roof) for roof in found.roofs]
    return json_text(record | {"kernels": [_point_record(point) for point in found.points]})


def roofline_csv(found: Roofline) -> str:
    """A row for each kernel; for each roof where there is no model."""
    rows = [_point_record(point) for point in found.points] or [_roof_record(roof) for roof in found.roofs]
    return csv_text({name: [row[name] for row in rows] for name in rows[0]})


def operation_text(found: Roofline, part: str, operation: str) -> str:
    """An operation's name, after its part's where the model has several kinds of layer."""
    layers = {point.part for point in found.points} - {"embedding", "head"}
    if part in ("embedding", "head") and operation.startswith(part):
        return operation
    return operation if part in layers and len(layers) == 1 else f"{part}.{operation}"


def merged(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points with those that are alike, such as query, key and value, as one under a joined name; most time first.

    Its launches, FLOPs, bytes, seconds and share of time are theirs together.
    """
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in points:
        same = (point.part, point.direction, point.kind, point.number_format, point.bound, point.is_cached)
        sizes = (f"{point.flops:.9e}", f"{point.bytes:.9e}", f"{point.seconds:.9e}", point.launches)
        groups.setdefault((*same, *sizes), []).append(point)
    found = (
        replace(
            like[0],
            operation=_joined_name([point.operation for point in like]),
            **{name: sum(getattr(p, name) for p in like) for name in _SUMMED},
        )
        for like in groups.values()
    )
    return tuple(sorted(found, key=lambda point: -point.time_share))


def joined_roofs(roofs: Sequence[Roof]) -> tuple[Roof, ...]:
    """The roofs with those of the same kind and numbers as one under both names."""
    groups: dict[tuple[Any, ...], list[Roof]] = {}
    for roof in roofs:
        groups.setdefault((roof.kind, roof.datasheet, roof.reached, roof.basis, roof.source), []).append(roof)
    return tuple(replace(like[0], name=", ".join(roof.name for roof in like)) for like in groups.values())


def _joined_name(names: Sequence[str]) -> str:
    """The names with what they share said once.

    >>> _joined_name(["attention_query", "attention_key", "attention_value"])
    'attention_query/key/value'
    >>> _joined_name(["attention_norm", "mlp_norm"])
    'attention_norm, mlp_norm'
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        start, mark, end = name.partition("_")
        groups.setdefault(start + mark, []).append(end)
    return ", ".join(start + "/".join(ends) for start, ends in groups.items())


@dataclass(frozen=True)
class _KernelTable:
    """The kernels; on a console narrower than 100 columns without the columns that can be missed."""

    found: Roofline
    shown: tuple[Point, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table for the width at hand."""
        kept = [i for i, name in enumerate(_HEADER) if options.max_width >= WIDE or name not in _WIDE_ONLY]
        table = _table()
        for i in kept:
            name = _HEADER[i]
            most = 31 if name == "operation" else None
            table.add_column(
                name, justify="left" if name in _LEFT else "right", no_wrap=True, overflow="ellipsis", max_width=most
            )
        for point in self.shown:
            cells = _cells(self.found, point)
            table.add_row(*(Text(cells[i]) for i in kept))
        yield table


def _cells(found: Roofline, point: Point) -> tuple[str, ...]:
    """One kernel's row, in the order of _HEADER."""
    times = f"{point.launches:g} " if point.launches > 1 else ""
    return (
        printable(operation_text(found, point.part, point.operation)),
        _SHORT[point.direction],
        f"{times}{point.kind}",
        number_text(point.intensity) if point.flops else NO_NUMBER,
        number_text(point.flops_per_s / TERA) if point.flops else NO_NUMBER,
        number_text(point.bytes_per_s / GIGA),
        f"{100 * point.roof_share:.0f} %",
        number_text(point.seconds / (MILLI * MILLI)),
        percent_text(point.time_share),
        "SM" if point.is_cached and point.bound == "memory" else point.bound,
    )


def _verdict(found: Roofline) -> Iterator[str]:
    if not found.points:
        best, memory = found.roofs[0], found.roof("dram")
        ridge = best.datasheet / memory.datasheet
        yield (
            f"{flops_per_s_text(best.datasheet)} of {best.name}, {bytes_per_s_text(memory.datasheet)}: products under"
            f" {number_text(ridge)} FLOP/byte are bound by memory"
        )
        return
    shares = ", ".join(f"{bound} {percent_text(share)}" for bound, share in found.bound_shares().items())
    yield f"What bounds the kernels' time: {shares}"
    number_format = found.formats[0]
    roof = next((roof for roof in found.roofs if roof.name == number_format), found.roofs[0])
    rate = found.flops / found.seconds
    host = "; the GPU waits for the host" if found.host_seconds > found.seconds else ""
    yield (
        f"All kernels: {seconds_text(found.seconds)}, {percent_text(rate / roof.datasheet)} of the {roof.name} peak;"
        f" {found.launches:,.0f} launches take the host {seconds_text(found.host_seconds)}{host}"
    )


def _roofs_table(found: Roofline, sources: list[str]) -> Table:
    """A row for each limit; [n] leads to `sources`, which grows."""
    table = _table()
    table.add_column("roof", no_wrap=True)
    for header in ("datasheet", "reached", "share", "ridge FLOP/B"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("basis", no_wrap=True)
    table.add_column("sources", no_wrap=True)
    memory = found.roof("dram")
    for roof in joined_roofs(found.roofs):
        text = bytes_per_s_text if roof.kind in ("dram", "sm") else flops_per_s_text
        marks = " ".join(_mark(source, sources) for source in (roof.datasheet_source, roof.source))
        table.add_row(
            Text(roof.name),
            text(roof.datasheet) if roof.datasheet else NO_NUMBER,
            text(roof.reached),
            percent_text(roof.reached / roof.datasheet) if roof.datasheet else NO_NUMBER,
            number_text(roof.datasheet / memory.datasheet) if roof.kind == "compute" else "",
            Text(printable(roof.basis)),
            Text(marks.strip()),
        )
    return table


def _mark(source: str, sources: list[str]) -> str:
    if not source:
        return NO_NUMBER
    if source not in sources:
        sources.append(source)
    return f"[{sources.index(source) + 1}]"


def _notes(found: Roofline) -> Iterator[str]:
    if not found.points:
        return
    yield "us: of one layer; share: of all layers and ends, no communication or optimizer;"
    yield "at full clock; -: no FLOPs are counted for kernels that move data"


def _sample(workload: Workload) -> str:
    if workload.model.nets:
        return f"{workload.image_size:,} px"
    more = f" + {workload.decoder_seq_len:,}" if workload.decoder_seq_len else ""
    return f"{workload.seq_len:,}{more} tokens"


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def _roof_record(roof: Roof) -> dict[str, Any]:
    unit = "bytes_per_s" if roof.kind in ("dram", "sm") else "flops_per_s"
    return {
        "roof": roof.name,
        "kind": roof.kind,
        "unit": unit,
        "datasheet": roof.datasheet or None,
        "reached": roof.reached,
        "datasheet_source": roof.datasheet_source or None,
        "basis": roof.basis or None,
        "source": roof.source or None,
    }


def _point_record(point: Point) -> dict[str, Any]:
    return {
        "part": point.part,
        "count": point.count,
        "operation": point.operation,
        "pass": point.direction,
        "kind": point.kind,
        "number_format": point.number_format,
        "launches": point.launches,
        "flops": point.flops,
        "bytes": point.bytes,
        "seconds": point.seconds,
        "flops_per_byte": point.intensity,
        "flops_per_s": point.flops_per_s,
        "bytes_per_s": point.bytes_per_s,
        "roof": "SM traffic" if point.is_cached else "DRAM",
        "roof_share": point.roof_share,
        "time_share": point.time_share,
        "bound": point.bound,
    }
