"""`perfsim sweep`: the best GPUs and plans for a scenario."""

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfsim.cli.completion import names

if TYPE_CHECKING:
    from perfsim.search.sweep import Sweep
    from perfsim.simulation import Simulation

PARETO = (
    "The plans that none beats in all of these figures, two or more of step-time, time, money, energy, gpus,"
    " headroom (memory left of a card)."
)

PLOT = (
    "Draw into FILE, a .png or .svg: memory and step of the rows; the front of the first two figures; or the scaling."
)


@click.command()
@click.argument("scenario", shell_complete=names("scenarios", has_files=True))
@click.option("--all", "show_all", is_flag=True, help="Every plan that was kept, not the best of each card.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="The first N rows.")
@click.option("--pareto", metavar="A,B,...", help=PARETO)
@click.option("--scaling", is_flag=True, help="How the fastest plans of each card scale with the number of GPUs.")
@click.option("--plot", metavar="FILE", help=PLOT)
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write CSV to FILE, or to the terminal with -.")
@click.option("--md", "md_file", metavar="FILE", help="Write a Markdown table to FILE, or to the terminal with -.")
@click.option("--html", metavar="FILE", help="Write a page to FILE: verdict, table, trade-offs and each plan's parts.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Search in N processes.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Search on the workers of a Dask scheduler, such as tcp://host:8786."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep what is found in DIR as it is found; a search that was stopped goes on from there.",
)
@click.pass_context
def sweep(
    ctx: click.Context,
    scenario: str,
    show_all: bool,
    top: int | None,
    pareto: str | None,
    scaling: bool,
    plot: str | None,
    json_file: str | None,
    csv_file: str | None,
    md_file: str | None,
    html: str | None,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
) -> None:
    """Search the plans of SCENARIO, a TOML file or the name of a built-in one.

    The table holds the best plan of each card (of each count where there is one card), best first by the scenario's
    objective; with --pareto the front of all cards and counts, with --scaling the fastest plan of each count. Exit
    code 1 says that nothing fits, or that nothing that fits meets the deadline and the budget.
    """
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.fit import question_of
    from perfsim.inputs.intervals import of_sweep
    from perfsim.inputs.scenario import scenarios
    from perfsim.paths import find_scenario
    from perfsim.report.answer import Answer, csv_of, json_of, lines_of, markdown_of
    from perfsim.report.answer_plot import answer_picture
    from perfsim.report.export import write
    from perfsim.report.page import Question, check_page, page_html
    from perfsim.report.page_fit import fit_grid
    from perfsim.report.picture import check_picture, write_picture
    from perfsim.report.progress import progress
    from perfsim.report.table import show
    from perfsim.search.fit import fit
    from perfsim.search.runner import Runner
    from perfsim.search.sweep import sweep as search

    figures = _figures(pareto, show_all)
    if plot:
        check_picture(plot, "--plot")
    if scaling and (figures or show_all):
        raise click.UsageError("--scaling is a choice of plans, and so are --pareto and --all; give one of them.")
    targets = (json_file, csv_file, md_file, html)
    if targets.count("-") > 1:
        raise click.UsageError("Only one of --json, --csv, --md and --html can go to the terminal.")
    if html:
        check_page()
    if workers and scheduler:
        raise click.UsageError("--workers are processes on this machine, --scheduler has its own; give one of them.")
    folders: list[Path] = ctx.obj or []
    known = catalogue(tuple(folders))
    answers = []
    asked = scenarios(find_scenario(scenario), known)
    if plot and len(asked) > 1 and not figures:
        tasks = ", ".join(s.workload.task for s in asked)
        raise InputError(f"--plot: draws one task, not {tasks}; name one in the scenario, or add --pareto time,money")
    for s in asked:
        folder = out / s.workload.task if out and len(asked) > 1 else out
        runner = Runner(workers or 1, scheduler or "", folder, resumed=partial(_tell, folder))
        with progress(f"{s.name}, {s.workload.task}") as report:
            swept = search(
                s.workload, s.software, s.calibration, s.systems, s.space, s.site, s.objective, report,
                has_headroom="headroom" in figures, runner=runner,
            )  # fmt: skip
        forecast = partial(of_sweep, swept, known=known)
        if scaling:
            answers.append(Answer.of_scaling(s.name, swept, top, forecast))
        else:
            answers.append(Answer.of(s.name, swept, show_all, top, figures, forecast))
    question = Question(_command(ctx, scenario), tuple(known.overrides()))
    matrix = fit_grid(fit(question_of(asked[0], known))) if html else None
    page_of = partial(page_html, question=question, simulate=_simulate, fit=matrix)
    forms: list[Callable[[Sequence[Answer]], str]] = [json_of, csv_of, markdown_of, page_of]
    for target, text_of in zip(targets, forms, strict=True):
        if target:
            write(target, text_of(answers))
    if plot and not any(answer.rows for answer in answers):
        click.echo("--plot: nothing fits, so nothing is drawn", err=True)
    elif plot:
        write_picture(plot, lambda: answer_picture(answers))
    if "-" not in targets:
        show(lines_of(answers, known.overrides(), is_limited=top is None and not show_all))
    if not any(answer.has_met for answer in answers):
        ctx.exit(1)


def _tell(folder: Path | None, there: int, total: int) -> None:
    """Says how much of the search was done before."""
    from perfsim.units import printable

    if there:
        click.echo(f"{printable(str(folder))}: {there:,} of {total:,} pieces were searched before", err=True)


def _command(ctx: click.Context, scenario: str) -> str:
    """The command that asks the same question and writes the same page."""
    names = {"show_all": "--all", "top": "--top", "pareto": "--pareto", "html": "--html"}
    given = [word for name, option in names.items() if (value := ctx.params[name])
             for word in ([option] if value is True else [option, str(value)])]  # fmt: skip
    folders = [word for folder in ctx.obj or [] for word in ("--specs", str(folder))]
    return shlex.join(["perfsim", *folders, "sweep", scenario, *given])


def _simulate(swept: "Sweep", row: int) -> "Simulation":
    """The step of a row, piece by piece."""
    from perfsim.simulation import simulation

    system, plan, _ = swept.row(row)
    return simulation(swept.workload, system, plan, swept.software, swept.calibration)


def _figures(pareto: str | None, show_all: bool) -> tuple[str, ...]:
    """The figures that --pareto names, empty without it; what goes with it and what does not is checked too."""
    from perfsim.errors import InputError, UnknownNameError
    from perfsim.search.front import check_figures

    if pareto is None:
        return ()
    names = tuple(name.strip().lower() for name in pareto.split(","))
    try:
        check_figures(names)
    except UnknownNameError as error:
        raise InputError(f"--pareto: {error}") from None
    if len(set(names)) < max(2, len(names)):
        raise InputError("--pareto: needs two figures or more, each once; write such as time,money")
    if show_all:
        raise InputError("--pareto: is a choice of plans, and --all wants every one; keep one of them")
    return names
