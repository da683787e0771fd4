"""`perfsim launch`: one plan as the file that starts it."""

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from perfsim.cli.command_line import OUTPUTS
from perfsim.cli.estimate import estimate

if TYPE_CHECKING:
    from perfsim.report.case import Case

TOOLS = ("torchrun", "accelerate", "deepspeed", "megatron", "torchtitan")
OWN = ("scenario", "row", "tool", "output")


def _plan_options() -> list[click.Parameter]:
    """The options of `perfsim estimate` that say which plan; none has to be there beside a scenario."""
    found = [copy(option) for option in estimate.params if option.name not in ("explain", *OUTPUTS)]
    for option in found:
        option.required = False
    return found


@click.command(params=_plan_options())
@click.argument("scenario", required=False)
@click.option("--row", type=click.IntRange(min=1), metavar="N", help="Row of the scenario's table.  [default: 1]")
@click.option("--for", "tool", type=click.Choice(TOOLS), help="The tool; what starts the software unless given.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Write the file here; to the terminal unless given.")
@click.pass_context
def launch(
    ctx: click.Context, /, scenario: str | None, row: int | None, tool: str | None, output: str, **options: Any
) -> None:
    """Write the file that starts a plan: that of a SCENARIO's table, or the one that the options say.

    A shell script for torchrun or Megatron-LM, YAML for accelerate, JSON for DeepSpeed, TOML for torchtitan.
    FILL_IN stands where only you know what to write. What the tool cannot say of the plan is refused, with the tools
    that can. Exit code 1 says that the plan cannot run; one that only lacks memory is written all the same.
    """
    from perfsim.core.plan import Problem
    from perfsim.launch.tools import launch as launch_file
    from perfsim.report.breakdown import verdict
    from perfsim.report.export import write
    from perfsim.units import printable

    case = _case(ctx, scenario, row, options)
    if set(case.problems) <= {Problem.MEMORY}:
        file = launch_file(case, tool or "")
        write(output, file.text)
        for note in file.notes:
            click.echo(printable(note), err=True)
    if case.problems:
        for line in verdict(case):
            click.echo(str(line), err=True)
        ctx.exit(1)


def _case(ctx: click.Context, scenario: str | None, row: int | None, options: dict[str, Any]) -> "Case":
    """The case of the scenario's row, or of the options.

    Raises: InputError where both are given, or neither.
    """
    from perfsim.cli.estimate import asked_case
    from perfsim.errors import InputError

    told = [key for key in options if ctx.get_parameter_source(key) is ParameterSource.COMMANDLINE]
    if scenario and told:
        name = f"--{told[0].replace('_', '-')}"
        raise InputError(f"{name}: the scenario says which plans there are; leave out the scenario or the option")
    if scenario:
        return _ranked_case(ctx, scenario, row or 1)
    if row:
        raise InputError("--row: is a row of a scenario's table; name the scenario")
    if not options["model"]:
        raise InputError("--model: name a model, or a scenario such as bert")
    return asked_case(ctx.obj, **options)[1]


def _ranked_case(ctx: click.Context, scenario: str, row: int) -> "Case":
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.scenario import scenarios
    from perfsim.paths import find_scenario
    from perfsim.report.case import make_case
    from perfsim.report.progress import progress
    from perfsim.report.table import rows_to_show
    from perfsim.search.sweep import sweep as search

    folders: list[Path] = ctx.obj or []
    asked = scenarios(find_scenario(scenario), catalogue(tuple(folders)))
    if len(asked) > 1:
        tasks = ", ".join(one.workload.task for one in asked)
        raise InputError(f"{scenario}: asks for {tasks}, each with a table of its own; keep one task in it")
    s = asked[0]
    with progress(f"{s.name}, {s.workload.task}") as report:
        found = search(s.workload, s.software, s.calibration, s.systems, s.space, s.site, s.objective, report)
    rows = rows_to_show(found)
    if row > len(rows):
        raise InputError(f"--row: {row}, but the scenario's table has {len(rows)} rows (perfsim sweep shows them)")
    system, plan, _ = found.row(rows[row - 1])
    return make_case(s.workload, system, plan, s.software, s.calibration, s.site)
