"""specs/calibration/power.toml: what boards draw, by process and memory, and how they hold a power limit."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from perfsim.core.power import CardPower, PowerControl, ProcessPower
from perfsim.errors import InputError
from perfsim.formulas.power import card_power
from perfsim.inputs.calibration import Basis, Match, Percent
from perfsim.inputs.files import Line, Sourced, Spec
from perfsim.inputs.gpu import FORMATS, GpuSpec
from perfsim.units import MEGA, NANO, PICO, printable

Share = Annotated[float, Field(gt=0, le=1)]
Picojoules = Annotated[float, Field(gt=0, le=1000)]


class ControlSpec(Spec):
    """How all boards hold their limit."""

    limit_share: Share
    clock_floor: Share
    memory_clock_share: Share


class ProcessSpec(Spec):
    """What the cards that `match` draw at their lowest core voltage, and how their voltage rises with the clock."""

    match: Match
    nanometres: Annotated[int, Field(ge=1, le=100)]
    idle_share: Share
    busy_nanojoules_per_clock: Annotated[float, Field(gt=0, le=100)]
    picojoules_per_flop: Mapping[str, Picojoules]
    knee_mhz: Annotated[float, Field(ge=100, le=10_000)]
    voltage_rise: Annotated[float, Field(ge=0, le=100)]
    basis: Basis
    rows: Annotated[int, Field(ge=1)] | None = None  # of a fit
    error_percent: Percent | None = None  # of a fit, on cards that it has not seen
    source: Line

    def to_process(self) -> ProcessPower:
        """In SI units."""
        joules = {name: self.picojoules_per_flop.get(name, 0.0) * PICO for name in FORMATS}
        busy, knee = self.busy_nanojoules_per_clock * NANO, self.knee_mhz * MEGA
        return ProcessPower(self.idle_share, busy, joules, knee, self.voltage_rise)


class Headroom(Spec):
    """Real clock over the printed boost of the cards that `match`."""

    match: Match
    ratio: Annotated[float, Field(ge=0.5, le=2)]


class ServerSpec(Spec):
    """What a server draws beside its boards, at the wall, for each GPU: watts, and a share of its board's limit."""

    watts_per_gpu: Annotated[float, Field(ge=0, le=10_000)]
    share_of_board: Annotated[float, Field(ge=0, le=2)]
    share_error: Annotated[float, Field(ge=0, le=2)]
    rows: Annotated[int, Field(ge=1)]
    error_percent: Percent


class PowerRules(Sourced):
    """The file: the first headroom and the first process that match a card decide."""

    control: ControlSpec
    server: ServerSpec
    picojoules_per_byte: Mapping[str, Picojoules]
    headroom: Annotated[tuple[Headroom, ...], Field(strict=False)]
    process: Annotated[tuple[ProcessSpec, ...], Field(strict=False)]

    def to_control(self) -> PowerControl:
        """How boards hold their limit."""
        return PowerControl(**self.control.model_dump())

    def process_of(self, key: str, spec: GpuSpec) -> ProcessSpec:
        """The process that a card is made in.

        Raises: InputError that says what to add.
        """
        for process in self.process:
            if process.match.holds(key, spec):
                return process
        raise InputError(
            f"calibration/power.toml: no [[process]] matches {printable(spec.name)}; add one with "
            f'match = {{ architecture = ["{spec.architecture}"] }}'
        )

    def card(self, key: str, spec: GpuSpec) -> CardPower:
        """What the card draws.

        Raises: InputError for a process or a memory type that the file lacks.
        """
        if spec.memory_type not in self.picojoules_per_byte:
            raise InputError(
                f"calibration/power.toml: picojoules_per_byte has no {printable(spec.memory_type)}, the memory of "
                f"{printable(spec.name)}; add it"
            )
        return card_power(
            self.process_of(key, spec).to_process(), spec.boost_mhz * MEGA * self.headroom_of(key, spec),
            spec.multiprocessors, spec.power_limit_watts, self.picojoules_per_byte[spec.memory_type] * PICO,
        )  # fmt: skip

    def server_watts(self, spec: GpuSpec) -> float:
        """What a server draws for each such card beside its board, while it trains [W]."""
        return self.server.watts_per_gpu + self.server.share_of_board * spec.power_limit_watts

    def headroom_of(self, key: str, spec: GpuSpec) -> float:
        """The card's real clock over its printed boost."""
        return next((rule.ratio for rule in self.headroom if rule.match.holds(key, spec)), 1.0)
