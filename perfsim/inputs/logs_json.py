"""Logs in JSON: the Hugging Face Trainer's state and results, and traces of PyTorch's profiler."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perfsim.calibration.readings import Reading, Span, spans_between, timed
from perfsim.errors import InputError
from perfsim.inputs.files import MAX_WHOLE_NUMBER, problem
from perfsim.units import MICRO

HF = "Hugging Face Trainer"
ROUNDED = 0.0005  # samples and steps a second are told with three decimals
BATCH_TOLERANCE = 0.02  # the last batch of an epoch may be smaller, or dropped
_STEP = re.compile(r"ProfilerStep#?\s?(\d{1,12})")
_ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
Table = dict[str, Any]


def is_json(text: str) -> bool:
    """Whether the text means to be JSON: it begins with a bracket that no line of a log begins with."""
    return re.match(r'\s*(\{\s*("|\}|$)|\[\s*(\{|\]|$))', text) is not None


def read_json_log(path: Path, text: str) -> Reading:
    """What a JSON log tells.

    Raises: InputError for broken JSON and for what is none of the known logs.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        what = f"not valid JSON: {error.msg} (column {error.colno})"
        raise InputError(problem(path, error.lineno, what, "give the whole file; was its writer stopped?")) from None
    except (ValueError, RecursionError) as error:
        raise InputError(problem(path, None, f"not valid JSON: {error}", "correct it")) from None
    if isinstance(data, list):
        data = {"traceEvents": data}
    if isinstance(data.get("log_history"), list):
        return trainer_reading(path, data)
    if isinstance(data.get("traceEvents"), list):
        return trace_reading(path, data)
    if "train_runtime" in data:
        return trainer_reading(path, {"log_history": [data]})
    what = "is JSON, but neither a trainer_state.json, an all_results.json nor a profiler's trace"
    raise InputError(problem(path, 1, what, "give one of these"))


def trainer_reading(path: Path, data: Table) -> Reading:
    """What the Trainer's state tells.

    The last entry of a training has its whole seconds, evaluations in it among them, which are taken off where their
    seconds stand before it. Only with include_num_input_tokens_seen do the entries of steps have seconds, too. A
    training that was resumed counts the steps of before without their seconds, and does not say so.
    Source: huggingface/transformers:src/transformers/trainer_callback.py (TrainerState),
    src/transformers/trainer_utils.py (speed_metrics), src/transformers/trainer.py (log).
    Raises: InputError for a state without seconds, such as that of a checkpoint.
    """
    entries = [entry for entry in data["log_history"] if isinstance(entry, dict)]
    last = next((i for i in reversed(range(len(entries))) if _number(entries[i], "train_runtime")), None)
    if last is None:
        todo = "call trainer.save_state() after trainer.train(), or give all_results.json"
        raise InputError(problem(path, None, "holds no train_runtime: a checkpoint's state has no seconds", todo))
    final = entries[last]
    runtime, rate = _number(final, "train_runtime"), _number(final, "train_steps_per_second")
    steps = int(_number(data, "global_step") or _number(final, "step") or round(runtime * rate))
    base = _with_batch(Reading(HF, path.name, software_text=HF), data, final, steps)
    stamps = [(int(_number(e, "step")), _number(e, "train_runtime")) for e in entries[: last + 1]]
    spans = spans_between([(step, second) for step, second in stamps if step and second])
    if len(spans) >= 2:
        return timed(base, spans)
    evaluation = sum(_number(entry, "eval_runtime") for entry in entries[:last])
    if steps < 1 or runtime <= evaluation:
        raise InputError(problem(path, None, "does not say how many steps it took", "give trainer_state.json"))
    remarks = ["the mean of all steps, the first ones and saving among them"]
    remarks += ["evaluation is taken off"] if evaluation else []
    reading = timed(base, [Span(steps, steps, (runtime - evaluation) / steps)])
    return replace(reading, remarks=tuple(remarks), is_rough=True)


def _with_batch(reading: Reading, data: Table, final: Table, steps: int) -> Reading:
    """The reading with the sequences a step that samples a second and steps mean, of max_steps where steps stopped."""
    rate, runtime = _number(final, "train_samples_per_second"), _number(final, "train_runtime")
    meant = _number(data, "max_steps") or steps
    if not rate or not meant or rate < 20 * ROUNDED:
        return reading
    epochs = _number(data, "num_train_epochs") or 1.0
    tolerance = BATCH_TOLERANCE + ROUNDED / rate + min(epochs / meant, 1.0)
    return replace(reading, global_batch_size=rate * runtime / meant, batch_tolerance=tolerance)


def trace_reading(path: Path, data: Table) -> Reading:
    """What a trace of PyTorch's profiler tells: its steps, how long the GPU was busy in them, allocated memory.

    Times are in microseconds. Memory stands in the events of profile_memory=True.
    Source: pytorch/kineto:libkineto/src/output_json.cpp.
    Raises: InputError for a trace without steps.
    """
    events = [event for event in data["traceEvents"] if isinstance(event, dict)]
    steps = sorted(_steps(events))
    if not steps:
        todo = "profile with a schedule, and call profiler.step() after each step"
        raise InputError(problem(path, None, "the trace has no ProfilerStep", todo))
    begin, end = steps[0][1], max(start + duration for _, start, duration in steps)
    ranks = data.get("distributedInfo")
    gpus = int(_number(ranks, "world_size")) if isinstance(ranks, dict) else 0
    memory = _allocated_bytes(events)
    base = Reading(
        format="PyTorch profiler",
        source=path.name,
        peak_memory_bytes=memory,
        memory_kind="allocated" if memory else "",
        busy_share=_busy_share(events, begin, end),
        gpu_text=_card(data),
        software_text="PyTorch",
        is_rough=True,
        stated={"gpus": gpus} if gpus else {},
        remarks=("profiling slows the step down",),
    )
    return timed(base, [Span(number, 1, duration * MICRO) for number, _, duration in steps])


def _steps(events: list[Table]) -> Iterator[tuple[int, float, float]]:
    """(number, start, duration) of every step [us], once: the GPU's copy of the host's mark is left out."""
    for event in events:
        name, duration = event.get("name"), _number(event, "dur")
        found = _STEP.fullmatch(name) if isinstance(name, str) else None
        if found and duration and event.get("cat") != "gpu_user_annotation":
            yield int(found[1]), _number(event, "ts"), duration


def _busy_share(events: list[Table], begin: float, end: float) -> float:
    """The share of the time from `begin` to `end` in which any kernel or copy runs, of one GPU the most."""
    if end <= begin:  # of times beyond what a float tells apart
        return 0.0
    spans: dict[float, list[tuple[float, float]]] = {}
    for event in events:
        arguments = event.get("args")
        if event.get("cat") in _ON_GPU and isinstance(arguments, dict):
            start = _number(event, "ts")
            spans.setdefault(_number(arguments, "device"), []).append((start, start + _number(event, "dur")))
    return max((_covered(found, begin, end) / (end - begin) for found in spans.values()), default=0.0)


def _covered(spans: list[tuple[float, float]], begin: float, end: float) -> float:
    """Length of the union of the spans between `begin` and `end`."""
    ordered = np.clip(np.array(sorted(spans)), begin, end)
    reached = np.maximum.accumulate(np.concatenate(([begin], ordered[:, 1])))[:-1]
    return float(np.sum(np.maximum(ordered[:, 1] - np.maximum(ordered[:, 0], reached), 0.0)))


def _allocated_bytes(events: list[Table]) -> float:
    """The most that PyTorch had allocated on a GPU, 0 where the trace has no such events."""
    most = 0.0
    for event in events:
        arguments = event.get("args")
        if event.get("name") == "[memory]" and isinstance(arguments, dict) and arguments.get("Device Type", 1) == 1:
            most = max(most, _number(arguments, "Total Allocated"))
    return most


def _card(data: Table) -> str:
    cards = data.get("deviceProperties")
    name = cards[0].get("name") if isinstance(cards, list) and cards and isinstance(cards[0], dict) else ""
    return name[:100] if isinstance(name, str) else ""


def _number(table: Table, key: str) -> float:
    """The number at `key`, 0 where there is none that is finite and positive."""
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_WHOLE_NUMBER:
        return 0.0
    return float(value) if math.isfinite(value) else 0.0
