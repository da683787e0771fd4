"""One plan, or two of them side by side, as Markdown to paste into a request for funds.

It holds the plan, its figures with intervals and bases, what they rest on and assume, and the command that gives them
again. Figures come from the records of `perfsim estimate --json`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfsim.core.site import Site
from perfsim.report.export import markdown_inline, markdown_text
from perfsim.report.intervals import JOB_ROWS, ROWS
from perfsim.report.text import cards_text, memory_text, money_text, plan_text
from perfsim.report.waterfall import signed, waterfalls
from perfsim.units import NO_NUMBER, number_text, percent_text, printable, usd_text

Record = Mapping[str, Any]
_BASIS = {"job_kwh": "energy_basis", "job_kg_co2": "energy_basis", "memory_bytes": "memory_basis"}
_ONE_STEP = "the job's length is not told, so job figures are of one step"
_ASSUMED = (
    "All GPUs of a plan are alike and nothing else runs on them.",
    "Data arrive as fast as they are trained on; evaluation is not counted.",
    "90 of 100 measurements are expected inside the intervals; perfsim validate shows how often they were.",
)


@dataclass(frozen=True)
class Asked:
    """A plan's record and what the record does not tell. job: in a line; sources: of card, system and software."""

    record: Record
    job: str = ""
    has_job: bool = True
    sources: Mapping[str, str] = field(default_factory=dict)


def plan_markdown(plan: Asked, site: Site, command: str) -> str:
    """One plan, for somebody who decides on money."""
    record = plan.record
    parts = [f"# {_line(_title(record))}\n", _verdict(record), "## Figures\n", _figures(plan), "## Plan\n"]
    parts += [_bullets(_plan_lines(plan)), *_rest([plan], site, command)]
    return "\n".join(parts)


def comparison_markdown(a: Asked, b: Asked, lines: Sequence[str], site: Site, command: str) -> str:
    """Two plans: figures side by side, which parts make the difference, and how sure that is.

    lines: the sentences of the choice between them.
    """
    parts = ["# Two plans compared\n"]
    for letter, plan in (("A", a), ("B", b)):
        parts += [f"**{letter}: {_line(_title(plan.record))}.** {_verdict(plan.record)}"]
    if lines:
        parts += [_bullets(lines)]
    parts += ["## Figures\n", _both(a, b), *_differences(a, b)]
    for letter, plan in (("A", a), ("B", b)):
        parts += [f"## Plan {letter}\n", _bullets(_plan_lines(plan))]
    return "\n".join([*parts, *_rest([a, b], site, command)])


def _title(record: Record) -> str:
    return f"{record['model']} {record['task']} on {cards_text(record)}"


def _verdict(record: Record) -> str:
    """Whether it runs, and what the job takes."""
    if reasons := _problems(record):
        return f"It cannot run: {_line(reasons)}.\n"
    if not _amount(record.get("job_usd")):
        return f"{number_text(record['job_hours'])} hours; no price is known.\n"
    ends = [usd_text(end) for end in map(_amount, (record.get("job_usd_low"), record.get("job_usd_high"))) if end]
    between = f" (90 %: {' to '.join(ends)})" if ends else ""
    return f"{number_text(record['job_hours'])} hours and {money_text(record['job_usd'])}{between}.\n"


def _figures(plan: Asked) -> str:
    rows = []
    for figure, title, size in _shown(plan):
        record = plan.record
        ends = [_number(record.get(f"{figure}_{end}"), size) for end in ("low", "high")]
        basis = str(record.get(_BASIS.get(figure, "basis"), NO_NUMBER))
        rows.append((title, ends[0], _number(record[figure], size), ends[1], basis))
    return markdown_text(("figure", "low", "predicted", "high", "basis"), rows)


def _both(a: Asked, b: Asked) -> str:
    known = {figure for figure, *_ in _shown(b)}
    rows = [
        (title, *(_interval(plan.record, figure, size) for plan in (a, b)))
        for figure, title, size in _shown(a)
        if figure in known
    ]
    return markdown_text(("figure (90 % interval)", "A", "B"), rows)


def _shown(plan: Asked) -> list[tuple[str, str, float]]:
    """The figures that there are; power has its basis elsewhere."""
    rows = (*(JOB_ROWS if plan.has_job else ()), *ROWS)
    return [row for row in rows if row[0] != "watts_per_gpu" and _amount(plan.record.get(row[0]))]


def _interval(record: Record, figure: str, size: float) -> str:
    ends = [_number(record.get(f"{figure}_{end}"), size) for end in ("low", "high")]
    return f"{_number(record[figure], size)}" + (f" ({ends[0]}-{ends[1]})" if NO_NUMBER not in ends else "")


def _number(value: Any, size: float) -> str:
    amount = _amount(value)
    return NO_NUMBER if amount is None else number_text(amount / size)


def _amount(value: Any) -> float | None:
    """The number that a record holds; one that was read from a file may hold anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _problems(record: Record) -> str:
    found = record.get("problems")
    return "; ".join(map(str, found)) if isinstance(found, list) else ""


def _differences(a: Asked, b: Asked) -> Iterator[str]:
    """The parts that make the difference, a table a figure."""
    if _problems(a.record) or _problems(b.record):
        return
    for fall in waterfalls(a.record, b.record):
        rows = [(name, number_text(one), number_text(two), signed(more)) for name, one, two, more in fall.largest()]
        one, two = fall.totals
        rows.append(("total", number_text(one), number_text(two), signed(two - one)))
        yield f"## What makes the difference: {fall.title}, {fall.unit}\n"
        yield markdown_text(("part", "A", "B", "B - A"), rows)


def _plan_lines(plan: Asked) -> Iterator[str]:
    record = plan.record
    if plan.job:
        yield f"job: {plan.job}"
    yield f"GPUs: {cards_text(record)}" + (f" in {record['system']}" if record.get("system") else "")
    yield f"split: {plan_text(record)} ({_words(record)})"
    yield f"memory of the fullest GPU: {memory_text(record)}"
    if record.get("software"):
        yield f"software: {record['software']}, {record.get('precision', '')}"


def _words(record: Record) -> str:
    """The plan's letters spelt out."""
    degrees = (("tensor", "tensor_parallel"), ("pipeline", "pipeline_parallel"), ("data", "data_parallel"),
               ("context", "context_parallel"), ("expert", "expert_parallel"))  # fmt: skip
    named = [f"{name} parallel {record[key]}" for name, key in degrees if record[key] > 1]
    named += [f"ZeRO stage {record['zero_stage']}"] if record["zero_stage"] else []
    return ", ".join([*named, f"micro-batches of {record['micro_batch_size']}", f"recomputation {record['recompute']}"])


def _rest(plans: Sequence[Asked], site: Site, command: str) -> Iterator[str]:
    """What the figures rest on, what they assume, and how to get them again."""
    from perfsim import __version__

    yield "## What it rests on\n"
    yield _bullets(dict.fromkeys(line for plan in plans for line in _basis_lines(plan)))
    yield "## Assumptions\n"
    electricity = (
        f"Electricity {usd_text(site.usd_per_kwh)}/kWh, PUE {site.pue:g}, {site.co2_grams_per_kwh:g} g CO2/kWh"
    )
    lengths = [] if all(plan.has_job for plan in plans) else [f"{_ONE_STEP[0].upper()}{_ONE_STEP[1:]}."]
    yield _bullets([*lengths, *_ASSUMED, f"{electricity}: assumed unless told."])
    yield "## Reproduce\n"
    yield f"perfsim {__version__}, needs no GPU:\n"
    yield f"    {printable(command)}\n"


def _basis_lines(plan: Asked) -> Iterator[str]:
    record = plan.record
    card = cards_text(record).partition("x ")[2]
    if record.get("basis"):
        words = (("time", "basis"), ("energy", "energy_basis"), ("memory", "memory_basis"))
        told = ", ".join(f"{what} {record.get(key, NO_NUMBER)}" for what, key in words)
        reason = f"; why no better: {record['basis_reason']}" if record.get("basis_reason") else ""
        yield f"{card}: {told}{reason}"
    if record.get("price_basis"):
        yield f"price of {card}: {record['price_basis']}"
    if plan.has_job and _amount(record.get("goodput")):
        yield f"hours of the job hold start-up, saves and failures: goodput {percent_text(record['goodput'])}"
    for what, source in plan.sources.items():
        yield f"{what}: {source}"


def _bullets(lines: Any) -> str:
    return "".join(f"- {_line(line)}\n" for line in lines)


def _line(text: str) -> str:
    return markdown_inline(text)
