"""`perfsim recommend`: which cards to take, owned or rented, for a job with a deadline and a budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from perfsim.cli.workload import MODEL, workload_options

if TYPE_CHECKING:
    from perfsim.core.workload import Workload
    from perfsim.inputs.catalogue import Catalogue
    from perfsim.inputs.scenario import Scenario


@click.command()
@click.argument("scenario", required=False)
@click.option("--model", help=f"{MODEL} In place of a scenario.")
@workload_options
@click.option("--software", help="Key of a software stack.  [default: the scenario's, or pytorch-2-eager]")
@click.option("--deadline", metavar="TIME", help="Such as 6h, 90min, 30days.")
@click.option("--budget", type=float, metavar="USD", help="Rent, and electricity of what is owned.")
@click.option("--own", multiple=True, metavar="CARDS", help='What is there, such as "2x RTX 3090"; more than once.')
@click.option("--cloud/--no-cloud", default=True, show_default=True, help="Whether cards may be rented.")
@click.option("--gpu", "gpus", multiple=True, metavar="NAME", help="Cards or series to rent.  [default: all]")
@click.option("--max-gpus", type=click.IntRange(min=1), metavar="N", help="Rent no more; as many as the job may need.")
@click.option(
    "--prices", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="Your own prices, or a catalogue of SkyPilot or gpuhunt as it is.",
)  # fmt: skip
@click.option("--usd-per-kwh", type=float, help="Electricity of what is owned.  [default: 0.15]")
@click.option("--pue", type=float, help="The building's watts for a machine's watt.  [default: 1]")
@click.option("--explain", is_flag=True, help="Say what every figure rests on.")
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.pass_context
def recommend(ctx: click.Context, /, explain: bool, json_file: str | None, **options: Any) -> None:
    """Name the cheapest, smallest, greenest and fastest set of cards for a job, and what would change the answer.

    The job is a SCENARIO, a TOML file or the name of a built-in one, or what the options say. Exit code 1 says that
    nothing keeps the deadline and the budget; the nearest changes that would are told with their price.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.recommend import ask_of, hours_of, recommended
    from perfsim.report.export import json_text, write
    from perfsim.report.recommend import recommendation_lines, recommendation_record
    from perfsim.report.table import override_lines, show

    known = catalogue(tuple(ctx.obj or ()))
    asked = ask_of(
        _job(known, ctx, options), known, options["software"], options["own"],
        options["gpus"] if options["cloud"] else None, options["max_gpus"], options["prices"],
        budget_usd=options["budget"], deadline_hours=options["deadline"] and hours_of(options["deadline"]),
        usd_per_kwh=options["usd_per_kwh"], pue=options["pue"],
    )  # fmt: skip
    found = recommended(asked, known)
    if json_file:
        write(json_file, json_text(recommendation_record(found)))
    if json_file != "-":
        show([*override_lines(known.overrides()), *recommendation_lines(found, explain)])
    if not found:
        ctx.exit(1)


def _job(known: "Catalogue", ctx: click.Context, options: dict[str, Any]) -> "Workload | Scenario":
    """The scenario that is named, or the job that the options say."""
    from perfsim.inputs.options import WORKLOAD_KEYS
    from perfsim.inputs.scenario import scenario
    from perfsim.inputs.workload import make_workload
    from perfsim.paths import find_scenario

    job = {key: options[key] for key in WORKLOAD_KEYS}
    if not options["scenario"]:
        if not options["model"]:
            raise click.UsageError("Name a scenario, or the job with --model and its options.")
        return make_workload(known.model(options["model"]), **job)
    given = [name for name in ("model", *job) if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')}: the scenario says it; change it there.")
    return scenario(find_scenario(options["scenario"]), known)
