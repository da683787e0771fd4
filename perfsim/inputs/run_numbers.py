"""specs/calibration/runs.toml: what whole measured runs say of the software, and how well every number is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from perfsim.core.software import Software
from perfsim.core.spreads import Spreads
from perfsim.inputs.files import Document, Sourced, Spec, check

Spread = Annotated[float, Field(ge=0, le=3)]
# Where no runs were fitted, all assumed: about twice what `perfsim calibrate runs` finds of sources and runs; joules
# between boards' watts (spread 0.05) and joules (0.11) with the card left out (`perfsim validate energy`), and this
# stays where runs are fitted; 90 % of a normal distribution.
PRIOR = Spreads(source=0.08, noise=0.07, energy_noise=0.09, reach=1.645)


class SoftwareNumbers(Spec):
    """Numbers of one entry of specs/software that take the place of its file's."""

    runs: Annotated[int, Field(ge=1)]
    gemm_efficiency: Annotated[float, Field(ge=0.01, le=10)] | None = None
    memory_efficiency: Annotated[float, Field(ge=0.01, le=10)] | None = None
    attention_efficiency: Annotated[float, Field(ge=0.01, le=10)] | None = None
    host_seconds: Annotated[float, Field(ge=0, le=1)] | None = None
    optimizer_host_seconds: Annotated[float, Field(ge=0, le=1)] | None = None
    step_seconds: Annotated[float, Field(ge=0, le=1000)] | None = None
    synchronisation_seconds: Annotated[float, Field(ge=0, le=1000)] | None = None
    adam_bytes_per_parameter: Annotated[float, Field(ge=0, le=1e4)] | None = None
    loss_bytes_per_logit: Annotated[float, Field(ge=0, le=1e4)] | None = None
    sharded_bytes_per_parameter: Annotated[float, Field(ge=0, le=1e4)] | None = None
    accumulation_bytes_per_parameter: Annotated[float, Field(ge=0, le=1e4)] | None = None
    memory_spread: Spread | None = None

    def values(self) -> dict[str, float]:
        """Those that are given."""
        return self.model_dump(exclude={"runs"}, exclude_none=True)

    @property
    def source(self) -> str:
        """Where they are from."""
        return f"perfsim calibrate runs, {self.runs:,} runs"


class RunNumbers(Sourced):
    """The file; the spreads are standard deviations of logs (core.spreads)."""

    runs: Annotated[int, Field(ge=1)]
    source_spread: Spread
    noise: Spread
    energy_noise: Spread
    reach: Annotated[float, Field(gt=0, le=10)]
    kinds: dict[str, Spread]
    numbers: dict[str, Spread]
    software: dict[str, SoftwareNumbers] = {}


def read_run_numbers(documents: Sequence[Document]) -> tuple[Spreads, dict[str, SoftwareNumbers]]:
    """What the files say together; of two that give a number, the first counts.

    Raises: InputError that lists every problem of a file.
    """
    files = [check(document, RunNumbers) for document in documents]
    if not files:
        return PRIOR, {}
    first, later = files[0], files[::-1]
    kinds, numbers = ({k: v for file in later for k, v in getattr(file, name).items()} for name in ("kinds", "numbers"))
    spreads = Spreads(
        first.source_spread, first.noise, first.energy_noise, first.reach, first.runs, kinds=kinds, numbers=numbers
    )
    return spreads, {key: entry for file in later for key, entry in file.software.items()}


def with_numbers(software: Software, numbers: SoftwareNumbers | None) -> Software:
    """The software with the numbers that runs gave it."""
    values: dict[str, Any] = numbers.values() if numbers else {}
    return replace(software, **values)


def spec_with_numbers(spec: Sourced, numbers: SoftwareNumbers | None) -> Sourced:
    """The software's file as if it said so itself: value, basis and source of each number."""
    if numbers is None:
        return spec
    values = numbers.values()
    told = dict.fromkeys(values, "fitted"), dict.fromkeys(values, numbers.source)
    basis, sources = ({**getattr(spec, kind), **new} for kind, new in zip(("basis", "sources"), told, strict=True))
    return spec.model_copy(update={**values, "basis": basis, "sources": sources})
