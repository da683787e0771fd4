"""specs/gpus/*.toml: one card in the units of its datasheet, and its conversion to core.Gpu."""

import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from perfsim.core.support import Support
from perfsim.inputs.files import Line, Sourced, Spec, Texts
from perfsim.units import GIB, GIGA, MEGA, MIB, TERA

if TYPE_CHECKING:
    from perfsim.core.calibration import CardCalibration
    from perfsim.core.hardware import Gpu
    from perfsim.core.power import CardPower

Architecture = Literal["pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]
PeerToPeer = Literal["yes", "no", "nvlink-only", "unverified"]
FORMATS = ("fp32", "tf32", "fp16", "bf16", "fp8", "fp4")

Tflops = Annotated[float, Field(gt=0, le=1e6)]


class PeakTflops(Spec):
    """Dense peaks, products summed in fp32 [TFLOP/s]; a format that the card has no units for is left out."""

    fp32: Tflops
    tf32: Tflops | None = None
    fp16: Tflops | None = None
    bf16: Tflops | None = None
    fp8: Tflops | None = None
    fp4: Tflops | None = None


class GpuSpec(Sourced):
    """One card, per board."""

    name: Line
    series: Line
    architecture: Architecture
    compute_capability: Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
    aliases: Texts = ()
    launch_date: datetime.date | None = None
    price_usd: Annotated[float, Field(gt=0, le=1e6)] | None = None
    multiprocessors: Annotated[int, Field(ge=1, le=10_000)]
    boost_mhz: Annotated[float, Field(ge=100, le=10_000)]
    tensor_clock_mhz: Annotated[float, Field(ge=100, le=10_000)] | None = None
    l2_mib: Annotated[float, Field(gt=0, le=10_000)]
    memory_gib: Annotated[float, Field(ge=1, le=2000)]
    memory_type: Line
    memory_bandwidth_gb_per_s: Annotated[float, Field(ge=1, le=1e5)]
    power_limit_watts: Annotated[float, Field(ge=10, le=10_000)]
    form_factor: Line
    pcie_generation: Annotated[int, Field(ge=1, le=7)]
    pcie_lanes: Annotated[int, Field(ge=1, le=32)]
    nvlink_gb_per_s: Annotated[float, Field(gt=0, le=1e5)] | None = None
    c2c_gb_per_s: Annotated[float, Field(gt=0, le=1e5)] | None = None  # to the CPU, both directions
    peer_to_peer: PeerToPeer
    peak_tflops: PeakTflops


def to_gpu(
    key: str, spec: GpuSpec, calibration: "CardCalibration", power: "CardPower", server_watts: float, support: Support
) -> "Gpu":
    """The card in SI units; an absent format has a peak of 0, an unknown price is 0."""
    from perfsim.core.hardware import Gpu  # numpy comes with it, which readers of files alone do without

    return Gpu(
        key=key,
        name=spec.name,
        series=spec.series,
        architecture=spec.architecture,
        compute_capability=float(spec.compute_capability),
        multiprocessors=spec.multiprocessors,
        clock_hz=spec.boost_mhz * MEGA,
        l2_bytes=spec.l2_mib * MIB,
        memory_bytes=spec.memory_gib * GIB,
        memory_bandwidth_bytes_per_s=spec.memory_bandwidth_gb_per_s * GIGA,
        peak_flops_per_s={name: (getattr(spec.peak_tflops, name) or 0.0) * TERA for name in FORMATS},
        board_limit_watts=spec.power_limit_watts,
        power_limit_watts=spec.power_limit_watts,
        power=power,
        server_watts=server_watts,
        price_usd=spec.price_usd or 0.0,
        lacks=support.lacks,
        first_code_day=support.first_code_day,
        software_limits=support.limits,
        software_verdict=support.sentence,
        calibration=calibration,
    )
