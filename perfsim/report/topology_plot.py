"""How a system is linked as a picture, drawn by matplotlib: the node, its NVLinks, the network above it.

Boxes tell devices apart by shape and filling, lines tell links apart by dashes and width, so that black and white does.
Every line has its rate of one direction beside it [GB/s].
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfsim.graphs.fat_tree import FatTree
from perfsim.graphs.interconnect import NVLINKS
from perfsim.graphs.wiring import Link, kind_of
from perfsim.report.picture import BLUE, INK, blank, style
from perfsim.report.topology import Branch, Drawing, branches, network_text, roots
from perfsim.units import GIGA, number_text, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BOXES: dict[str, Any] = {
    "gpu": {"boxstyle": "square,pad=0.45", "facecolor": "#c9d9ea"},
    "nic": {"boxstyle": "round,pad=0.35", "facecolor": "#ffffff", "linestyle": (0, (2, 1))},
    "switch": {"boxstyle": "round,pad=0.4", "facecolor": "#eeeeee"},
    "cpu": {"boxstyle": "square,pad=0.5", "facecolor": "#ffffff", "linewidth": 1.6},
    "memory": {"boxstyle": "square,pad=0.3", "facecolor": "#ffffff", "linestyle": ":"},
    "nvswitch": {"boxstyle": "round,pad=0.4", "facecolor": "#dddddd", "linewidth": 1.6},
    "node": {"boxstyle": "square,pad=0.4", "facecolor": "#c9d9ea"},
    "leaf": {"boxstyle": "round,pad=0.4", "facecolor": "#eeeeee"},
    "spine": {"boxstyle": "round,pad=0.4", "facecolor": "#dddddd", "linewidth": 1.6},
}
_LINES: dict[str, Any] = {
    "pcie": {"linewidth": 0.9},
    "memory": {"linewidth": 0.9, "linestyle": ":"},
    "nic": {"linewidth": 0.9, "linestyle": (0, (2, 1))},
    "socket": {"linewidth": 1.4, "linestyle": (0, (6, 2))},
    "network": {"linewidth": 1.2},
}
_NVLINE: dict[str, Any] = {"linewidth": 2.2, "color": BLUE}
_NAMES = {
    "pcie": "PCIe",
    "memory": "memory, half of its rate each way",
    "nic": "NIC",
    "socket": "between sockets",
    "nvlink": "NVLink",
}
_SIZES = {"nic": 7.5, "memory": 7.5}
_LEVELS = {"memory": 4.0, "cpu": 3.0, "switch": 2.0, "gpu": 1.0, "nic": 1.0, "nvswitch": 0.0}
Place = tuple[float, float]


def topology_figure(drawing: Drawing) -> "Figure":
    """The picture as a matplotlib figure, for notebooks and for changes of one's own."""
    with style():
        links = drawing.links()
        straight = [k for k in links if k.kind in NVLINKS and k.kind != "nvswitch"]
        is_mesh = len(straight) > drawing.domain.gpus
        has_tree = drawing.network is not None and drawing.network.leaf_nodes > 0
        places = _host_places(links)
        width = max(5.0, 0.85 * (1.0 + max((x for x, _ in places.values()), default=1.0)))
        widths = [width, *([5.2] if is_mesh else []), *([5.0] if has_tree else [])]
        figure = blank(sum(widths) + 0.4, 5.4)
        panels = list(figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0])
        figure.subplots_adjust(left=0.02, right=0.98, top=0.86, bottom=0.1, wspace=0.06)
        for axes in panels:
            axes.set_axis_off()
        _node_panel(panels[0], drawing, links, places, [] if is_mesh else straight)
        if is_mesh:
            _mesh_panel(panels[1], straight)
        if has_tree and drawing.network is not None:
            _network_panel(panels[-1], drawing.network)
        _words(figure, drawing, links)
        return figure


def _host_places(links: Sequence[Link]) -> dict[str, Place]:
    """Where a node's devices stand: leaves side by side, what joins them above their middle."""
    places: dict[str, Place] = {}
    free = [0.0]

    def beside(devices: Sequence[str]) -> float:
        x = free[0]
        free[0] += 1.0
        for device in devices:
            places[device] = x, _LEVELS[kind_of(device)]
        return x

    def put(device: str, parent: str) -> float:
        middles: list[float] = []
        level = min(_LEVELS[kind_of(device)], places[parent][1] - 0.5 if parent else math.inf)
        places[device] = 0.0, level
        for branch in branches(links, device, {parent}):
            if kind_of(branch.devices[0]) == "nic":
                middles.append(beside(branch.devices))
            elif branch.kind != "memory":
                middles += [put(child, device) for child in branch.devices]
        x = (middles[0] + middles[-1]) / 2.0 if middles else beside((device,))
        places[device] = x, level
        return x

    for top in roots(links):
        x = put(top, "")
        free[0] += 0.3
        for branch in branches(links, top, set()):
            if branch.kind == "memory":
                places[branch.devices[0]] = x, _LEVELS["memory"]
    for k in links:  # without a host
        for device in (k.a, k.b):
            if kind_of(device) == "gpu" and device not in places:
                beside((device,))
    return places


def _node_panel(
    axes: "Axes", drawing: Drawing, links: Sequence[Link], places: dict[str, Place], bridges: Sequence[Link]
) -> None:
    """One node from its sockets down to its GPUs, NVSwitches and bridges below them."""
    right = max((x for x, _ in places.values()), default=1.0)
    axes.set_xlim(-0.7, right + 0.7)
    has_links_below = bridges or any(k.kind == "nvswitch" for k in links)
    axes.set_ylim(-0.3 if has_links_below else 0.5, 4.3)
    for device, (_, level) in places.items():
        for branch in branches(links, device, set()):
            below = _LEVELS[kind_of(branch.devices[0])] < level
            if branch.devices[0] in places and (below if branch.kind != "memory" else not below):
                _branch(axes, places, device, branch)
    for k in links:
        if k.kind == "socket":
            _line(axes, places[k.a], places[k.b], k.kind, _rate(k.bytes_per_s), 0.5)
    drawn = [k for k in links if k.kind == "nvswitch"]
    if drawn:
        _plane(axes, drawing, places, drawn, right)
    for k in bridges:
        _arc(axes, places[k.a], places[k.b], _rate(k.bytes_per_s))
    shown: dict[Place, list[str]] = {}
    for device, place in places.items():
        shown.setdefault(place, []).append(device)
    for place, devices in shown.items():
        name = devices[0] if len(devices) == 1 else f"{devices[0]}-{devices[-1].removeprefix(kind_of(devices[-1]))}"
        _box(axes, place, name, kind_of(devices[0]))


def _branch(axes: "Axes", places: dict[str, Place], device: str, branch: Branch) -> None:
    count = f"{len(branch.devices)} x " if len(branch.devices) > 1 else ""
    _line(axes, places[device], places[branch.devices[0]], branch.kind, f"{count}{_rate(branch.bytes_per_s)}", 0.58)


def _plane(axes: "Axes", drawing: Drawing, places: dict[str, Place], links: Sequence[Link], right: float) -> None:
    """The NVSwitches as one bar below the GPUs."""
    from matplotlib.patches import Rectangle

    box = _BOXES["nvswitch"]
    for k in links:
        gpu = k.a if kind_of(k.a) == "gpu" else k.b
        x, y = places[gpu]
        _line(axes, (x, y), (x, 0.12), "nvlink", _rate(k.bytes_per_s), 0.6)
    axes.add_patch(
        Rectangle((-0.4, -0.18), right + 0.8, 0.36, facecolor=box["facecolor"], edgecolor=INK, linewidth=1.6, zorder=3)
    )
    rest = f", with {drawing.nodes - 1} more nodes of {drawing.gpus_per_node} GPUs" if drawing.nodes > 1 else ""
    axes.text(right / 2.0, 0.0, f"NVSwitch plane{rest}", ha="center", va="center", zorder=4, fontweight="bold")


def _mesh_panel(axes: "Axes", links: Sequence[Link]) -> None:
    """NVLinks between GPUs: two squares of a cube for eight, a circle for others."""
    gpus = sorted({end for k in links for end in (k.a, k.b)}, key=lambda gpu: int(gpu.removeprefix("gpu")))
    places = {gpu: _mesh_place(i, len(gpus)) for i, gpu in enumerate(gpus)}
    axes.set_xlim(-1.45, 1.45)
    axes.set_ylim(-1.3, 1.3)
    least = min(k.bytes_per_s for k in links)
    for k in links:
        is_upright = any(abs(a - b) < 0.01 for a, b in zip(places[k.a], places[k.b], strict=True))
        at = 0.5 if is_upright else 0.3  # clear of crossings
        _line(axes, places[k.a], places[k.b], "nvlink", _rate(k.bytes_per_s), at, width=1.2 * k.bytes_per_s / least)
    for gpu, place in places.items():
        _box(axes, place, gpu, "gpu")
    axes.set_title("NVLink between GPUs, one direction [GB/s]", fontsize=9.0)


def _mesh_place(i: int, count: int) -> Place:
    if count == 8:  # GPU i and i + 4 face each other
        x, y = ((-0.55, 1.0), (-1.25, 0.4), (-1.25, -0.4), (-0.55, -1.0))[i % 4]
        return (x, y) if i < 4 else (-x, y)
    turn = 2.0 * math.pi * i / count
    return math.sin(turn), math.cos(turn)


def _network_panel(axes: "Axes", network: FatTree) -> None:
    """The first pod's leaves with their nodes, and what is above."""
    pod_nodes = min(network.pod_nodes or network.nodes, network.nodes)
    columns = _few(-(-pod_nodes // network.leaf_nodes))
    axes.set_xlim(-0.7, max(len(columns), 2) - 0.3)
    axes.set_ylim(-0.8, 4.4)
    middle = (len(columns) - 1) / 2.0
    up = network.leaf_nodes * network.node_bytes_per_s / network.leaf_oversubscription
    for x, leaf in enumerate(columns):
        if leaf is None:
            axes.text(x, 1.2, "…", ha="center", va="center", fontsize=14)
            continue
        first = leaf * network.leaf_nodes
        last = min(first + network.leaf_nodes, network.nodes) - 1
        _line(axes, (x, 1.2), (middle, 2.6), "network", _rate(up), 0.42)
        _line(axes, (x, 0.0), (x, 1.2), "network", f"{last - first + 1} x {_rate(network.node_bytes_per_s)}", 0.45)
        _box(axes, (x, 1.2), f"leaf{leaf}" if network.rails == 1 else f"{network.rails} leaves,\none a rail", "leaf")
        _box(axes, (x, 0.0), f"node{first}\n… {last}" if last > first else f"node{first}", "node")
    _box(axes, (middle, 2.6), "spine0" if network.pod_nodes else "spine", "spine")
    if network.pod_nodes:
        rate = network.pod_nodes * network.node_bytes_per_s / network.pod_oversubscription
        _line(axes, (middle, 2.6), (middle, 3.9), "network", _rate(rate), 0.5)
        _box(axes, (middle, 3.9), f"core of {-(-network.nodes // network.pod_nodes)} pods", "spine")
    axes.set_title("network, the switches of a level together", fontsize=9.0)


def _few(count: int) -> list[int | None]:
    """The first two of many and the last, None for those between."""
    return list(range(count)) if count <= 4 else [0, 1, None, count - 1]


def _box(axes: "Axes", place: Place, text: str, kind: str) -> None:
    box = {"edgecolor": INK, "linewidth": 1.0} | _BOXES[kind]
    axes.text(
        *place, text, ha="center", va="center", fontsize=_SIZES.get(kind, 9.0), zorder=4, bbox=box,
        fontweight="bold" if kind in ("gpu", "node") else "normal",
    )  # fmt: skip


def _line(axes: "Axes", a: Place, b: Place, kind: str, text: str, at: float, width: float | None = None) -> None:
    """A link with its rate, at that share of the way from a to b."""
    look = _look(kind) if width is None else _look(kind) | {"linewidth": width}
    axes.plot([a[0], b[0]], [a[1], b[1]], zorder=1, solid_capstyle="butt", **look)
    _label(axes, (a[0] + at * (b[0] - a[0]), a[1] + at * (b[1] - a[1])), text)


def _arc(axes: "Axes", a: Place, b: Place, text: str) -> None:
    """A bridge below two GPUs."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    depth = 0.8
    path = Path(
        [a, (a[0], a[1] - depth), (b[0], b[1] - depth), b], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    )
    axes.add_patch(PathPatch(path, facecolor="none", edgecolor=_NVLINE["color"], linewidth=2.2, zorder=1))
    _label(axes, ((a[0] + b[0]) / 2.0, a[1] - 0.75 * depth), text)


def _label(axes: "Axes", place: Place, text: str) -> None:
    axes.text(
        *place, text, ha="center", va="center", fontsize=7.5, zorder=2.5,
        bbox={"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def _words(figure: "Figure", drawing: Drawing, links: Sequence[Link]) -> None:
    """The title, and what the lines mean."""
    from matplotlib.lines import Line2D

    figure.text(0.02, 0.955, printable(drawing.title), fontsize=12.0, fontweight="bold", va="center")
    line = "numbers beside links: one direction [GB/s]"
    if drawing.network:
        line += f"; network: {network_text(drawing.network)}"
    figure.text(0.02, 0.905, line, fontsize=9.0, va="center")
    kinds = dict.fromkeys("nvlink" if k.kind in NVLINKS else k.kind for k in links)
    handles = [Line2D([], [], label=_NAMES[kind], **_look(kind)) for kind in _NAMES if kind in kinds]
    columns = min(len(handles), max(2, int(figure.get_figwidth() / 1.7)))
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.01, 0.0), ncols=columns, frameon=False)


def _look(kind: str) -> dict[str, Any]:
    return {"color": INK} | _LINES.get(kind, _NVLINE)


def _rate(bytes_per_s: float) -> str:
    return number_text(bytes_per_s / GIGA)
