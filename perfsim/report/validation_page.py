"""The accuracy on perfsim's own runs as a page: every group, sets that have a name, and what rivals reach on them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from perfsim.calibration.accuracy import Group, Rival
from perfsim.calibration.ranking import Choice, Ranking
from perfsim.calibration.validate import Replayed
from perfsim.report.export import markdown_text, write
from perfsim.report.picture import write_picture
from perfsim.report.ranking import TITLES
from perfsim.report.scatter_plot import scatter_picture
from perfsim.report.validation import (
    KINDS,
    LEFT_OUT_TITLES,
    MEMORY_TITLES,
    TIME_TITLES,
    left_out_cells,
    memory_cells,
    time_cells,
    verdict_lines,
)

PAGE, TIME_PICTURE, MEMORY_PICTURE = "validation-results.md", "validation-scatter.svg", "validation-scatter-memory.svg"
_INTRODUCTION = f"""# Validation results

Written by `perfsim validate --page docs`; do not edit. [Validation](validation.md) tells what is compared and how. All
figures are of the runs that come with perfsim, scenarios/validation/runs.csv.

Errors are predicted / measured - 1 in %. *MAPE*, *median* and *p90* are of its size, *bias* is its mean. *inside* is
the share of the measurements that lie inside their 90 % intervals. *constant* is the MAPE of the rule of thumb that any
model must beat: one utilisation for each source and precision, leave one out. What is *left out* is left out of every
fit that a prediction rests on; the figures are MAPE, median, bias and the share inside its
interval. Columns that would be empty are not shown.

![Predicted and measured step times]({TIME_PICTURE})

![Predicted and measured peak memory]({MEMORY_PICTURE})
"""


def write_page(
    folder: str,
    replayed: Sequence[Replayed],
    accounts: Mapping[str, Sequence[Group]],
    rivals: Sequence[Rival],
    order: Mapping[Choice, Sequence[Ranking]],
) -> None:
    """Writes the page and its two pictures into the folder; see page_text.

    Raises: InputError when a file cannot be written.
    """
    repositories = {one.run.collection: re.split(r"[@:]", one.run.source)[0] for one in replayed}
    write(str(Path(folder) / PAGE), page_text(accounts, rivals, order, repositories))
    write_picture(str(Path(folder) / TIME_PICTURE), lambda: scatter_picture(replayed, "time"))
    write_picture(str(Path(folder) / MEMORY_PICTURE), lambda: scatter_picture(replayed, "memory"))


def page_text(
    accounts: Mapping[str, Sequence[Group]],
    rivals: Sequence[Rival],
    order: Mapping[Choice, Sequence[Ranking]],
    repositories: Mapping[str, str],
) -> str:
    """The page as Markdown.

    accounts: as accuracy.summaries has them; order: the rankings of each choice; repositories: where a source's runs
    were published.
    """
    parts = [_INTRODUCTION, "## All runs\n", "".join(f"- {line}\n" for line in verdict_lines(accounts["set"][0]))]
    parts += ["## Sets that have a name\n", _SETS, _times("set", accounts["set"], "rivals", _figures_of(rivals))]
    parts += ["The rivals' figures, from scenarios/validation/rivals.csv:\n", _sources(rivals)]
    for kind in ("source", "gpu", "model", "software"):
        notes = repositories if kind == "source" else {}
        parts += [f"## Step time by {KINDS[kind]}\n", _times(kind, accounts[kind], "published in", notes)]
    for kind, groups in accounts.items():
        rows = [(group.name, memory_cells(group)) for group in groups if group.memory.count]
        parts += [f"## Peak memory by {KINDS[kind]}\n", _table(KINDS[kind], MEMORY_TITLES, rows)]
    parts += ["## Is the best by prediction the best by measurement?\n", _order(order)]
    return "\n".join(parts)


_SETS = """Measurements that others quote, and sources cut where they differ: scenarios/validation/sets.csv. The first
five are anchors, which are never fitted. *rivals*: MAPE of other programs, the best first.
"""


def _times(kind: str, groups: Sequence[Group], title: str, notes: Mapping[str, str]) -> str:
    """A row a group with measured steps, a note by its name at the end."""
    titles = [*TIME_TITLES, *LEFT_OUT_TITLES, title]
    rows = [
        (group.name, [*time_cells(group), *left_out_cells(group), notes.get(group.name, "")])
        for group in groups
        if group.time.count
    ]
    return _table(KINDS[kind], titles, rows)


def _table(first: str, titles: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> str:
    """Without columns that say nothing."""
    kept = [i for i in range(len(titles)) if any(cells[i].strip("- ") for _, cells in rows)]
    cut = [[name, *(cells[i] for i in kept)] for name, cells in rows]
    return markdown_text([first, *(titles[i] for i in kept)], cut)


def _figures_of(rivals: Sequence[Rival]) -> dict[str, str]:
    """What rivals reach on each set, the best first."""
    found: dict[str, list[Rival]] = {}
    for one in rivals:
        found.setdefault(one.set_name, []).append(one)
    return {
        name: ", ".join(f"{_figure(one)} {one.name}{_remark(one)}" for one in sorted(ones, key=lambda one: one.mape))
        for name, ones in found.items()
    }


def _figure(one: Rival) -> str:
    return f"{100 * one.mape:.1f}"


def _remark(one: Rival) -> str:
    return f" ({one.remark})" if one.remark else ""


def _sources(rivals: Sequence[Rival]) -> str:
    rows = [[one.set_name, one.name, _figure(one), f"{one.rows:,}", one.source + _remark(one)] for one in rivals]
    return markdown_text(["set", "rival", "MAPE", "rows", "source"], rows)


def _order(order: Mapping[Choice, Sequence[Ranking]]) -> str:
    titles = ["choice", "groups", "fastest chosen", "or within noise of it", "tau", "clear tau", "speed lost %"]
    return markdown_text(titles, [[TITLES[choice], *_order_cells(ranked[0])] for choice, ranked in order.items()])


def _order_cells(one: Ranking) -> Iterator[str]:
    yield from (f"{count:,}" for count in (one.groups, one.best_chosen, one.near_best_chosen))
    yield from ("-" if tau is None else f"{tau:.2f}" for tau in (one.mean_tau, one.mean_clear_tau))
    yield "-" if one.mean_regret is None else f"{100 * one.mean_regret:.1f}"
