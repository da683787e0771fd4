"""`perfsim trace`: one plan's step as a trace for Perfetto."""

from typing import TYPE_CHECKING, Any

import click

from perfsim.cli.command_line import OUTPUTS
from perfsim.cli.estimate import estimate

if TYPE_CHECKING:
    from perfsim.report.case import Case

MOST_PASSES = 200_000  # some 100 MB of JSON


@click.command(params=[option for option in estimate.params if option.name not in ("explain", *OUTPUTS)])
@click.option("-o", "--output", metavar="FILE", help="Write the trace here, or to the terminal with -.")
@click.option("--plot", metavar="FILE", help="Draw what every stage does when into FILE, a .png or .svg.")
@click.pass_context
def trace(ctx: click.Context, /, output: str | None, plot: str | None, **options: Any) -> None:
    """Simulate one step of a plan and write what every stage does when, for ui.perfetto.dev or chrome://tracing.

    Passes, hand-overs, collectives and memory of every pipeline stage. Exit code 1 says that the plan cannot run; one
    that only lacks memory is traced all the same.
    """
    from perfsim.cli.estimate import asked_case
    from perfsim.core.plan import Problem
    from perfsim.report.breakdown import verdict
    from perfsim.report.export import write
    from perfsim.report.picture import check_picture, write_picture
    from perfsim.report.schedule_plot import schedule_picture
    from perfsim.report.table import show
    from perfsim.report.trace import trace_text
    from perfsim.simulation import simulation

    if not (output or plot):
        raise click.UsageError("Nothing to write: give -o FILE for a trace, --plot FILE for a picture, or both.")
    if plot:
        check_picture(plot, "--plot")
    _, case, calibration = asked_case(ctx.obj, **options)
    lines = list(verdict(case))
    can_be_traced = set(case.problems) <= {Problem.MEMORY}
    if can_be_traced:
        _refuse_too_many(case)
        found = simulation(case.workload, case.system, case.plan, case.software, calibration)
        if output:
            write(output, trace_text(found, lines[0]))
        if plot:
            write_picture(plot, lambda: schedule_picture(found, lines[0]))
    if case.problems:
        if output != "-" or not can_be_traced:
            show(lines)
        ctx.exit(1)


def _refuse_too_many(case: "Case") -> None:
    from perfsim.errors import InputError
    from perfsim.formulas.pipeline import microbatches_of

    plan = case.plan
    microbatches = int(microbatches_of(case.workload, plan))
    passes = int(3 * plan.pipeline_parallel * plan.virtual_stages * microbatches)
    if passes > MOST_PASSES:
        what = f"{microbatches:,} micro-batches make up to {passes:,} passes, more than a trace can show"
        raise InputError(f"--global-batch-size: {what}; lower it, a few times as many micro-batches as stages show all")
