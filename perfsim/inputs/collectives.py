"""specs/calibration/collectives.toml: what NCCL reaches on each kind of link, and on machines that were measured."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from perfsim.calibration.collectives import network_of, transport_of
from perfsim.core.fabric import Network, Transport
from perfsim.errors import InputError
from perfsim.inputs.explain import nearest
from perfsim.inputs.files import Line, Name, Sourced, Spec
from perfsim.inputs.positions import Loc
from perfsim.units import printable

Micro = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(gt=0, le=4)]
Part = Annotated[float, Field(ge=0, le=10)]
Rate = Annotated[float, Field(gt=0, le=1e5)]
Basis = Literal["measured", "fitted", "rule"]
Wire = Literal["nvlink", "pcie"]
T = TypeVar("T")


class ProtocolSpec(Spec):
    """What one protocol takes: a start, steps, a share of the bandwidth, and what small and middling payloads add."""

    base_us: Micro
    hop_us: Micro = 0.0
    fraction: Share
    growth: Part = 0.0
    copy_share: Part = 0.0
    slice_us: Micro = 0.0


class MeasuredRate(Spec):
    """What a group was measured to get of this machine [GB/s of wire bytes a rank]."""

    ring_gb_per_s: Rate
    exchange_gb_per_s: Rate


class Preset(Spec):
    """NCCL on one kind of link, or on one machine: then `rate` holds what was measured there."""

    name: Name
    wire: Wire
    low_latency: ProtocolSpec
    low_latency_128: ProtocolSpec | None = None
    simple: ProtocolSpec
    switch: ProtocolSpec | None = None
    send_low_latency: ProtocolSpec
    send: ProtocolSpec
    rate: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}$")], MeasuredRate] = {}
    most_gb_per_s: Rate | None = None  # what a GPU reads of host memory, whatever its slot
    basis: Basis
    rows: Annotated[int, Field(ge=0)] = 0
    error_percent: Annotated[float, Field(ge=0, le=1000)] | None = None
    source: Line

    def to_transport(self) -> Transport:
        """The record that formulas take."""
        protocols = {f.name: getattr(self, f.name) for f in fields(Transport)}
        return transport_of({name: spec.model_dump() for name, spec in protocols.items() if spec}, self.wire)


class NetworkPreset(Spec):
    """NCCL between nodes on one kind of network."""

    name: Name
    base_us: Micro
    hop_us: Micro
    fraction: Share
    growth: Part = 0.0
    low_latency_share: Share = 1.0
    start_us: Micro = 0.0
    slice_us: Micro = 0.0
    basis: Basis
    rows: Annotated[int, Field(ge=0)] = 0
    error_percent: Annotated[float, Field(ge=0, le=1000)] | None = None
    source: Line

    def to_network(self, bytes_per_s: float, **tree: Any) -> Network:
        """The record that formulas take, for a GPU's share of the NICs and the `tree` above them."""
        return network_of(self.model_dump(), bytes_per_s, **tree)


class CollectivesSpec(Sourced):
    """specs/calibration/collectives.toml, or a user's own."""

    preset: Annotated[tuple[Preset, ...], Field(strict=False)] = ()
    network: Annotated[tuple[NetworkPreset, ...], Field(strict=False)] = ()

    def problems(self) -> Iterator[tuple[Loc, str, str]]:
        """A name is given once."""
        for kind in ("preset", "network"):
            names = [entry.name for entry in getattr(self, kind)]
            for i, name in enumerate(names):
                if name in names[:i]:
                    yield (kind, i, "name"), f"{name} is there already", "give each its own name"


class Presets:
    """All presets by name; of two of a name, the one in the earlier folder counts."""

    def __init__(self, files: Sequence[CollectivesSpec]) -> None:
        self._presets = {preset.name: preset for spec in reversed(files) for preset in spec.preset}
        self._networks = {network.name: network for spec in reversed(files) for network in spec.network}

    def __contains__(self, name: str) -> bool:
        return name in self._presets

    def nearest(self, name: str) -> str:
        """What to do about a preset that is not there."""
        close = nearest(name, list(self._presets), 3, 0.4)
        return f"did you mean {', '.join(close)}?" if close else "write a name of calibration/collectives.toml"

    def preset(self, name: str) -> Preset:
        """The preset of that name.

        Raises: InputError when no folder has it.
        """
        return _named(name, self._presets)

    def network(self, name: str) -> NetworkPreset:
        """The network of that name.

        Raises: InputError when no folder has it.
        """
        return _named(name, self._networks)


def _named(name: str, known: dict[str, T]) -> T:
    if name not in known:
        raise InputError(f"calibration/collectives.toml: {printable(name)} is in none of the spec folders; add it")
    return known[name]
