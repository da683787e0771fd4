"""How far predictions lie from measured runs, as a table for people and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.calibration.validate import Accuracy, Group, Replayed
from perfsim.report.export import json_text
from perfsim.units import printable

MOST_GROUPS, MOST_REASONS = 40, 8


def validation_lines(groups: Sequence[Group], by: str) -> Iterator[RenderableType]:
    """The verdict on all runs, a row for each group, the worst rows and why runs were not replayed."""
    everything = groups[0]
    replayed = everything.runs - sum(everything.reasons.values())
    time, base = everything.time, everything.baseline
    yield Text(f"{replayed:,} of {everything.runs:,} runs replayed; step time of {time.count:,}: {_words(time)}")
    yield Text(f"constant utilisation per source and precision, leave one out: {_words(base)}")
    yield Text(f"peak memory of {everything.memory.count:,}: {_words(everything.memory)}")
    yield Text(
        f"of runs that ran {everything.fits_right:,} may fit, {everything.fits_wrong:,} are called impossible; "
        f"of runs out of memory {everything.oom_right:,} are foreseen or at risk, {everything.oom_wrong:,} called safe"
    )
    yield Text("")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(by)
    for title in ("runs", "steps", "MAPE", "median", "p90", "bias", "constant", "memory"):
        table.add_column(title, justify="right")
    for group in groups[: MOST_GROUPS + 1]:
        time = group.time
        table.add_row(
            Text(printable(group.name)), f"{group.runs:,}", f"{time.count:,}",
            *(_percent(x) for x in (time.mean, time.median, time.ninetieth)), _percent(time.bias, signed=True),
            _percent(group.baseline.mean), _percent(group.memory.mean),
        )  # fmt: skip
    yield table
    if len(groups) > MOST_GROUPS + 1:
        yield Text(f"... {len(groups) - MOST_GROUPS - 1} more groups in --json")
    yield Text("")
    worst = ", ".join(f"{printable(r.run.run_id)} {_percent(r.time_error, signed=True)}" for r in everything.worst)
    yield Text(f"worst steps: {worst or 'none'}")
    for reason, count in list(everything.reasons.items())[:MOST_REASONS]:
        yield Text(f"not replayed, {count:,}: {printable(reason)}")
    yield Text("errors are predicted / measured - 1 in %; constant: MAPE of the constant-utilisation baseline")


def mapped_line(replayed: Sequence[Replayed]) -> Text:
    """How many runs stand on a software entry that does not describe their stack exactly, and on assumptions."""
    notes = sum(bool(r.run.software_note) for r in replayed)
    assumed = sum(bool(r.assumptions) for r in replayed)
    return Text(
        f"{notes:,} runs are mapped to the nearest software, {assumed:,} rest on assumptions (--json says which)"
    )


def validation_json(replayed: Sequence[Replayed], groups: Sequence[Group], by: str) -> str:
    """{"rows": one record a run, "summary": one a group}; shares of one, seconds, bytes; null: nothing to compare."""
    return json_text({"rows": [_row(r) for r in replayed], "by": by, "summary": [_group(g) for g in groups]})


def _row(one: Replayed) -> dict[str, Any]:
    run = one.run
    return {
        "run_id": run.run_id,
        "source": run.source,
        "gpu": run.gpu_key,
        "model": run.model_key,
        "measured_step_seconds": run.measured_step_seconds or None,
        "predicted_step_seconds": one.predicted_step_seconds or None,
        "baseline_step_seconds": one.baseline_step_seconds or None,
        "measured_peak_memory_bytes": run.measured_peak_memory_bytes or None,
        "predicted_peak_memory_bytes": one.predicted_peak_memory_bytes or None,
        "memory_kind": run.memory_kind or None,
        "outcome": run.outcome,
        "fit_probability": None if one.problem else one.fit_probability,
        "software": run.software.key if run.software else None,
        "software_note": run.software_note,
        "assumptions": list(one.assumptions),
        "problem": one.problem,
    }


def _group(group: Group) -> dict[str, Any]:
    verdicts = ("fits_right", "fits_wrong", "oom_right", "oom_wrong")
    return {
        "group": group.name,
        "runs": group.runs,
        "step_seconds": _accuracy(group.time),
        "baseline_step_seconds": _accuracy(group.baseline),
        "peak_memory_bytes": _accuracy(group.memory),
        **{name: getattr(group, name) for name in verdicts},
        "not_replayed": group.reasons,
        "worst": [r.run.run_id for r in group.worst],
    }


def _accuracy(found: Accuracy) -> dict[str, Any]:
    return {
        "count": found.count, "mape": found.mean, "median": found.median, "p90": found.ninetieth, "bias": found.bias,
    }  # fmt: skip


def _words(found: Accuracy) -> str:
    if found.mean is None:
        return "nothing to compare"
    return f"MAPE {_percent(found.mean)} %, median {_percent(found.median)}, bias {_percent(found.bias, signed=True)}"


def _percent(share: float | None, signed: bool = False) -> str:
    if share is None:
        return "-"
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"
