"""A simulated step as a trace that Perfetto and chrome://tracing open: passes, hand-overs, memory, stage by stage.

Format: "Trace Event Format" (Google), complete events X, counters C and names M; times in microseconds.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from perfsim.graphs.schedule import BACKWARD, FORWARD, WEIGHT, Order
from perfsim.simulation import Simulation
from perfsim.units import MICRO

Event = dict[str, Any]
COMPUTE, FORWARD_SENDS, BACKWARD_SENDS, COLLECTIVES = range(4)
THREADS = {
    COMPUTE: "compute",
    FORWARD_SENDS: "activations to the next stage",
    BACKWARD_SENDS: "gradients to the stage before",
    COLLECTIVES: "collectives",
}
_COLLECTIVES = ("reduce gradients", "gather weights")


def trace_text(simulation: Simulation, title: str) -> str:
    """The trace as JSON, one event a line; `otherData` holds the step's seconds, simulated and in closed form."""
    other = {
        "title": title,
        "step_seconds": float(simulation.estimate.time.total_seconds),
        "simulated_seconds": simulation.step_seconds,
        "difference_seconds": simulation.difference_seconds,
        "difference": "simulation less closed form: stages that hold an end of the model take longer than the others",
    }
    lines = ",\n".join(json.dumps(event, allow_nan=False) for event in trace_events(simulation))
    return f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(other)}, "traceEvents": [\n{lines}\n]}}\n'


def trace_events(simulation: Simulation) -> list[Event]:
    """All events: names first, then by time."""
    events = [*_passes(simulation), *_sends(simulation), *_after(simulation), *_memory(simulation)]
    events.sort(key=lambda event: event["ts"])
    return [*_names(simulation.timeline.order.stages), *events]


def _names(stages: int) -> Iterator[Event]:
    for stage in range(stages):
        name = {"name": f"stage {stage}"}
        yield {"ph": "M", "pid": stage, "tid": 0, "name": "process_name", "args": name}
        yield {"ph": "M", "pid": stage, "tid": 0, "name": "process_sort_index", "args": {"sort_index": stage}}
        for thread, text in THREADS.items():
            yield {"ph": "M", "pid": stage, "tid": thread, "name": "thread_name", "args": {"name": text}}


def _complete(stage: int, thread: int, name: str, category: str, start: float, seconds: float, **args: int) -> Event:
    times = {"ts": start / MICRO, "dur": seconds / MICRO}
    return {"ph": "X", "pid": stage, "tid": thread, "name": name, "cat": category, **times, "args": args}


def _passes(simulation: Simulation) -> Iterator[Event]:
    order, line = simulation.timeline.order, simulation.timeline
    for piece, parts in enumerate(order.parts):
        shown = [part for part in (FORWARD, BACKWARD) if parts[part] >= 0] or [WEIGHT]
        name = " and ".join(_words(order, parts, part) for part in shown)
        kind = " and ".join(("forward", "backward", "weights")[part] for part in shown)
        start, took = float(line.start[piece]), float(line.end[piece] - line.start[piece])
        chunk, microbatch = divmod(int(parts[shown[0]]), order.microbatches)
        stage = int(order.stage[piece])
        yield _complete(stage, COMPUTE, name, kind, start, took, microbatch=microbatch, chunk=chunk)


def _words(order: Order, parts: np.ndarray, part: int) -> str:
    """What a part of a piece is called, such as "backward 3" or, of several chunks, "forward 3 of chunk 1"."""
    chunk, microbatch = divmod(int(parts[part]), order.microbatches)
    is_whole = part == BACKWARD and parts[WEIGHT] >= 0
    name = {FORWARD: "forward", BACKWARD: "backward" if is_whole else "input gradient", WEIGHT: "weight gradient"}[part]
    return f"{name} {microbatch}" + (f" of chunk {chunk}" if order.chunks > 1 else "")


def _sends(simulation: Simulation) -> Iterator[Event]:
    """Hand-overs from the end of the pass on; one that lasts longer than the next pass is drawn until that one's."""
    order, end = simulation.timeline.order, simulation.timeline.end
    for part, thread, name in ((FORWARD, FORWARD_SENDS, "activations"), (BACKWARD, BACKWARD_SENDS, "gradients")):
        sent = order.sends[part + 1] > 0
        pieces = np.sort(order.turns[order.waits[part + 1, sent]])
        for piece, after in pairwise([*pieces, -1]):
            is_next = after >= 0 and order.stage[after] == order.stage[piece]
            seconds = min(simulation.send_seconds, end[after] - end[piece]) if is_next else simulation.send_seconds
            microbatch = int(order.parts[piece, part]) % order.microbatches
            stage, start = int(order.stage[piece]), float(end[piece])
            yield _complete(stage, thread, name, "send", start, float(seconds), microbatch=microbatch)


def _after(simulation: Simulation) -> Iterator[Event]:
    start = float(simulation.timeline.total_seconds)
    for name, seconds in simulation.after.items():
        thread = COLLECTIVES if name in _COLLECTIVES else COMPUTE
        for stage in range(simulation.timeline.order.stages) if seconds > 0 else ():
            yield _complete(stage, thread, name, "after the passes", start, seconds)
        start += seconds


def _memory(simulation: Simulation) -> Iterator[Event]:
    """Bytes of a GPU of each stage, told when a piece starts and when a stage falls idle for good."""
    order, line = simulation.timeline.order, simulation.timeline
    for piece, held in enumerate(simulation.held_bytes):
        yield _counter(int(order.stage[piece]), float(line.start[piece]), float(held))
    for stage, last in enumerate(order.starts[1:] - 1):
        yield _counter(stage, float(line.end[last]), simulation.base_bytes)


def _counter(stage: int, seconds: float, held: float) -> Event:
    return {"ph": "C", "pid": stage, "tid": 0, "name": "memory", "ts": seconds / MICRO, "args": {"bytes": round(held)}}
