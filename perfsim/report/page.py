"""A sweep as one HTML file: verdict, plans, trade-offs and each plan's parts, without a request to anywhere.

The file holds its style and its script, which a content security policy names by their hashes; what comes from spec
files is text by jinja2's escaping and, in the script's data, by JSON without `<`.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perfsim.errors import InputError
from perfsim.report.answer import Answer, nothing_lines
from perfsim.report.intervals import CAUSES_SHOWN
from perfsim.report.page_plans import AXES, MOST_TOLD, axis_records, front_of, plan_columns, rows_of_page
from perfsim.report.page_schedule import KINDS, schedule_record
from perfsim.report.page_verdict import verdict_record
from perfsim.report.table import basis_lines
from perfsim.report.text import TASK_TEXTS, counted_problems, search_line, workload_text
from perfsim.search.intervals import Intervals
from perfsim.simulation import Simulation
from perfsim.units import number_text, printable, usd_text

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep

INSTALL = "pip install 'perfsim[report]' (or pip install jinja2)"
TEMPLATES = Path(__file__).parent / "templates"
MOST_SCHEDULES = 6
MOST_MICROBATCHES = 4096  # of a step that is simulated
Simulate = Callable[["Sweep", int], Simulation]


@dataclass(frozen=True)
class Grid:
    """A table of texts under a title, such as which cards hold which model: the first cell of a row is its name.

    kinds: of each row's other cells a word for its looks: good, fair, poor or none.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Question:
    """What was asked, for the end of the page: the command, the user's own spec files that went into the answer."""

    command: str
    overrides: tuple[Path, ...] = ()


def check_page() -> None:
    """Refuses a page that could not be written, before anything is computed.

    Raises: InputError where jinja2 is missing.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise InputError(f"--html: needs jinja2, which is not installed; {INSTALL}") from None


def page_html(answers: Sequence[Answer], question: Question, simulate: Simulate, fit: Grid | None = None) -> str:
    """The page of all answers; simulate: the step of a sweep's row, piece by piece; fit: a table to show besides."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from perfsim import __version__

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=lambda text: printable(text) if type(text) is str else text,
    )  # fmt: skip
    parts = [_answer_record(answer, simulate) for answer in answers]
    style, script = (_file(environment, name) for name in ("page.css", "page.js"))
    data = {"answers": [part["data"] for part in parts], "kinds": KINDS}
    return environment.get_template("page.html").render(
        title=answers[0].name,
        answers=parts,
        fit=fit,
        command=question.command,
        overrides=[str(file) for file in question.overrides],
        version=__version__,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=embedded(data),
    )


def embedded(data: Any) -> str:
    r"""JSON that can stand in a script element: no text of it ends the element or begins a comment.

    >>> embedded({"name": "</script>"})
    '{"name":"\\u003c/script>"}'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _file(environment: Any, name: str) -> str:
    text: str = environment.loader.get_source(environment, name)[0]
    return text


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _answer_record(answer: Answer, simulate: Simulate) -> dict[str, Any]:
    """What the template takes of an answer; `data` is for the script."""
    sweep = answer.sweep
    told = {
        "task": TASK_TEXTS[sweep.workload.task],
        "workload": workload_text(sweep.workload),
        "search": search_line(sweep.certificate, sweep.objective),
        "reasons": [(f"{count:,}", problem.text) for problem, count in counted_problems(sweep.certificate.problems)],
        "data": {},
        "nothing": [],
    }
    if not answer.rows:
        return told | {"nothing": list(nothing_lines(sweep))}
    rows = rows_of_page(answer)
    ranges = answer.forecast(rows) if answer.forecast else ()
    shown = plan_columns(answer, rows, ranges)
    place = {row: i for i, row in enumerate(rows)}
    rows_told = [place[row] for row in answer.rows[:MOST_TOLD]]
    verdict = verdict_record(answer, place, ranges)
    data = shown | {
        "axes": axis_records(shown["plans"]["axes"]),
        "fronts": {f"{a}-{b}": [place[row] for row in front_of(sweep, (AXES[a], AXES[b])) if row in place]
                   for a, b in combinations(range(len(AXES)), 2)},
        "told": rows_told,
        "best": rows_told[0],
        "schedules": _schedules(sweep, rows, rows_told, simulate),
        "job": _job_facts(sweep),
    }  # fmt: skip
    return told | {
        "data": data,
        "verdict": verdict,
        "shown": shown,
        "told": rows_told,
        "told_title": _told_title(answer),
        "counts": _counts_text(answer, len(rows)),
        "basis": [*basis_lines(sweep, [_first_row(answer)]), *_reason(ranges, rows_told)],
        "causes": _causes(ranges[rows_told[0]]) if ranges else [],
    }


def _first_row(answer: Answer) -> dict[str, Any]:
    from perfsim.report.columns import columns, records

    return records(columns(answer.sweep, answer.rows[:1]))[0]


def _reason(ranges: Sequence[Intervals], told: Sequence[int]) -> Iterable[str]:
    if ranges:
        yield f"first row {ranges[told[0]].basis.text}"


def _causes(found: Intervals) -> list[tuple[str, int]]:
    """The numbers that make most of the first row's interval, with their shares of its variance [%]."""
    return [(one.name, round(100 * one.share)) for one in found.causes[: 2 * CAUSES_SHOWN]]


def _told_title(answer: Answer) -> str:
    if answer.figures:
        return "The front"
    has_one_card = len({system.gpu.key for system in answer.sweep.systems}) == 1
    return "Best plan of each count" if has_one_card else "Best plan of each card"


def _counts_text(answer: Answer, count: int) -> str:
    """How many plans the page holds of how many."""
    kept, told = len(answer.sweep), len(answer.rows)
    which = f"{count:,} of {kept:,}" if count < kept else f"All {kept:,}"
    text = f"{which} plans that were kept are on this page"
    cut = f"; the first {MOST_TOLD:,} of {told:,} rows of the answer" if told > MOST_TOLD else ""
    return f"{text}{cut}" + ("; --csv with --all writes every one" if count < kept else "")


def _job_facts(sweep: "Sweep") -> dict[str, str]:
    """The numbers of the job and the site that the figures of plans are made of."""
    workload, site = sweep.workload, sweep.site
    return {
        "steps": f"{float(workload.steps):,.0f}",
        "batch": f"{workload.global_batch_size:,}",
        "pue": f"{site.pue:g}",
        "kwh": usd_text(site.usd_per_kwh),
        "co2": number_text(site.co2_grams_per_kwh),
        "price": site.price,
    }


def _schedules(sweep: "Sweep", rows: Sequence[int], told: Sequence[int], simulate: Simulate) -> dict[int, Any]:
    """The schedules of the first plans with a pipeline, those of the table before the others."""
    stages = np.broadcast_to(sweep.plans.pipeline_parallel, (len(sweep),))
    places = [i for i in dict.fromkeys((*told, *range(len(rows)))) if stages[rows[i]] > 1]
    found = {}
    for i in places:
        plan = sweep.row(rows[i])[1]
        microbatches = sweep.workload.global_batch_size // int(plan.micro_batch_size * plan.data_parallel)
        if microbatches <= MOST_MICROBATCHES:
            found[i] = schedule_record(simulate(sweep, rows[i]))
        if len(found) == MOST_SCHEDULES:
            break
    return found
