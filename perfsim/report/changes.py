"""What would make a plan fit or meet its deadline, as a table."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from perfsim.core.site import Site
from perfsim.report.case import Case
from perfsim.report.columns import plan_row
from perfsim.report.text import cards_text, hours_text, money_text, plan_text
from perfsim.search.changes import Changed, is_enough
from perfsim.units import GIB, number_text, printable, seconds_text

SHOWN = 12


def change_lines(letter: str, case: Case, changes: Sequence[Changed], site: Site) -> Iterator[RenderableType]:
    """Nothing where the plan is good as it is; else the changes, cheapest first, each with its price."""
    if is_enough(case.estimate, site):
        return
    yield Text("")
    goal = "fit and meet the deadline" if site.deadline_hours else "surely fit"
    if not changes:
        yield Text(f"Nothing small makes {letter} {goal}; a sweep looks further: perfsim sweep SCENARIO")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(f"{letter} would {goal} with", overflow="fold")
    table.add_column("plan", overflow="fold")
    for header in ("GiB", "step", "the job", "USD"):
        table.add_column(header, justify="right", no_wrap=True)
    for changed in changes[:SHOWN]:
        job = changed.job
        row = plan_row(job.workload, job.system, job.plan, changed.estimate, site)
        note = "" if changed.is_same_training else " (trains otherwise)"
        plan = f"{cards_text(row)}, {plan_text(row)}"
        figures = (number_text(row["memory_bytes"] / GIB), seconds_text(row["step_seconds"]))
        table.add_row(
            printable(changed.text) + note, plan, *figures, hours_text(row["job_hours"]), money_text(row["job_usd"])
        )
    yield table
