"""`perfsim trace`: one plan's step as a trace for Perfetto."""

from typing import Any

import click

from perfsim.cli.estimate import estimate


@click.command(params=[option for option in estimate.params if option.name not in ("explain", "json_file")])
@click.option("-o", "--output", required=True, metavar="FILE", help="Write the trace here, or to the terminal with -.")
@click.pass_context
def trace(ctx: click.Context, /, output: str, **options: Any) -> None:
    """Simulate one step of a plan and write what every stage does when, for ui.perfetto.dev or chrome://tracing.

    Passes, hand-overs, collectives and memory of every pipeline stage. Exit code 1 says that the plan cannot run; one
    that only lacks memory is traced all the same.
    """
    from perfsim.cli.estimate import asked_case
    from perfsim.core.plan import Problem
    from perfsim.report.breakdown import verdict
    from perfsim.report.export import write
    from perfsim.report.table import show
    from perfsim.report.trace import trace_text
    from perfsim.simulation import simulation

    _, case, calibration = asked_case(ctx.obj, **options)
    lines = list(verdict(case))
    if set(case.problems) <= {Problem.MEMORY}:
        found = simulation(case.workload, case.system, case.plan, case.software, calibration)
        write(output, trace_text(found, lines[0]))
    if case.problems:
        show(lines)
        ctx.exit(1)
