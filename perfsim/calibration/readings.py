"""What logs of a training run tell of it: the step's time, memory, power; and several logs of one run as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

WARM_UP_STEPS = 5  # left out where there is enough besides: allocator, autotuning and clocks settle in them

ONE_RUN, ONE_ROUGH_RUN = 1.2, 2.0  # two logs whose steps differ by a larger factor are not of one run
MEMORY_KINDS = ("allocated", "reserved", "nvidia-smi")  # the more it says, the earlier


@dataclass(frozen=True)
class Reading:
    """What was read. A number is 0 and a text "" where the log does not say.

    step_seconds: median over `steps` steps after `warm_up_steps`; shortest, longest: 10th and 90th percentile.
    global_batch_size: sequences a step, known to a share of batch_tolerance.
    watts_per_gpu, clock_hz: means while the GPUs were busy; busy_share: of the time.
    stated: what else the log says of the run, by perfsim's names: gpus, seq_len, degrees.
    remarks: what to know of the figures.
    """

    format: str
    source: str
    step_seconds: float = 0.0
    shortest_seconds: float = 0.0
    longest_seconds: float = 0.0
    steps: int = 0
    warm_up_steps: int = 0
    tokens_per_s_per_gpu: float = 0.0
    global_batch_size: float = 0.0
    batch_tolerance: float = 0.0
    peak_memory_bytes: float = 0.0
    memory_kind: str = ""
    watts_per_gpu: float = 0.0
    clock_hz: float = 0.0
    busy_share: float = 0.0
    gpu_text: str = ""
    software_text: str = ""
    is_rough: bool = False  # the step's time holds more than steady steps
    stated: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What the logs do not tell.

        >>> Reading("nvidia-smi", "gpu.csv", watts_per_gpu=300.0).missing
        ('step time', 'tokens/s', 'global batch', 'peak memory')
        """
        told = {
            "step time": self.step_seconds,
            "tokens/s": self.tokens_per_s_per_gpu,
            "global batch": self.global_batch_size,
            "peak memory": self.peak_memory_bytes,
            "power": self.watts_per_gpu,
        }
        return tuple(name for name, value in told.items() if not value)


@dataclass(frozen=True)
class Span:
    """A mean over consecutive steps: `seconds` (or another figure) of each, the last of them being `step`."""

    step: int
    count: int
    seconds: float


def spans_between(stamps: Sequence[tuple[int, float]]) -> list[Span]:
    """The spans between (step, second) stamps; where the steps or the clock do not go on, a new run begins.

    >>> spans_between([(1, 0.0), (11, 5.0), (1, 90.0), (11, 95.0)])
    [Span(step=11, count=10, seconds=0.5), Span(step=11, count=10, seconds=0.5)]
    """
    return [
        Span(step, step - before, (second - earlier) / (step - before))
        for (before, earlier), (step, second) in pairwise(stamps)
        if step > before and second > earlier
    ]


def steady(spans: Sequence[Span]) -> tuple[list[Span], int]:
    """The spans after the warm-up, and how many steps that took.

    After each start the first WARM_UP_STEPS steps are left out, at least one span, at most half of the spans.
    """
    kept: list[Span] = []
    left_out = 0
    for session in _sessions(spans):
        first = session[0].step - session[0].count
        begun = [span for span in session if span.step - span.count - first < WARM_UP_STEPS]
        dropped = min(len(begun), len(session) // 2)
        left_out += sum(span.count for span in session[:dropped])
        kept += session[dropped:]
    return kept, left_out


def timed(reading: Reading, spans: Sequence[Span]) -> Reading:
    """The reading with the step time that `spans` tell; as it is where there are none."""
    kept, left_out = steady(spans)
    if not kept:
        return reading
    seconds = np.array([span.seconds for span in kept])
    low, middle, high = (float(x) for x in np.percentile(seconds, (10, 50, 90)))
    remarks = reading.remarks if left_out else (*reading.remarks, "the first steps are in the step time")
    return replace(
        reading,
        step_seconds=middle,
        shortest_seconds=low,
        longest_seconds=high,
        steps=sum(span.count for span in kept),
        warm_up_steps=left_out,
        is_rough=reading.is_rough or not left_out,
        remarks=remarks,
    )


def combined(readings: Sequence[Reading]) -> Reading:
    """The logs of one run as one: each figure from the first log that tells it, steady step times before rough ones.

    Raises: ValueError where two logs contradict each other, in words for a person.
    """
    by_trust = sorted(readings, key=lambda one: one.is_rough)
    clock = next((one for one in by_trust if one.step_seconds), by_trust[0])
    ordered = [clock, *(one for one in readings if one is not clock)]
    stated: dict[str, int] = {}
    for one in ordered:
        _agree(clock, one)
        for name, value in one.stated.items():
            if stated.setdefault(name, value) != value:
                raise ValueError(f"{name} is {stated[name]} in one log and {value} in {one.source}")
    kinds = {kind: rank for rank, kind in enumerate(MEMORY_KINDS)}
    memory = min((one for one in ordered if one.peak_memory_bytes), key=lambda o: kinds[o.memory_kind], default=clock)
    batch = min((o for o in ordered if o.global_batch_size), key=lambda o: o.batch_tolerance, default=clock)
    first = {
        name: next((getattr(one, name) for one in ordered if getattr(one, name)), getattr(clock, name))
        for name in ("tokens_per_s_per_gpu", "watts_per_gpu", "clock_hz", "busy_share", "gpu_text", "software_text")
    }
    return replace(
        clock,
        format=" + ".join(dict.fromkeys(one.format for one in readings)),
        source=" + ".join(one.source for one in readings),
        global_batch_size=batch.global_batch_size,
        batch_tolerance=batch.batch_tolerance,
        peak_memory_bytes=memory.peak_memory_bytes,
        memory_kind=memory.memory_kind,
        stated=stated,
        remarks=tuple(dict.fromkeys(remark for one in readings for remark in one.remarks)),
        **first,
    )


def _sessions(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans, cut where a run began anew."""
    found: list[list[Span]] = []
    for span in spans:
        if found and span.step > found[-1][-1].step:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def _agree(clock: Reading, other: Reading) -> None:
    """Raise ValueError where two logs tell steps or batches of two runs."""
    most = ONE_ROUGH_RUN if clock.is_rough or other.is_rough else ONE_RUN
    if other.step_seconds and not 1.0 / most <= other.step_seconds / clock.step_seconds <= most:
        here, there = f"{clock.step_seconds:.4g} s in {clock.source}", f"{other.step_seconds:.4g} s in {other.source}"
        raise ValueError(f"a step takes {here} and {there}")
    tolerance = clock.batch_tolerance + other.batch_tolerance
    if clock.global_batch_size and other.global_batch_size:
        ratio = other.global_batch_size / clock.global_batch_size
        if abs(ratio - 1.0) > tolerance + 1e-9:
            batches = f"{clock.global_batch_size:g} in {clock.source} and {other.global_batch_size:g} in {other.source}"
            raise ValueError(f"the global batch is {batches}")
