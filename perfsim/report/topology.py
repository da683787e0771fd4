"""How a system is linked, as a tree of text: its PCIe side, its NVLinks, its network, and what groups get of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from perfsim.graphs.fat_tree import FatTree
from perfsim.graphs.interconnect import NVLINKS, group_rates
from perfsim.graphs.wiring import Domain, Link, kind_of
from perfsim.units import GIGA, number_text, printable

HOST_KINDS = ("pcie", "memory", "nic")
ORDER = ("memory", "switch", "nic", "gpu")  # of the devices below another


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a system: one node of its domain, and the network, None for a machine without one."""

    title: str
    domain: Domain
    gpus_per_node: int
    network: FatTree | None

    @property
    def nodes(self) -> int:
        """Nodes of the domain."""
        return self.domain.gpus // self.gpus_per_node

    def links(self) -> list[Link]:
        """The links of the domain's first node."""
        if self.nodes == 1:
            return list(self.domain.links)
        own = {f"gpu{i}" for i in range(self.gpus_per_node)}
        while True:  # what hangs together without NVLink
            more = {d for k in self.domain.links if k.kind not in NVLINKS and own & {k.a, k.b} for d in (k.a, k.b)}
            if more <= own:
                break
            own |= more
        return [k for k in self.domain.links if (k.a in own or k.b in own)]


@dataclass(frozen=True)
class Branch:
    """Like devices next to each other below another: "gpu0" or "nic0 to nic3", and the rate of each [B/s]."""

    devices: tuple[str, ...]
    kind: str
    bytes_per_s: float

    @property
    def text(self) -> str:
        """Their names."""
        return self.devices[0] if len(self.devices) == 1 else f"{self.devices[0]} to {self.devices[-1]}"


def roots(links: Sequence[Link]) -> list[str]:
    """The devices at the top of the PCIe trees: the sockets, or a switch of trees without any."""
    tops: list[str] = []
    joined: set[str] = set()
    devices = sorted({d for k in links if k.kind in HOST_KINDS for d in (k.a, k.b)}, key=_name_order)
    for kind in ("cpu", "switch", "gpu"):
        for device in devices:
            if kind_of(device) == kind and device not in joined:
                tops.append(device)
                joined |= {device, *below(links, device, joined)}
    return tops


def below(links: Sequence[Link], top: str, known: set[str]) -> set[str]:
    """All devices that hang below `top`, besides those that are `known`."""
    found: set[str] = set()
    for branch in branches(links, top, known | {top}):
        found |= set(branch.devices)
        for device in branch.devices:
            found |= below(links, device, known | found | {top})
    return found


def branches(links: Sequence[Link], device: str, above: set[str]) -> list[Branch]:
    """What hangs right below a device; like NICs next to each other are one branch."""
    ends = [(k.b if k.a == device else k.a, k) for k in links if k.kind in HOST_KINDS and device in (k.a, k.b)]
    ends = sorted((end for end in ends if end[0] not in above), key=lambda end: _name_order(end[0]))
    like = groupby(ends, lambda end: (end[1].kind, end[1].bytes_per_s, end[0] if end[1].kind != "nic" else ""))
    return [Branch(tuple(end for end, _ in some), kind, rate) for (kind, rate, _), some in like]


def tree_lines(drawing: Drawing) -> Iterator[str]:
    """The system as lines of text."""
    links = drawing.links()
    yield printable(drawing.title)
    yield "rates of one direction [GB/s]"
    rows: list[tuple[str, str]] = []
    for top in roots(links):
        rows.append((top, ""))
        for k in links:
            if k.kind == "socket" and top in (k.a, k.b):
                rows.append((f"├─ socket link to {k.b if k.a == top else k.a}", _rate(k.bytes_per_s)))
        rows += _rows(links, top, {top}, "")
    width = max((len(text) for text, _ in rows), default=0)
    yield from (f"{text.ljust(width)}  {rate:>6}".rstrip() for text, rate in rows)
    yield from _nvlink_lines(drawing, links)
    yield from _network_lines(drawing)
    yield ""
    yield from _group_lines(drawing.domain)


def network_text(network: FatTree) -> str:
    """A fat tree in words."""
    words = [f"{_rate(network.node_bytes_per_s)} GB/s a node"]
    if network.leaf_nodes:
        rails = f", {network.rails} rails" if network.rails > 1 else ""
        words.append(f"leaves of {network.leaf_nodes} nodes{rails}, {network.leaf_oversubscription:g}:1")
    if network.pod_nodes:
        words.append(f"pods of {network.pod_nodes} nodes, {network.pod_oversubscription:g}:1")
    return "; ".join(words)


def _rows(links: Sequence[Link], device: str, above: set[str], indent: str) -> Iterator[tuple[str, str]]:
    found = branches(links, device, above)
    for i, branch in enumerate(found):
        is_last = i == len(found) - 1
        count = f"{len(branch.devices)} x " if len(branch.devices) > 1 else ""
        yield f"{indent}{'└─' if is_last else '├─'} {branch.text}", f"{count}{_rate(branch.bytes_per_s)}"
        for child in branch.devices:
            yield from _rows(links, child, above | {child}, indent + ("   " if is_last else "│  "))


def _nvlink_lines(drawing: Drawing, links: Sequence[Link]) -> Iterator[str]:
    """NVSwitches in a line each; direct links as a matrix."""
    wires = [k for k in drawing.domain.links if k.kind in NVLINKS]
    for (plane, rate), some in groupby(
        (k for k in wires if k.kind == "nvswitch"),
        lambda k: (k.a if kind_of(k.a) == "nvswitch" else k.b, k.bytes_per_s),
    ):
        yield f"{plane}: a plane of NVSwitches, {len(list(some))} GPUs with {_rate(rate)} each"
    if drawing.nodes > 1:
        yield f"one of {drawing.nodes} like nodes on this plane"
    straight = {(k.a, k.b): k.bytes_per_s for k in wires if k.kind != "nvswitch"}
    if straight:
        gpus = [f"gpu{i}" for i in range(drawing.domain.gpus)]
        yield "NVLink"
        yield "".join(f"{cell:>6}" for cell in ("", *gpus))
        for a in gpus:
            cells = [straight.get((a, b)) or straight.get((b, a)) for b in gpus]
            yield "".join(f"{cell:>6}" for cell in (a, *(_rate(rate) if rate else "·" for rate in cells)))


def _network_lines(drawing: Drawing) -> Iterator[str]:
    if drawing.network:
        yield f"network: {network_text(drawing.network)}"


def _group_lines(domain: Domain) -> Iterator[str]:
    """What groups get, where their ranks and their stride are powers of two; and all GPUs together."""
    rates = group_rates(domain)
    if len(rates) == 1:
        alone = rates[1, 1]
        if domain.gpus > 1:
            yield f"every group of GPUs: {_rate(alone.ring)} each, over {alone.transport}"
        return
    header = ("ranks", "stride", "ring", "all-to-all", "to next", "over")
    yield "what each GPU of a group gets, while the other GPUs do the same [GB/s]"
    yield "  ".join([*(name.rjust(max(6, len(name))) for name in header[:-1]), header[-1]])
    for (members, stride), found in sorted(rates.items()):
        is_usual = members & (members - 1) == 0 and stride & (stride - 1) == 0
        if members > 1 and (is_usual or members == domain.gpus):
            cells = (str(members), str(stride), *(_rate(r) for r in (found.ring, found.exchange, found.pair)))
            aligned = [cell.rjust(max(6, len(name))) for cell, name in zip(cells, header, strict=False)]
            yield "  ".join([*aligned, found.transport])


def _rate(bytes_per_s: float) -> str:
    return number_text(bytes_per_s / GIGA)


def _name_order(device: str) -> tuple[int, int]:
    kind = kind_of(device)
    return ORDER.index(kind) if kind in ORDER else -1, int(device[len(kind) :] or 0)
