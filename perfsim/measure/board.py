"""What a board says of its clock, power and temperature, through NVML or nvidia-smi. Nothing is ever set."""

import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from perfsim.units import MILLI

SAMPLE_SECONDS = 0.02
COUNTER_SECONDS = 1.0  # windows at least this long take their power from the board's energy counter
IS_IDLE = 0x1  # NVML's clock event reason that says no more than that nothing runs
Facts = dict[str, str | float | None]


@dataclass(frozen=True)
class Reading:
    """One look at the board: clocks [MHz], power [W], temperature [°C], reasons for a lower clock [NVML's bits].

    None where the driver does not say.
    """

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    watts: float | None = None
    celsius: float | None = None
    throttle: int | None = None


@dataclass(frozen=True)
class Stretch:
    """A stretch of `seconds` [s]: means of its readings, its lowest clock, all reasons for a lower clock."""

    seconds: float
    sm_mhz: float | None = None
    sm_mhz_min: float | None = None
    memory_mhz: float | None = None
    watts: float | None = None
    celsius: float | None = None
    throttle: int | None = None

    def row(self) -> dict[str, Any]:
        """The stretch in the columns of the tables."""
        return {
            "sm_mhz": self.sm_mhz,
            "sm_mhz_min": self.sm_mhz_min,
            "mem_mhz": self.memory_mhz,
            "power_w": self.watts,
            "temp_c": self.celsius,
            "throttle": None if self.throttle is None else hex(self.throttle & ~IS_IDLE),
            "window_s": self.seconds,
        }


class Board(Protocol):
    """Something that reads a board."""

    def read(self) -> Reading:
        """The board now."""

    def joules(self) -> float | None:
        """The board's energy counter [J]; None where it has none."""

    def facts(self) -> Facts:
        """What does not change: driver, limits, highest clocks."""


class NoBoard:
    """A board that says nothing."""

    def read(self) -> Reading:
        """Nothing."""
        return Reading()

    def joules(self) -> float | None:
        """Nothing."""
        return None

    def facts(self) -> Facts:
        """Nothing."""
        return {}


class NvmlBoard:
    """A board through NVML (the package nvidia-ml-py)."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml
        find = pynvml.nvmlDeviceGetHandleByUUID if uuid else pynvml.nvmlDeviceGetHandleByIndex
        self._handle = find(uuid or 0)

    def read(self) -> Reading:
        """The board now."""
        n, ask = self._nvml, self._ask
        return Reading(
            sm_mhz=ask(n.nvmlDeviceGetClockInfo, n.NVML_CLOCK_SM),
            memory_mhz=ask(n.nvmlDeviceGetClockInfo, n.NVML_CLOCK_MEM),
            watts=_scaled(self._instant_milliwatts() or ask(n.nvmlDeviceGetPowerUsage)),
            celsius=ask(n.nvmlDeviceGetTemperature, n.NVML_TEMPERATURE_GPU),
            throttle=ask(n.nvmlDeviceGetCurrentClocksThrottleReasons),
        )

    def joules(self) -> float | None:
        """The board's energy counter [J], since Volta."""
        return _scaled(self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption))

    def facts(self) -> Facts:
        """Driver, power limits [W] and highest clocks [MHz]."""
        n, ask = self._nvml, self._ask
        return {
            "readings": "NVML",
            "driver": str(n.nvmlSystemGetDriverVersion()),
            "power_limit_w": _scaled(ask(n.nvmlDeviceGetEnforcedPowerLimit)),
            "default_power_limit_w": _scaled(ask(n.nvmlDeviceGetPowerManagementDefaultLimit)),
            "max_sm_mhz": ask(n.nvmlDeviceGetMaxClockInfo, n.NVML_CLOCK_SM),
            "max_mem_mhz": ask(n.nvmlDeviceGetMaxClockInfo, n.NVML_CLOCK_MEM),
        }

    def _instant_milliwatts(self) -> Any:
        """What newer drivers say of this moment; the other figure is the mean of a second on cards since Ampere."""
        n = self._nvml
        field = getattr(n, "NVML_FI_DEV_POWER_INSTANT", None)
        found = self._ask(n.nvmlDeviceGetFieldValues, [field]) if field is not None else None
        return found[0].value.uiVal if found and found[0].nvmlReturn == 0 else None

    def _ask(self, question: Callable[..., Any], *more: Any) -> Any:
        try:
            return question(self._handle, *more)
        except self._nvml.NVMLError:
            return None


class SmiBoard:
    """A board through nvidia-smi: a process for each reading, so a reading takes tens of milliseconds."""

    NOW = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active"
    ALWAYS = "driver_version,power.limit,power.default_limit,clocks.max.sm,clocks.max.memory"

    def __init__(self, uuid: str) -> None:
        program = shutil.which("nvidia-smi")
        if program is None:
            raise FileNotFoundError("nvidia-smi")
        self._command = [program, "-i", uuid or "0", "--format=csv,noheader,nounits"]
        self._query(self.NOW)

    def read(self) -> Reading:
        """The board now."""
        try:
            sm, memory, watts, celsius, reasons = self._query(self.NOW)
        except (OSError, ValueError, subprocess.SubprocessError):
            return Reading()
        throttle = int(reasons, 16) if reasons.startswith("0x") else None
        return Reading(_number(sm), _number(memory), _number(watts), _number(celsius), throttle)

    def joules(self) -> float | None:
        """Nothing: nvidia-smi shows no counter."""
        return None

    def facts(self) -> Facts:
        """Driver, power limits [W] and highest clocks [MHz]."""
        driver, *numbers = self._query(self.ALWAYS)
        names = ("power_limit_w", "default_power_limit_w", "max_sm_mhz", "max_mem_mhz")
        return {
            "readings": "nvidia-smi",
            "driver": driver,
            **dict(zip(names, map(_number, numbers), strict=True)),
        }

    def _query(self, names: str) -> list[str]:
        ran = subprocess.run(  # noqa: S603  the path is that of nvidia-smi, the names are above
            [*self._command, f"--query-gpu={names}"], capture_output=True, text=True, timeout=20, check=True
        )
        return [cell.strip() for cell in ran.stdout.strip().splitlines()[0].split(",")]


def open_board(uuid: str) -> Board:
    """The board of this UUID ("" the first one), by NVML, else nvidia-smi, else one that says nothing."""
    for kind in (NvmlBoard, SmiBoard):
        try:
            return kind(uuid)
        except Exception:  # noqa: S112  no package, no program, no permission: the next way is tried
            continue
    return NoBoard()


class Window:
    """Samples a board on a thread while it is open; `stretch` sums up what lies between the first and last `mark`.

    `samples` are (seconds since the window was opened, reading).
    """

    def __init__(self, board: Board, period_seconds: float = SAMPLE_SECONDS) -> None:
        self.samples: list[tuple[float, Reading]] = []
        self._board, self._period = board, period_seconds
        self._marks: list[tuple[float, float | None]] = []
        self._is_over = threading.Event()
        self._began = time.perf_counter()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Window":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def mark(self) -> None:
        """Remember this moment and the energy counter."""
        self._marks.append((time.perf_counter() - self._began, self._board.joules()))

    def stretch(self) -> Stretch:
        """What lies between the first and the last mark."""
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        seconds = end - start
        found = summed_up(seconds, (reading for moment, reading in self.samples if start <= moment <= end))
        if before is None or after is None or seconds < COUNTER_SECONDS or after <= before:
            return found
        return Stretch(**{**vars(found), "watts": (after - before) / seconds})

    def _sample(self) -> None:
        while not self._is_over.is_set():
            moment = time.perf_counter() - self._began
            self.samples.append((moment, self._board.read()))
            self._is_over.wait(self._period)


def summed_up(seconds: float, readings: Iterable[Reading]) -> Stretch:
    """Readings of a stretch of `seconds` [s] as one.

    >>> summed_up(2.0, [Reading(1800, watts=300), Reading(1700, watts=320, throttle=4)])
    Stretch(seconds=2.0, sm_mhz=1750.0, sm_mhz_min=1700, memory_mhz=None, watts=310.0, celsius=None, throttle=4)
    """
    listed = list(readings)

    def known(name: str) -> list[Any]:
        return [value for value in (getattr(reading, name) for reading in listed) if value is not None]

    def mean(name: str) -> float | None:
        return statistics.fmean(known(name)) if known(name) else None

    reasons = 0
    for bits in known("throttle"):
        reasons |= bits
    return Stretch(
        seconds,
        mean("sm_mhz"),
        min(known("sm_mhz"), default=None),
        mean("memory_mhz"),
        mean("watts"),
        mean("celsius"),
        reasons if known("throttle") else None,
    )


def _scaled(value: float | None) -> float | None:
    """Milliwatts or millijoules in units; None stays."""
    return None if value is None else value * MILLI


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
