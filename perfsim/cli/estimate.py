"""`perfsim estimate`: one plan on one system, part by part."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from perfsim.cli.completion import names
from perfsim.cli.workload import MODEL, workload_options

if TYPE_CHECKING:
    from perfsim.core.calibration import Calibration
    from perfsim.inputs.catalogue import Catalogue
    from perfsim.report.case import Case
    from perfsim.report.funding import Asked


@click.command()
@click.option("--model", required=True, shell_complete=names("models", has_files=True), help=MODEL)
@click.option(
    "--gpu", shell_complete=names("gpus"),
    help='A card, such as "RTX 4090"; "2x RTX 4090" says how many; "RTX 4090 + RTX 3090" both.',
)  # fmt: skip
@click.option("-n", "--gpus", "count", type=int, help="How many GPUs; 1 unless --gpu says more.")
@click.option("--system", "system_name", shell_complete=names("systems"), help="A listed system instead of --gpu.")
@click.option("--power-limit", type=float, metavar="WATTS", help="Of each board, lower than its own.")
@workload_options
@click.option("--micro-batch-size", "--mbs", type=int, help="Sequences of a micro-batch; the fastest that fits.")
@click.option("--tensor-parallel", "--tp", type=int, default=1, show_default=True, help="GPUs that split a layer.")
@click.option("--pipeline-parallel", "--pp", type=int, default=1, show_default=True, help="Pipeline stages.")
@click.option("--data-parallel", "--dp", type=int, help="Replicas; what the other degrees leave.")
@click.option("--context-parallel", "--cp", type=int, default=1, show_default=True, help="GPUs that split a sequence.")
@click.option("--expert-parallel", "--ep", type=int, default=1, show_default=True, help="GPUs that split the experts.")
@click.option(
    "--schedule", type=click.Choice(["gpipe", "1f1b", "zb-h1", "zb-v", "dualpipe"]), default="1f1b", show_default=True,
    help="Order of a pipeline's passes; 1f1b interleaves chunks.",
)  # fmt: skip
@click.option("--virtual-stages", "--vpp", type=int, default=1, show_default=True, help="Pipeline chunks a GPU.")
@click.option("--zero", "zero_stage", type=click.IntRange(0, 3), default=0, show_default=True, help="ZeRO; 3 is FSDP.")
@click.option("--hybrid-shard", type=int, help="ZeRO-3 over this many neighbours, copies beyond (HSDP); all.")
@click.option(
    "--recompute", type=click.Choice(["none", "selective", "full"]), default="none", show_default=True,
    help="Activations computed again.",
)  # fmt: skip
@click.option("--recompute-layers", type=int, help="Of the layers, how many full recomputation covers; all.")
@click.option(
    "--context-exchange", type=click.Choice(["ring", "all-to-all", "all-gather"]), default="ring", show_default=True,
    help="How GPUs that split a sequence see each other's keys.",
)  # fmt: skip
@click.option(
    "--offload", type=click.Choice(["none", "optimizer", "parameters", "activations"]), default="none",
    show_default=True, help="What lies in host memory.",
)  # fmt: skip
@click.option(
    "--placement", type=click.Choice(["data-inner", "pipeline-inner"]), default="data-inner", show_default=True,
    help="Which ranks are neighbours, next to the tensor-parallel ones.",
)  # fmt: skip
@click.option(
    "--price", type=click.Choice(["rent", "spot", "own", "electricity"]), default="rent", show_default=True,
    help="Pay machines on demand, spot machines, cards of your own, or their electricity alone.",
)  # fmt: skip
@click.option(
    "--prices", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="Prices that come before perfsim's: a table of yours, SkyPilot's or gpuhunt's. May be given more than once.",
)  # fmt: skip
@click.option(
    "--software", default="pytorch-2-eager", show_default=True, shell_complete=names("software"),
    help="Key of a software stack.",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Say what each part is made of and list a layer's operations.")
@click.option("--plot", metavar="FILE", help="Draw memory and step in their parts into FILE, a .png or .svg.")
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--md", "md_file", metavar="FILE", help="Write Markdown for a request for funds, to the terminal with -.")
@click.pass_context
def estimate(
    ctx: click.Context, /, explain: bool, plot: str | None, json_file: str | None, md_file: str | None, **options: Any
) -> None:
    """Cost one plan: memory, time, energy and money, in parts.

    Exit code 1 says that the plan cannot run.
    """
    from perfsim.errors import UnsupportedError
    from perfsim.report.picture import check_picture

    if plot:
        check_picture(plot, "--plot")
    if json_file == md_file == "-":
        raise click.UsageError("Only one of --json and --md can go to the terminal.")
    if "+" in (options["gpu"] or ""):
        from perfsim.cli.mixed import mixed

        for option, given in (("plot", plot), ("md", md_file)):
            if given:
                raise UnsupportedError(f"--{option}: not there for cards of several kinds yet; leave it, or use --json")
        return mixed(ctx, json_file, **options)
    from perfsim.cli.command_line import command_text
    from perfsim.report.breakdown import breakdown, case_record
    from perfsim.report.export import json_text, write
    from perfsim.report.funding import plan_markdown
    from perfsim.report.table import override_lines, show

    known, case, calibration = asked_case(ctx.obj, **options)
    if plot:
        from perfsim.report.case_plot import write_case

        write_case(plot, case, calibration)
    if json_file:
        write(json_file, json_text(case_record(case)))
    if md_file:
        write(md_file, plan_markdown(asked(case, known), case.site, command_text(ctx)))
    if "-" not in (json_file, md_file):
        show([*override_lines(known.overrides()), *breakdown(case, explain)])
    if case.problems:
        ctx.exit(1)


def asked(case: "Case", known: "Catalogue") -> "Asked":
    """A plan with all that a request for funds tells of it."""
    from perfsim.inputs.sources import sources_of
    from perfsim.report.breakdown import case_record
    from perfsim.report.funding import Asked
    from perfsim.report.text import workload_text

    sources = sources_of(case.system.gpu.key, case.system.key, case.software.key, known)
    return Asked(case_record(case), workload_text(case.workload), float(case.workload.steps) > 1, sources)


def asked_case(
    folders: list[Path] | None,
    /,
    model: str,
    gpu: str | None,
    count: int | None,
    system_name: str | None,
    power_limit: float | None,
    software: str,
    price: Literal["rent", "spot", "own"],
    prices: tuple[Path, ...],
    **options: Any,
) -> "tuple[Catalogue, Case, Calibration]":
    """The plan that the options ask for, costed; the specs and the calibration that it rests on.

    Raises: InputError for options that cannot be used.
    """
    from dataclasses import replace

    from perfsim.core.site import STEPS_ALONE, Site
    from perfsim.estimate import estimate as predict
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.intervals import of_plans
    from perfsim.inputs.options import WORKLOAD_KEYS, choose_system, one_plan
    from perfsim.inputs.power_limit import with_power_limit
    from perfsim.inputs.prices import read_all
    from perfsim.inputs.workload import make_workload
    from perfsim.report.case import make_case
    from perfsim.search.sensitivity import Inputs

    known = catalogue(tuple(folders or ()))
    workload = make_workload(known.model(model), **{key: options[key] for key in WORKLOAD_KEYS})
    system, gpus = choose_system(known, gpu, count, system_name, read_all(prices, known))
    stack, calibration = known.software(software), known.calibration()
    site = replace(Site() if float(workload.steps) > 1 else STEPS_ALONE, price=price)  # a job of no told length
    if power_limit is not None:
        system = with_power_limit(system, power_limit, calibration.control)
    plan = one_plan(
        workload, system, gpus, stack, lambda plans: predict(workload, system, plans, stack, calibration, site), options
    )
    case = make_case(workload, system, plan, stack, calibration, site)
    (ranges,) = of_plans(Inputs(workload, system, plan, stack, calibration), case.estimate, known)
    return known, replace(case, intervals=ranges), calibration
