"""The roofline of one card, and where the kernels of one layer of each kind lie on it.

Williams, Waterman and Patterson, "Roofline" (CACM 2009). Everything here is for one card and one plan: plain numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from perfsim.core.calibration import Calibration, Streaming
from perfsim.core.hardware import Gpu
from perfsim.core.plan import Plan
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.formulas.roofline import Kernel, Kind, kernel_seconds, peak_flops_per_s
from perfsim.formulas.streaming import issue_bytes_per_s
from perfsim.graphs.builder import is_autocast
from perfsim.graphs.kernels import Lowering
from perfsim.graphs.transformer import step_graphs

Bound = Literal["compute", "memory", "launch", "latency"]
_ENDLESS = 1e9  # times as fast: what a resource that costs no time looks like
_BYTES_PER_CLOCK = ("multiprocessor_bytes_per_clock", "reread_bytes_per_clock")


@dataclass(frozen=True)
class Roof:
    """One limit of a card: what the datasheet says, what training reaches, and what either number rests on.

    datasheet and reached [FLOP/s], for DRAM and SM traffic [B/s]; datasheet 0 where the datasheet has no such number.
    quantity is the key of the reached share in specs/calibration, format the number format of a compute roof.
    """

    name: str
    kind: Literal["compute", "attention", "dram", "sm"]
    datasheet: float
    reached: float
    quantity: str
    format: str = ""
    datasheet_source: str = ""
    basis: str = ""
    source: str = ""

    @property
    def highest(self) -> float:
        """The larger of both: real clocks exceed the boost clock that some datasheets count with."""
        return max(self.datasheet, self.reached)


@dataclass(frozen=True)
class Point:
    """The like kernels of one operation in one pass of one layer, one micro-batch and one GPU.

    `count` layers are like this one. launches [count], flops [FLOP], bytes [B], seconds [s] are one layer's; bound is
    what would save most of the seconds if it were free; "launch" is the fixed time of a kernel, "latency" that of
    rows started or summed one after another. roof_share: of the highest rate that the roof allows at this intensity,
    against SM traffic (`is_cached`) where the kernel moves its bytes faster than DRAM can; time_share: of the forward
    and backward kernels of all layers, embedding and head.
    """

    part: str
    count: int
    operation: str
    direction: Literal["forward", "backward"]
    kind: Kind
    number_format: str
    launches: float
    flops: float
    bytes: float
    seconds: float
    bound: Bound
    roof_share: float
    is_cached: bool
    time_share: float

    @property
    def intensity(self) -> float:
        """FLOP per byte; 0 where no FLOPs are counted."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def flops_per_s(self) -> float:
        """Reached arithmetic rate [FLOP/s]."""
        return self.flops / self.seconds

    @property
    def bytes_per_s(self) -> float:
        """Reached traffic [B/s]."""
        return self.bytes / self.seconds


@dataclass(frozen=True)
class Roofline:
    """A card's roofs and, where a model is given, its kernels, the ones with most time first."""

    gpu: Gpu
    roofs: tuple[Roof, ...]
    points: tuple[Point, ...] = ()
    workload: Workload | None = None
    plan: Plan | None = None
    software: Software | None = None

    @property
    def seconds(self) -> float:
        """All kernels of a micro-batch, forward and backward [s]."""
        return sum(point.count * point.seconds for point in self.points)

    @property
    def flops(self) -> float:
        """What they compute [FLOP]."""
        return sum(point.count * point.flops for point in self.points)

    @property
    def launches(self) -> float:
        """How many they are."""
        return sum(point.count * point.launches for point in self.points)

    @property
    def host_seconds(self) -> float:
        """What the host needs to launch them [s]."""
        return self.software.host_seconds * self.launches if self.software else 0.0

    @property
    def formats(self) -> tuple[str, ...]:
        """Number formats of the products, the commonest in time first."""
        seconds: dict[str, float] = {}
        for point in self.points:
            if point.flops:
                seconds[point.number_format] = seconds.get(point.number_format, 0.0) + point.count * point.seconds
        return tuple(sorted(seconds, key=lambda name: -seconds[name]))

    def roof(self, kind: str) -> Roof:
        """The roof of a kind that there is once: "attention", "dram" or "sm"."""
        return next(roof for roof in self.roofs if roof.kind == kind)

    def bound_shares(self) -> dict[Bound, float]:
        """Share of the kernels' time that each bound holds, the largest first."""
        shares: dict[Bound, float] = {}
        for point in self.points:
            shares[point.bound] = shares.get(point.bound, 0.0) + point.time_share
        return dict(sorted(shares.items(), key=lambda entry: -entry[1]))


def roofline(
    gpu: Gpu,
    calibration: Calibration,
    workload: Workload | None = None,
    plan: Plan | None = None,
    software: Software | None = None,
) -> Roofline:
    """The card's roofs; with a workload, a plan and a software also the kernels of the model's layers.

    >>> import perfsim as ps
    >>> found = roofline(ps.gpu("RTX 3090"), ps.catalogue().calibration())
    >>> [roof.name for roof in found.roofs]
    ['bf16', 'fp16', 'tf32', 'fp32', 'bf16 attention', 'DRAM', 'SM traffic']
    """
    if workload is None or plan is None or software is None:
        return Roofline(gpu, card_roofs(gpu, calibration))
    points = kernel_points(workload, gpu, plan, software, calibration)
    wide = _lowering(workload, software).wide_format
    return Roofline(gpu, card_roofs(gpu, calibration, wide), points, workload, plan, software)


def card_roofs(gpu: Gpu, calibration: Calibration, attention_format: str = "") -> tuple[Roof, ...]:
    """The fastest number format first, then attention's, DRAM's, and what all multiprocessors read and write at most.

    Without an attention format the widest one of bf16, fp16 and fp32 that the card has.
    """
    card = gpu.calibration
    peaks = {name: float(peak) for name, peak in gpu.peak_flops_per_s.items() if float(peak) > 0.0}
    roofs = [
        Roof(name, "compute", peak, peak * float(card.gemm_fraction[name]), name, name) for name, peak in peaks.items()
    ]
    roofs.sort(key=lambda roof: (-roof.datasheet, -roof.reached, roof.name))
    wide = attention_format or next(name for name in ("bf16", "fp16", "fp32") if name in peaks)
    peak, bandwidth = float(peak_flops_per_s(gpu, wide)), float(gpu.memory_bandwidth_bytes_per_s)
    reached = peak * float(card.attention_fraction)
    return (
        *roofs,
        Roof(f"{wide} attention", "attention", peak, reached, "attention_fraction", wide),
        Roof("DRAM", "dram", bandwidth, bandwidth * float(card.bandwidth_fraction), "bandwidth_fraction"),
        Roof("SM traffic", "sm", 0.0, float(issue_bytes_per_s(gpu, calibration.streaming)), "streaming"),
    )


def kernel_points(
    workload: Workload, gpu: Gpu, plan: Plan, software: Software, calibration: Calibration
) -> tuple[Point, ...]:
    """The kernels of the embedding, of one layer of each kind and of the head, the ones with most time first.

    One point for all kernels of an operation and pass that are of one kind and number format. Exchanges between GPUs
    and the optimizer are no part of it.
    """
    lowering = _lowering(workload, software)
    roofs = card_roofs(gpu, calibration)
    limits = {roof.name: roof.highest for roof in roofs}
    points = []
    for part, count, graph in step_graphs(workload, plan, software, software.attention):
        for name in graph:
            lowered = lowering.of(graph).lower(graph.nodes[name]["operation"])
            for direction, kernels in (("forward", lowered.forward), ("backward", lowered.backward)):
                for like in _alike(kernels):
                    points.append(_point(part, count, name, direction, like, gpu, software, calibration, limits))
    whole = sum(point.count * point.seconds for point in points)
    points = [replace(point, time_share=point.count * point.seconds / whole) for point in points]
    return tuple(sorted(points, key=lambda point: -point.time_share))


def _lowering(workload: Workload, software: Software) -> Lowering:
    precision = workload.precision
    return Lowering(
        software, precision.matmul, is_autocast(workload, software), has_8_bit_attention=precision.has_8_bit_attention
    )


def _alike(kernels: tuple[Kernel, ...]) -> Iterator[list[Kernel]]:
    """The kernels that move or compute anything, together with those of their kind and format."""
    groups: dict[tuple[str, str], list[Kernel]] = {}
    for kernel in kernels:
        if float(kernel.bytes) > 0.0 and float(kernel.launches) > 0.0:
            groups.setdefault((kernel.kind, kernel.number_format), []).append(kernel)
    yield from groups.values()


def _point(
    part: str, count: int, operation: str, direction: str, kernels: list[Kernel], gpu: Gpu, software: Software,
    calibration: Calibration, limits: dict[str, float],
) -> Point:  # fmt: skip
    flops = sum(float(kernel.launches * kernel.flops) for kernel in kernels)
    size = sum(float(kernel.launches * kernel.bytes) for kernel in kernels)
    seconds = sum(float(kernel_seconds(kernel, gpu, software, calibration)) for kernel in kernels)
    is_cached = size / seconds > limits["DRAM"]
    bandwidth = max(limits["SM traffic"], limits["DRAM"]) if is_cached else limits["DRAM"]
    peak = limits.get(kernels[0].number_format, limits["fp32"])
    return Point(
        part=part,
        count=count,
        operation=operation,
        direction=direction,  # type: ignore[arg-type]
        kind=kernels[0].kind,
        number_format=kernels[0].number_format,
        launches=sum(float(kernel.launches) for kernel in kernels),
        flops=flops,
        bytes=size,
        seconds=seconds,
        bound=_bound(kernels, gpu, software, calibration),
        roof_share=max(flops / peak, size / bandwidth) / seconds,
        is_cached=is_cached,
        time_share=0.0,
    )


def _bound(kernels: list[Kernel], gpu: Gpu, software: Software, calibration: Calibration) -> Bound:
    """What would save most: endless arithmetic, endless bandwidth, or no fixed time.

    Asks `kernel_seconds` about a card that has it, so that it holds for any formula in there. A card of endless clock
    has the same traffic and starts of rows as before: both are counted in clocks.
    """
    streaming = calibration.streaming
    slow = {name: getattr(streaming, name) / _ENDLESS for name in _BYTES_PER_CLOCK}
    starts = replace(streaming, row_clocks=_ENDLESS * streaming.row_clocks)
    quick = replace(
        gpu,
        peak_flops_per_s={name: _ENDLESS * peak for name, peak in gpu.peak_flops_per_s.items()},
        clock_hz=_ENDLESS * gpu.clock_hz,
    )
    endless = _ENDLESS * gpu.memory_bandwidth_bytes_per_s
    wide = replace(gpu, memory_bandwidth_bytes_per_s=endless)
    cached = replace(streaming, **{name: _ENDLESS * getattr(streaming, name) for name in _BYTES_PER_CLOCK})

    def seconds(card: Gpu, streams: Streaming) -> float:
        shared = replace(calibration, streaming=streams)
        return sum(float(kernel_seconds(kernel, card, software, shared)) for kernel in kernels)

    fixed = seconds(replace(quick, memory_bandwidth_bytes_per_s=endless), starts)
    compute, memory = seconds(wide, cached) - fixed, seconds(quick, replace(starts, **slow)) - fixed
    if fixed > max(compute, memory):
        launch = sum(float(kernel.launches) for kernel in kernels) * float(gpu.calibration.kernel_seconds)
        return "launch" if launch >= 0.5 * fixed else "latency"
    return "compute" if compute >= memory else "memory"
