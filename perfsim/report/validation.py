"""How far predictions lie from measured runs, as a table for people and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.calibration.accuracy import LEFT_OUT, Accuracy, Group
from perfsim.calibration.budgets import Budget
from perfsim.calibration.validate import Replayed
from perfsim.report.export import csv_text, json_text
from perfsim.units import printable

MOST_GROUPS, MOST_REASONS = 40, 8
MEMORY_TITLES = ("n", "MAPE", "median", "p90", "bias", "inside")
TIME_TITLES = (*MEMORY_TITLES, "constant")
KINDS = {"set": "set", "source": "source", "gpu": "card", "model": "model", "software": "software"}
LEFT_OUT_TITLES = ("source left out", "card left out", "software left out")


def validation_lines(groups: Sequence[Group], by: str) -> Iterator[RenderableType]:
    """The verdict on all runs, a row for each group, the worst rows and why runs were not replayed."""
    everything = groups[0]
    yield from (Text(line) for line in verdict_lines(everything))
    if everything.time.count:
        yield Text("")
        yield Text("step time")
        yield _table(by, TIME_TITLES, [(g.name, time_cells(g)) for g in groups if g.time.count])
    if any(found.count for found in everything.left_out.values()):
        yield Text("")
        yield Text(
            "step time with a run's own source, card or software left out of every fit: MAPE, median, bias, inside"
        )
        yield _table(by, LEFT_OUT_TITLES, [(g.name, left_out_cells(g)) for g in groups if g.time.count])
    if everything.memory.count:
        yield Text("")
        yield Text("peak memory")
        yield _table(by, MEMORY_TITLES, [(g.name, memory_cells(g)) for g in groups if g.memory.count])
    yield Text("")
    worst = ", ".join(f"{printable(r.run.run_id)} {_percent(r.time_error, signed=True)}" for r in everything.worst)
    yield Text(f"worst steps: {worst or 'none'}")
    for reason, count in list(everything.reasons.items())[:MOST_REASONS]:
        yield Text(f"not replayed, {count:,}: {printable(reason)}")
    yield Text("errors are predicted / measured - 1 in %; constant: MAPE of the constant-utilisation baseline")
    if everything.time.coverage is not None:
        yield Text("inside: share of the measurements that lie inside their 90 % intervals")


def verdict_lines(everything: Group) -> Iterator[str]:
    """What is said of all runs."""
    replayed = everything.runs - sum(everything.reasons.values())
    time = everything.time
    yield f"{replayed:,} of {everything.runs:,} runs replayed; step time of {time.count:,}: {_words(time)}"
    for kind, found in everything.left_out.items():
        if found.count:
            yield f"with its own {KINDS[kind]} left out of every fit: {_words(found)}"
    yield f"constant utilisation per source and precision, leave one out: {_words(everything.baseline)}"
    yield f"peak memory of {everything.memory.count:,}: {_words(everything.memory)}"
    yield (
        f"of runs that ran {everything.fits_right:,} may fit, {everything.fits_wrong:,} are called impossible; "
        f"of runs out of memory {everything.oom_right:,} are foreseen or at risk, {everything.oom_wrong:,} called safe"
    )


def time_cells(group: Group) -> list[str]:
    """A row under TIME_TITLES."""
    return [*_cells(group.time), _percent(group.baseline.mean)]


def memory_cells(group: Group) -> list[str]:
    """A row under MEMORY_TITLES."""
    return _cells(group.memory)


def left_out_cells(group: Group) -> list[str]:
    """A row under LEFT_OUT_TITLES: MAPE, median and bias for each kind, and the share inside its interval."""
    found = [group.left_out[kind] for kind in LEFT_OUT]
    inside = ["" if a.coverage is None else f" {100 * a.coverage:.0f}" for a in found]
    return [
        " ".join((_percent(a.mean), _percent(a.median), _percent(a.bias, signed=True))) + share
        for a, share in zip(found, inside, strict=True)
    ]


def _table(by: str, titles: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> Table:
    """A row a group, without columns that say nothing; after MOST_GROUPS of them, how many more there are."""
    kept = [i for i in range(len(titles)) if any(cells[i].strip("- ") for _, cells in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(by)
    for i in kept:
        table.add_column(titles[i], justify="right", no_wrap=True)
    for name, cells in rows[: MOST_GROUPS + 1]:
        table.add_row(Text(printable(name)), *(cells[i] for i in kept))
    if len(rows) > MOST_GROUPS + 1:
        table.add_row(Text(f"... {len(rows) - MOST_GROUPS - 1} more in --json"))
    return table


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


def budgets_text(budgets: Sequence[Budget]) -> str:
    """The budgets as CSV, in per cent."""
    columns: dict[str, list[Any]] = {
        "kind": [one.kind for one in budgets],
        "group": [one.group for one in budgets],
        "quantity": [one.quantity for one in budgets],
        "measurements": [one.count for one in budgets],
        "mape_percent": [_percent(one.mape) for one in budgets],
        "bias_percent": [_percent(one.bias) for one in budgets],
    }
    return csv_text(columns)


def _row(one: Replayed) -> dict[str, Any]:
    run = one.run
    return {
        "run_id": run.run_id,
        "source": run.source,
        "gpu": run.gpu_key,
        "model": run.model_key,
        "measured_step_seconds": run.measured_step_seconds or None,
        "predicted_step_seconds": one.predicted_step_seconds or None,
        "predicted_low_seconds": one.low_step_seconds or None,
        "predicted_high_seconds": one.high_step_seconds or None,
        "left_out_step_seconds": {kind: vars(found) for kind, found in one.left_out.items()},
        "baseline_step_seconds": one.baseline_step_seconds or None,
        "measured_peak_memory_bytes": run.measured_peak_memory_bytes or None,
        "predicted_peak_memory_bytes": one.predicted_peak_memory_bytes or None,
        "predicted_low_bytes": one.low_peak_memory_bytes or None,
        "predicted_high_bytes": one.high_peak_memory_bytes or None,
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
        "left_out_step_seconds": {kind: _accuracy(found) for kind, found in group.left_out.items() if found.count},
        **{name: getattr(group, name) for name in verdicts},
        "not_replayed": group.reasons,
        "worst": [r.run.run_id for r in group.worst],
    }


def _accuracy(found: Accuracy) -> dict[str, Any]:
    return {
        "count": found.count, "mape": found.mean, "median": found.median, "p90": found.ninetieth, "bias": found.bias,
        "coverage": found.coverage,
    }  # fmt: skip


def _words(found: Accuracy) -> str:
    if found.mean is None:
        return "nothing to compare"
    inside = "" if found.coverage is None else f", inside the interval {_percent(found.coverage)}"
    bias = _percent(found.bias, signed=True)
    return f"MAPE {_percent(found.mean)} %, median {_percent(found.median)}, bias {bias}{inside}"


def _cells(found: Accuracy) -> list[str]:
    return [
        f"{found.count:,}", *(_percent(x) for x in (found.mean, found.median, found.ninetieth)),
        _percent(found.bias, signed=True), _percent(found.coverage),
    ]  # fmt: skip


def _percent(share: float | None, signed: bool = False) -> str:
    if share is None:
        return "-"
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"
