"""`perfsim explain`: why two plans differ, and what would make one fit or meet a deadline."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from perfsim.core.calibration import Calibration
    from perfsim.core.offers import Offer
    from perfsim.core.site import Site
    from perfsim.inputs.catalogue import Catalogue
    from perfsim.report.case import Case
    from perfsim.search.changes import Changed
    from perfsim.search.sensitivity import Inputs, Knob

SETTINGS = {"ignore_unknown_options": True, "help_option_names": ["--help"]}  # A and B begin with options


@click.command(context_settings=SETTINGS)
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@click.option("--deadline", type=click.FloatRange(min=0, min_open=True), metavar="HOURS", help="The job has to end in.")
@click.option("--plot", metavar="FILE", help="Draw the waterfall, a .png or .svg.")
@click.option("--md", "md_file", metavar="FILE", help="Write Markdown for a request for funds, to the terminal with -.")
@click.pass_context
def explain(
    ctx: click.Context, a: str, b: str | None, deadline: float | None, plot: str | None, md_file: str | None
) -> None:
    """Compare two plans part by part, and say what would make them fit or meet the deadline.

    A and B are each the options of `perfsim estimate` in quotes, or a file that its --json wrote. Options of B add
    to those of A or take their place.

    \b
    perfsim explain "--model llama3-8b --gpu '8x H100 SXM' --zero 1" "--zero 3"
    """  # noqa: D301  click reads the backspace
    from dataclasses import replace

    from perfsim.cli.command_line import command_text
    from perfsim.cli.estimate import asked
    from perfsim.core.site import Site
    from perfsim.errors import InputError
    from perfsim.inputs.knobs import knobs_of
    from perfsim.inputs.plan_record import read_plan_record
    from perfsim.report.breakdown import case_intervals, verdict
    from perfsim.report.changes import change_lines
    from perfsim.report.export import write
    from perfsim.report.funding import Asked, comparison_markdown, plan_markdown
    from perfsim.report.picture import check_picture, write_picture
    from perfsim.report.table import plain_text, show
    from perfsim.report.waterfall import waterfall_lines, waterfall_picture
    from perfsim.search.sensitivity import Inputs

    if plot:
        if b is None:
            raise InputError("--plot: draws the difference of two plans; name a second one")
        check_picture(plot, "--plot")
    site = Site(deadline_hours=deadline or 0.0)
    plans: list[Asked] = []
    lines: list[RenderableType] = []
    sides: list[tuple[Inputs, list[Knob]]] = []
    fits = True
    for letter, text in zip("AB", (a, b), strict=True):
        if text is None:
            continue
        if text.endswith(".json"):
            plans.append(Asked(read_plan_record(Path(text))))
            continue
        options = text if letter == "A" or a.endswith(".json") else f"{a} {text}"
        known, case, calibration, own = _case(ctx, letter, options)
        site = replace(case.site, deadline_hours=deadline or 0.0)
        if deadline and float(case.workload.steps) <= 1:
            raise InputError("--deadline: the job's length is not known; add --steps or --samples to the options")
        plans.append(asked(case, known))
        if b is None:
            lines += [*verdict(case), *case_intervals(case)]
        changes = _changes(known, case, calibration, site, own)
        fits &= not case.problems
        inputs = Inputs(case.workload, case.system, case.plan, case.software, calibration)
        sides.append((inputs, knobs_of(inputs, known)))
        lines += list(change_lines(letter, case, changes, site))
    choice = _choice_lines(sides, known) if len(sides) == 2 and fits else []
    if len(plans) == 1 and not lines:
        raise InputError(f"{a}: a file alone has nothing to be compared with; name a second plan")
    records = [plan.record for plan in plans]
    if md_file and b is None:
        write(md_file, plan_markdown(plans[0], site, command_text(ctx)))
    elif md_file:
        told = [line for line in plain_text(choice, width=10_000).splitlines() if line]
        write(md_file, comparison_markdown(plans[0], plans[1], told, site, command_text(ctx)))
    if md_file != "-":
        show([*(waterfall_lines(*records) if b else ()), *choice, *lines])
    if plot:
        write_picture(plot, lambda: waterfall_picture(*records))
    if not fits:
        ctx.exit(1)


def _choice_lines(sides: "list[tuple[Inputs, list[Knob]]]", known: "Catalogue") -> "list[RenderableType]":
    """How sure the choice between two plans is."""
    from dataclasses import replace

    from perfsim.report.sensitivity import sensitivity_lines
    from perfsim.search.sensitivity import sensitivity

    (one, knobs), (other, others) = sides
    doubt = sensitivity(one, other, knobs, others)
    return list(sensitivity_lines(replace(doubt, noise=known.spreads.noise, reach=known.spreads.reach)))


def _case(ctx: click.Context, letter: str, text: str) -> "tuple[Catalogue, Case, Calibration, tuple[Offer, ...]]":
    """The plan of one quoted set of options, and the prices that they name."""
    from perfsim.cli.command_line import OUTPUTS
    from perfsim.cli.estimate import asked_case, estimate
    from perfsim.errors import InputError
    from perfsim.inputs.prices import read_all

    try:
        options = estimate.make_context(f"perfsim explain {letter}", shlex.split(text), parent=ctx.parent).params
    except ValueError:
        raise InputError(f"{letter}: a quotation mark has no partner; write '...' inside \"...\"") from None
    except click.UsageError as error:
        raise InputError(f"{letter}: {error.format_message()}") from None
    unused = ("explain", *OUTPUTS)
    known, case, calibration = asked_case(ctx.obj, **{key: options[key] for key in options if key not in unused})
    return known, case, calibration, read_all(options["prices"], known)


def _changes(
    known: "Catalogue", case: "Case", calibration: "Calibration", site: "Site", own: "Sequence[Offer]"
) -> "list[Changed]":
    """What helps, other cards and more of them among it; nothing is tried where the plan is good as it is."""
    from perfsim.inputs.choice import systems_for
    from perfsim.report.text import card_text
    from perfsim.search.changes import Job, is_enough, minimal_changes

    if is_enough(case.estimate, site):
        return []
    card, gpus = case.system.gpu, int(case.plan.gpus)
    machines = []
    for times in (2, 4, 8):
        system = systems_for(card, [times * gpus], known, own)[0]
        machines.append((f"{times * gpus} GPUs", system, times * gpus))
    for key in known.names("gpus"):
        other = known.gpu(key)
        is_newer = float(other.compute_capability) >= float(card.compute_capability)
        if key != card.key and is_newer and float(other.memory_bytes) >= float(card.memory_bytes):
            machines.append((f"{gpus}x {card_text(other.name)}", systems_for(other, [gpus], known, own)[0], gpus))
    job = Job(case.workload, case.system, case.plan)
    return minimal_changes(job, case.software, calibration, site, machines)
