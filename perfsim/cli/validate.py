"""`perfsim validate`: measured runs beside their predictions."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from perfsim.calibration.run_fit import RunFit
    from perfsim.inputs.catalogue import Catalogue

BY = ("source", "gpu", "model", "software")


class RunsUnlessNamed(click.Group):
    """A group whose first command is meant when none is named: `perfsim validate runs.csv`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before arguments that name none."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["runs", *args]
        return super().parse_args(ctx, args)


@click.group(cls=RunsUnlessNamed, context_settings={"help_option_names": ["-h", "--help"]})
def validate() -> None:
    """Hold predictions against measurements: steps (runs, the default), their order, kernels, collectives, energy."""


@validate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.pass_context
def kernels(ctx: click.Context, tables: tuple[Path, ...], json_file: str | None) -> None:
    """Fit the kernel formulas to TABLES, by default perfsim's own, and show the error by card and operation.

    In sample, on shapes that the fit has not seen, and on cards that it has not seen.
    """
    from perfsim.calibration.kernel_fit import study
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.kernel_tables import builtin_tables, read_kernels
    from perfsim.report.export import write
    from perfsim.report.kernels import kernel_json, kernel_lines
    from perfsim.report.progress import progress
    from perfsim.report.table import override_lines, show

    known = catalogue(tuple(ctx.obj or ()))
    read = read_kernels(list(tables) or builtin_tables(), known)
    with progress("fitting kernels") as report:
        studied = study(read.kinds(), read.gpus(known), known.calibration(), report)
    if json_file:
        write(json_file, kernel_json(studied))
    if json_file != "-":
        show([*override_lines(known.overrides()), *kernel_lines(studied, read.left_out)])


@validate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.pass_context
def collectives(ctx: click.Context, tables: tuple[Path, ...], json_file: str | None) -> None:
    """Fit the collectives of TABLES, by default perfsim's own, and show the error by system and collective.

    In sample, on payload sizes, systems and numbers of GPUs that the fit has not seen.
    """
    from perfsim.calibration.collective_study import study
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.collective_tables import builtin_table, read_collectives
    from perfsim.report.collectives import study_json, study_lines
    from perfsim.report.export import write
    from perfsim.report.progress import progress
    from perfsim.report.table import override_lines, show

    known = catalogue(tuple(ctx.obj or ()))
    rows = read_collectives(list(tables) or [builtin_table()], known)
    try:
        with progress("fitting collectives") as report:
            studied = study(rows, report)
    except ValueError as error:
        raise InputError(f"{error}; measure more sizes, e.g. all_reduce_perf -b 1K -e 1G -f 2") from None
    if json_file:
        write(json_file, study_json(studied))
    if json_file != "-":
        show([*override_lines(known.overrides()), *study_lines(studied)])


@validate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.pass_context
def energy(ctx: click.Context, tables: tuple[Path, ...], json_file: str | None) -> None:
    """Fit what boards draw to the measured power of TABLES, by default perfsim's own, and show the errors.

    Of watts and joules, by card and network: in sample, on cards and on networks that the fit has not seen; and of
    whole servers.
    """
    from perfsim.calibration.energy_study import study
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.energy_tables import builtin_table, read_energy, read_products
    from perfsim.report.energy import study_json, study_lines
    from perfsim.report.export import write
    from perfsim.report.progress import progress
    from perfsim.report.table import override_lines, show

    known = catalogue(tuple(ctx.obj or ()))
    rows = read_energy(list(tables) or [builtin_table()], known)
    base = known.power_rules.server.watts_per_gpu
    try:
        with progress("fitting power") as report:
            studied = study(rows, read_products(known), known.calibration(), base, report)
    except ValueError as error:
        raise InputError(f"{error}; measure more batches and power limits") from None
    if json_file:
        write(json_file, study_json(studied))
    if json_file != "-":
        show([*override_lines(known.overrides()), *study_lines(studied)])


@validate.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--by", type=click.Choice(BY), default="source", show_default=True)
@click.pass_context
def ranking(ctx: click.Context, files: tuple[Path, ...], json_file: str | None, by: str) -> None:
    """Whether the best by prediction is the best by measurement, among runs of FILES that differ by one choice.

    The choices: plan or batch on the same GPUs; how many GPUs of a card; which card. By default of perfsim's own runs.
    """
    from perfsim.calibration.ranking import CHOICES, alternatives
    from perfsim.calibration.ranking import ranking as ranked
    from perfsim.calibration.validate import replay
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.runs import read_runs
    from perfsim.paths import builtin
    from perfsim.report.export import write
    from perfsim.report.progress import progress
    from perfsim.report.ranking import ranking_json, ranking_lines
    from perfsim.report.table import override_lines, show

    known = catalogue(tuple(ctx.obj or ()))
    read = read_runs(list(files) or [builtin("scenarios") / "validation" / "runs.csv"], known)
    with progress("replaying measured runs") as report:
        replayed = replay(read, known.calibration(), report=report)
    found = {choice: ranked(alternatives(replayed, choice), by) for choice in CHOICES}  # type: ignore[arg-type]
    if json_file:
        write(json_file, ranking_json(found, by))
    if json_file != "-":
        show([*override_lines(known.overrides()), *ranking_lines(found, by)])


@validate.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--by", type=click.Choice([*BY, "set"]), default="source", show_default=True)
@click.option("--quality", default="ab", show_default=True, metavar="LETTERS", help="Of rows to replay, but anchors.")
@click.option("--check", is_flag=True, help="Exit with 1 where perfsim's own runs are predicted worse than recorded.")
@click.option("--record", metavar="FILE", help="Write what --check allows, a little above the present errors, to FILE.")
@click.option("--plot", metavar="FILE", help="Draw predicted over measured into FILE, a .png or .svg.")
@click.option("--page", metavar="FOLDER", help="Write a page of all groups, and its pictures, into FOLDER.")
@click.option(
    "--left-out", "leaves_out", is_flag=True, help="Also fit anew without each run's source, card and software."
)
@click.pass_context
def runs(
    ctx: click.Context,
    files: tuple[Path, ...],
    json_file: str | None,
    by: str,
    quality: str,
    check: bool,
    record: str | None,
    plot: str | None,
    page: str | None,
    leaves_out: bool,
) -> None:
    """Replay the measured runs of FILES, by default those that come with perfsim.

    A table of runs has the columns that docs/validation.md lists. A run_models.csv or missing_gpus.csv beside it
    defines models and cards that the specs lack.
    """
    from perfsim.calibration.accuracy import summaries
    from perfsim.calibration.budgets import RECORD, worse
    from perfsim.calibration.budgets import record as recorded
    from perfsim.calibration.intervals import with_intervals, with_left_out
    from perfsim.calibration.ranking import CHOICES, alternatives
    from perfsim.calibration.ranking import ranking as ranked
    from perfsim.calibration.validate import replay
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.runs import read_runs
    from perfsim.inputs.validation_tables import read_budgets, read_rivals, read_sets
    from perfsim.paths import builtin
    from perfsim.report.export import write
    from perfsim.report.picture import check_picture, write_picture
    from perfsim.report.progress import progress
    from perfsim.report.scatter_plot import measured_picture
    from perfsim.report.table import override_lines, show
    from perfsim.report.validation import budgets_text, mapped_line, validation_json, validation_lines
    from perfsim.report.validation_page import TIME_PICTURE, write_page

    if set(quality) - set("abcx"):
        raise click.BadParameter(f"{quality!r}: write letters out of a, b, c and x", param_hint="--quality")
    if (files or quality != "ab") and (check or record or page):
        raise click.UsageError("--check, --record and --page take all of perfsim's own runs: no FILES, no --quality")
    if page:
        check_picture(str(Path(page) / TIME_PICTURE), "--page")
    if plot:
        check_picture(plot, "--plot")
    known, folder = catalogue(tuple(ctx.obj or ())), builtin("scenarios") / "validation"
    read = read_runs(list(files) or [folder / "runs.csv"], known)
    chosen = [run for run in read if run.quality in quality or run.role == "anchor"]
    with progress("replaying measured runs") as report:
        replayed = replay(chosen, known.calibration())
        replayed = with_intervals(replayed, known.calibration(), known.spreads, report)
    if leaves_out or page:
        replayed = with_left_out(replayed, _fitted(known.before_runs(), list(files) or [folder / "runs.csv"], quality))
    accounts = summaries(replayed, read_sets(folder / "sets.csv"))
    if record:
        write(record, budgets_text(recorded(accounts)))
    if page:
        order = {choice: ranked(alternatives(replayed, choice)) for choice in CHOICES}
        write_page(page, replayed, accounts, read_rivals(folder / "rivals.csv"), order)
    if plot:
        write_picture(plot, lambda: measured_picture(replayed))
    if json_file:
        write(json_file, validation_json(replayed, accounts[by], by))
    if "-" not in (json_file, record):
        show([*override_lines(known.overrides()), *validation_lines(accounts[by], by), mapped_line(replayed)])
    if check and (found := list(worse(read_budgets(folder / "budgets.csv"), accounts))):
        click.echo("\n".join(found), err=True)
        click.echo(f"if the change is worth it, record anew and say why in the commit: {RECORD}", err=True)
        ctx.exit(1)


def _fitted(known: "Catalogue", files: list[Path], quality: str) -> "RunFit":
    """All that whole runs say, from numbers that no run has moved."""
    from perfsim.calibration.run_fit import fit_runs
    from perfsim.errors import InputError
    from perfsim.inputs.runs import read_runs
    from perfsim.report.progress import progress

    chosen = [run for run in read_runs(files, known) if run.quality in quality and run.role != "anchor"]
    try:
        with progress("fitting whole runs") as report:
            return fit_runs(chosen, known.calibration(), known.spreads, report)
    except ValueError as error:
        raise InputError(f"--left-out: {error}") from None
