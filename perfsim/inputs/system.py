"""specs/systems/*.toml: one kind of node, its links and its price, and its conversion to core.System."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from perfsim.core.hardware import Gpu, System
from perfsim.core.offers import Offer
from perfsim.formulas.machine import SUPPLY_EFFICIENCY
from perfsim.formulas.rent import rates
from perfsim.inputs.collectives import Presets
from perfsim.inputs.explain import nearest
from perfsim.inputs.fabric import network, segments
from perfsim.inputs.files import Line, Name, Sourced, Spec, check, raise_problems, read_toml
from perfsim.inputs.gpu import GpuSpec, PeerToPeer
from perfsim.inputs.positions import Loc
from perfsim.inputs.wiring import Wiring, domain_of, host_link_bytes_per_s, host_of, wiring_problems

Topology = Literal["nvswitch", "nvlink", "nvlink-mesh", "nvlink-bridge", "pcie"]
Lanes = Annotated[int, Field(ge=1, le=32)]

# Assumed where a file says nothing: beside its GPUs a self-built machine draws 150 W, at most 380 W. So much remains of
# the 1,717 W that Puget Systems (article 1974) metered of four RTX 3090 at 300 W, behind a supply of 92 %.
DESKTOP_WATTS, MOST_DESKTOP_WATTS = 150.0, 380.0
MAX_NODES = 4096


class Price(Spec):
    """What one node costs to rent."""

    usd_per_hour: Annotated[float, Field(gt=0, le=1e6)]
    date: Line
    source: Line


class SystemSpec(Sourced):
    """One kind of node; a rack whose nodes share NVLink is told by `nvlink_domain_gpus`."""

    name: Line
    kind: Literal["node", "pcie-box", "cloud"]
    gpu: Name
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)]
    topology: Topology
    nvlink_gb_per_s: Annotated[float, Field(gt=0, le=1e5)] | None = None
    nvlink_domain_gpus: Annotated[int, Field(ge=1, le=4096)] = 1
    peer_to_peer: PeerToPeer = "no"
    host_cpu: Literal["intel", "amd"] | None = None
    collectives: Name | None = None  # a preset of calibration/collectives.toml, e.g. one measured on this machine
    nics: Annotated[int, Field(ge=0, le=1024)] = 0
    nic_gbit_per_s: Annotated[float, Field(gt=0, le=1e5)] | None = None
    fabric: Line | None = None
    pcie_generation: Annotated[int, Field(ge=1, le=7)] | None = None
    pcie_lanes: Lanes | None = None
    slot_lanes: Annotated[tuple[Lanes, ...], Field(strict=False)] = ()
    sockets: Annotated[int, Field(ge=1, le=64)] | None = None
    gpus_per_pcie_switch: Annotated[int, Field(ge=0, le=64)] = 0
    socket_link_gb_per_s: Annotated[float, Field(gt=0, le=1e5)] | None = None
    host_memory_gb_per_s: Annotated[float, Field(gt=0, le=1e5)] | None = None
    leaf_nodes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    leaf_oversubscription: Annotated[float, Field(ge=1, le=1000)] = 1.0
    pod_nodes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    pod_oversubscription: Annotated[float, Field(ge=1, le=1000)] = 1.0
    rails: bool = False
    wiring: Wiring | None = None
    node_power_watts: Annotated[float, Field(ge=10, le=1e7)] | None = None
    max_nodes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    price: Price | None = None

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """NVLink needs a rate, NICs need a rate, a system has at most a million GPUs."""
        if self.topology != "pcie" and self.nvlink_gb_per_s is None:
            yield ("topology",), f"{self.topology} without a rate", "add nvlink_gb_per_s (both directions, per GPU)"
        if self.nics and self.nic_gbit_per_s is None:
            yield ("nics",), "NICs without a rate", "add nic_gbit_per_s"
        if (self.max_nodes or 1) * self.gpus_per_node > 1_000_000:
            yield ("max_nodes",), "more than 1,000,000 GPUs", "write fewer nodes"
        yield from wiring_problems(self)

    @property
    def is_desktop(self) -> bool:
        """A self-built machine without a cluster network."""
        return self.kind == "pcie-box" and not self.nics


def load_system(path: Path, gpus: Collection[str]) -> SystemSpec:
    """The system in the file at `path`, whose card must be among the keys `gpus`.

    Raises: InputError that lists every problem of the file.
    """
    document = read_toml(path)
    spec = check(document, SystemSpec)
    if spec.gpu not in gpus:
        close = nearest(spec.gpu, list(gpus), 3, 0.4)
        todo = f"did you mean {', '.join(close)}?" if close else "write the name of a file in gpus/, without .toml"
        raise_problems(document, [(("gpu",), f"{spec.gpu} is not among the GPUs", todo)])
    return spec


def to_system(key: str, spec: SystemSpec, gpu: Gpu, card: GpuSpec, collectives: Presets) -> System:
    """The system in SI units, with `gpu` as its card and `card` as that card's file."""
    nodes = spec.max_nodes or (MAX_NODES if spec.nics else 1)
    domain, host = domain_of(spec, card), host_of(spec, card)
    most = _most_host_watts(spec, gpu)
    listed = [offer for offer in [offer_of(key, spec)] if offer]
    return System(
        key=key,
        name=spec.name,
        gpu=gpu,
        gpus_per_node=spec.gpus_per_node,
        gpus_per_domain=domain.gpus,
        max_gpus=nodes * spec.gpus_per_node,
        within=segments(spec, domain, card, collectives),
        between=network(spec, domain, collectives),
        host_link_bytes_per_s=host_link_bytes_per_s(spec, card),
        host_memory_bytes_per_s=host.memory_bytes_per_s * host.sockets / spec.gpus_per_node,
        host_watts_per_gpu=min(_host_watts(spec, gpu), most),
        host_limit_watts_per_gpu=most,
        rates=rates(listed, spec.gpus_per_node),
        offers=tuple(map(offer_text, listed)),
        purchase=launch_text(card) if card.price_usd else "",
    )


def offer_of(key: str, spec: SystemSpec) -> Offer | None:
    """What the system's file says that it costs to rent."""
    if spec.price is None:
        return None
    asked = {"instance": spec.name, "date": spec.price.date, "source": spec.price.source}
    return Offer("on-demand", spec.gpu, spec.gpus_per_node, spec.price.usd_per_hour, system=key, **asked)


def offer_text(offer: Offer) -> str:
    """Which offer it is: machine, place, date, file.

    >>> offer_text(Offer("spot", "t4", 4, 1.2, instance="g4dn.12xlarge", place="us-east-1", file="aws.csv"))
    'g4dn.12xlarge, us-east-1, undated, aws.csv'
    """
    return ", ".join(filter(None, (offer.instance or offer.gpu, offer.place, offer.date or "undated", offer.file)))


def launch_text(card: GpuSpec) -> str:
    """What a price is that comes from a card's file."""
    return f"launch price of {card.launch_date}" if card.launch_date else "launch price"


def box_spec(key: str, card: GpuSpec, count: int) -> SystemSpec:
    """A machine with `count` cards of a kind, for cards that no listed system has; all but the card is assumed.

    SXM cards sit on the board of their generation. GeForce pairs get 8 lanes each, as desktop boards have it.
    """
    is_board = card.form_factor.startswith(("SXM", "Superchip")) and card.nvlink_gb_per_s is not None
    has_mesh = card.architecture in ("pascal", "volta")
    is_consumer = card.series.startswith(("GTX", "RTX 2", "RTX 3", "RTX 4", "RTX 5", "Titan"))
    return SystemSpec(
        name=f"{count}x {card.name}",
        kind="node" if is_board else "pcie-box",
        gpu=key,
        gpus_per_node=count,
        topology=("nvlink-mesh" if has_mesh else "nvswitch") if is_board else "pcie",
        nvlink_gb_per_s=card.nvlink_gb_per_s if is_board else None,
        nvlink_domain_gpus=count if is_board else 1,
        peer_to_peer=card.peer_to_peer,
        pcie_generation=card.pcie_generation,
        pcie_lanes=min(card.pcie_lanes, 8) if is_consumer and count == 2 else card.pcie_lanes,
    )


def _host_watts(spec: SystemSpec, gpu: Gpu) -> float:
    """Power beside the boards while they train, per GPU: as measured on servers (calibration/power.toml) [W]."""
    return DESKTOP_WATTS / spec.gpus_per_node if spec.is_desktop else float(gpu.server_watts)


def _most_host_watts(spec: SystemSpec, gpu: Gpu) -> float:
    """The most that a node draws beside its boards, per GPU: what its own figure leaves, else as while training [W].

    A self-built machine's power supply loses some of what it gives the boards.
    """
    if spec.node_power_watts is not None:
        rest = spec.node_power_watts / spec.gpus_per_node - float(gpu.board_limit_watts)
        if rest > 0:
            return rest
    if spec.is_desktop:
        boards = float(gpu.board_limit_watts)
        return (MOST_DESKTOP_WATTS / spec.gpus_per_node + boards) / SUPPLY_EFFICIENCY - boards
    return _host_watts(spec, gpu)
