"""A model's compute graph as a table, DOT, GraphML or JSON."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import networkx as nx
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.formulas.convolutions import Convolution
from perfsim.formulas.operations import Attention, Exchange, Linear, Loss, Norm, Operation
from perfsim.report.export import json_text
from perfsim.units import GIGA, MEGA, NO_NUMBER, number_text, printable

Parts = Sequence[tuple[str, int, "nx.DiGraph[str]"]]  # as graphs.transformer.step_graphs yields them
FIGURES = ("forward_flops", "backward_flops", "read_bytes", "written_bytes")


def graph_table(title: str, parts: Parts) -> Iterator[RenderableType]:
    """The operations of every part with their sizes, and totals over all layers."""
    yield Text(printable(title), style="bold")
    totals = dict.fromkeys(FIGURES, 0.0)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    headers = ("operation", "kind", "shape", "GFLOP fwd", "GFLOP bwd", "MB read", "MB written", "FLOP/B")
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i < 3 else "right", no_wrap=i != 2)
    for name, count, graph in parts:
        table.add_row(Text(f"{name} x {count}" if count > 1 else name, style="bold"))
        for operation in _operations(graph):
            figures = {figure: float(getattr(operation, figure)) for figure in FIGURES}
            totals = {figure: total + count * figures[figure] for figure, total in totals.items()}
            table.add_row(Text(f"  {operation.name}"), operation.kind, shape_text(operation), *_cells(figures))
    table.add_row(Text("all layers", style="bold"), "", "", *_cells(totals))
    yield table


def graph_json(title: str, parts: Parts) -> str:
    """The parts, their operations and edges as JSON; FLOPs and bytes of one layer, micro-batch and GPU."""
    return json_text(
        {
            "title": title,
            "parts": [
                {
                    "name": name,
                    "count": count,
                    "operations": [_record(operation) for operation in _operations(graph)],
                    "edges": [list(edge) for edge in graph.edges],
                }
                for name, count, graph in parts
            ],
        }
    )


def graph_dot(title: str, parts: Parts) -> str:
    """All parts, one layer of each kind, as a Graphviz digraph."""
    whole = joined(parts)
    lines = [f"digraph {_quoted(title)} {{", "  node [shape=box];"]
    for node, data in whole.nodes(data=True):
        label = f"{data['operation']}\n{data['shape']}" if data["shape"] else data["operation"]
        lines.append(f"  {_quoted(node)} [label={_quoted(label)}];")
    lines += [f"  {_quoted(source)} -> {_quoted(target)};" for source, target in whole.edges]
    return "\n".join([*lines, "}"]) + "\n"


def graph_graphml(title: str, parts: Parts) -> str:
    """All parts, one layer of each kind, as GraphML."""
    whole = joined(parts)
    whole.graph["title"] = printable(title)
    buffer = io.BytesIO()
    nx.write_graphml(whole, buffer)
    return buffer.getvalue().decode("utf-8") + "\n"


def joined(parts: Parts) -> "nx.DiGraph[str]":
    """One graph of all parts; nodes are `part/operation` and carry plain numbers and texts."""
    whole: nx.DiGraph[str] = nx.DiGraph()
    ends: list[str] = []
    for part, count, graph in parts:
        for name in graph.nodes:
            operation: Operation = graph.nodes[name]["operation"]
            whole.add_node(f"{part}/{name}", part=part, count=count, **_flat(operation))
        whole.add_edges_from((f"{part}/{source}", f"{part}/{target}") for source, target in graph.edges)
        starts = [f"{part}/{name}" for name in graph.nodes if graph.in_degree(name) == 0]
        whole.add_edges_from((end, start) for end in ends for start in starts)
        ends = [f"{part}/{name}" for name in graph.nodes if graph.out_degree(name) == 0]
    return whole


def shape_text(operation: Operation) -> str:
    """The sizes of an operation in a few characters.

    >>> shape_text(Linear("up", 2.0, rows=512.0, columns=4096.0, contraction=1024.0))
    '512 x 1024 x 4096'
    """
    match operation:
        case Linear():
            count = f"{_size(operation.count)} of " if _size(operation.count) != "1" else ""
            return f"{count}{_size(operation.rows)} x {_size(operation.contraction)} x {_size(operation.columns)}"
        case Convolution():
            window = operation.kernel**2 / operation.groups
            if operation.is_transposed:
                return f"{_size(operation.input_positions)} x {operation.inputs} x {_size(window * operation.outputs)}"
            return f"{_size(operation.positions)} x {_size(window * operation.inputs)} x {operation.outputs}"
        case Attention():
            pairs = f"{_size(operation.query_len)} x {_size(operation.key_len)} x {operation.qk_dim}"
            return f"{_size(float(operation.sequences) * float(operation.heads))} of {pairs}"
        case Norm():
            return f"{_size(operation.rows)} x {_size(operation.width)}"
        case Loss():
            return f"{_size(operation.rows)} x {_size(operation.classes)}"
        case Exchange():
            return f"{operation.collective} of {_size(operation.ranks)}"
        case _:
            return f"{_size(operation.output_values)}" if float(operation.output_values) else ""


def _operations(graph: "nx.DiGraph[str]") -> list[Operation]:
    operations = (graph.nodes[name]["operation"] for name in nx.lexicographical_topological_sort(graph, _order(graph)))
    return [operation for operation in operations if operation.kind != "operation"]


def _order(graph: "nx.DiGraph[str]") -> Any:
    """Ties in the order in which the operations were added."""
    return {name: i for i, name in enumerate(graph.nodes)}.__getitem__


def _cells(figures: dict[str, float]) -> list[str]:
    moved = figures["read_bytes"] + figures["written_bytes"]
    return [
        _or_none(figures["forward_flops"] / GIGA),
        _or_none(figures["backward_flops"] / GIGA),
        _or_none(figures["read_bytes"] / MEGA),
        _or_none(figures["written_bytes"] / MEGA),
        _or_none(figures["forward_flops"] / moved if moved else 0.0),
    ]


def _or_none(value: float) -> str:
    return number_text(value) if value else NO_NUMBER


def _size(value: Any) -> str:
    return f"{float(value):g}" if float(value) < 1e5 else f"{float(value):.0f}"


def _flat(operation: Operation) -> dict[str, Any]:
    record = {"operation": operation.name, "kind": operation.kind, "shape": shape_text(operation)}
    return record | {figure: float(getattr(operation, figure)) for figure in FIGURES}


def _record(operation: Operation) -> dict[str, Any]:
    flat = _flat(operation)
    return {"name": flat.pop("operation"), **flat}


def _quoted(text: str) -> str:
    escaped = "\\n".join(printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return f'"{escaped}"'
