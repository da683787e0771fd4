"""`perfsim calibrate`: numbers of one's own cards from one's own measurements."""

from pathlib import Path

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def calibrate() -> None:
    """Fit the numbers of formulas to measurements."""


@calibrate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Where the rules are written.")
@click.pass_context
def kernels(ctx: click.Context, tables: tuple[Path, ...], output: str) -> None:
    """Fit what cards reach of their datasheets to tables of measured kernels, by default perfsim's own.

    Writes rules for the cards in TABLES. Put the file in a folder as calibration/kernels.toml and name the folder with
    --specs: its rules then count before perfsim's. docs/validation.md lists the columns of a table.
    """
    from perfsim.calibration.kernel_fit import study
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.kernel_tables import builtin_tables, read_kernels
    from perfsim.report.export import write
    from perfsim.report.kernels import rules_text
    from perfsim.report.progress import progress

    known = catalogue(tuple(ctx.obj or ()))
    read = read_kernels(list(tables) or builtin_tables(), known)
    gpus = read.gpus(known)
    with progress("fitting kernels") as report:
        studied = study(read.kinds(), gpus, known.calibration(), report, leaves_cards_out=False)
    shown = " ".join(["perfsim calibrate kernels", *(path.name for path in tables)])
    write(output, rules_text(studied, gpus, shown))


@calibrate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Where the presets are written.")
@click.pass_context
def collectives(ctx: click.Context, tables: tuple[Path, ...], output: str) -> None:
    """Fit what NCCL reaches on links, machines and networks to measured collectives, by default perfsim's own.

    TABLES are CSV files with the columns that docs/validation.md lists, or logs of nccl-tests as they are. Put the
    output in a folder as calibration/collectives.toml, name the folder with --specs, and let a system there say
    collectives = "NAME" with the name of a preset.
    """
    from perfsim.calibration.collective_study import study
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.collective_tables import builtin_table, read_collectives
    from perfsim.report.collectives import presets_text
    from perfsim.report.export import write
    from perfsim.report.progress import progress

    known = catalogue(tuple(ctx.obj or ()))
    rows = read_collectives(list(tables) or [builtin_table()], known)
    try:
        with progress("fitting collectives") as report:
            studied = study(rows, report, cross_validates=False)
    except ValueError as error:
        raise InputError(f"{error}; measure more sizes, e.g. all_reduce_perf -b 1K -e 1G -f 2") from None
    shown = " ".join(["perfsim calibrate collectives", *(path.name for path in tables)])
    write(output, presets_text(studied, shown))


@calibrate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Where the blocks are written.")
@click.pass_context
def energy(ctx: click.Context, tables: tuple[Path, ...], output: str) -> None:
    """Fit what boards and servers draw to tables of measured power, by default perfsim's own.

    Writes the blocks of calibration/power.toml for the architectures of the cards in TABLES. Copy perfsim's power.toml
    into a folder as calibration/power.toml, put them in the place of its own, and name the folder with --specs.
    docs/validation.md lists the columns of a table.
    """
    from perfsim.calibration.energy_study import study
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.energy_tables import builtin_table, read_energy, read_products
    from perfsim.report.energy import rules_text
    from perfsim.report.export import write
    from perfsim.report.progress import progress

    known = catalogue(tuple(ctx.obj or ()))
    rows = read_energy(list(tables) or [builtin_table()], known)
    base = known.power_rules.server.watts_per_gpu
    try:
        with progress("fitting power") as report:
            studied = study(rows, read_products(known), known.calibration(), base, report)
    except ValueError as error:
        raise InputError(f"{error}; measure more batches and power limits") from None
    shown = " ".join(["perfsim calibrate energy", *(path.name for path in tables)])
    write(output, rules_text(studied, shown))


@calibrate.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Where the numbers are written.")
@click.pass_context
def runs(ctx: click.Context, tables: tuple[Path, ...], output: str) -> None:
    """Fit numbers of the software to whole measured runs, by default perfsim's own.

    TABLES are tables of runs as `perfsim validate` takes and `perfsim read-log` writes them, or folders that hold a
    runs.csv. Only numbers that the runs identify are moved, from where they are known to be. Put the file in a folder
    as calibration/runs.toml and name the folder with --specs: its numbers then count before perfsim's.
    """
    from perfsim.calibration.run_fit import fit_runs
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.runs import read_runs
    from perfsim.paths import builtin
    from perfsim.report.export import write
    from perfsim.report.progress import progress
    from perfsim.report.run_fit import fit_lines, numbers_text
    from perfsim.report.table import override_lines, show

    known = catalogue(tuple(ctx.obj or ()))
    if not tables:
        known = known.before_runs()
    read = read_runs(list(tables) or [builtin("scenarios") / "validation" / "runs.csv"], known)
    chosen = [run for run in read if run.quality in "ab" and run.role != "anchor"]
    try:
        with progress("fitting whole runs") as report:
            found = fit_runs(chosen, known.calibration(), known.spreads, report)
    except ValueError as error:
        raise InputError(f"{', '.join(map(str, tables)) or 'runs.csv'}: {error}") from None
    shown = " ".join(["perfsim calibrate runs", *(path.name for path in tables)])
    write(output, numbers_text(found, shown))
    if output != "-":
        show([*override_lines(known.overrides()), *fit_lines(found)])
