"""`perfsim validate`: measured runs beside their predictions."""

from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--by", type=click.Choice(["gpu", "source", "model", "software"]), default="source", show_default=True)
@click.option("--quality", default="ab", show_default=True, metavar="LETTERS", help="Qualities of the rows to replay.")
@click.pass_context
def validate(ctx: click.Context, files: tuple[Path, ...], json_file: str | None, by: str, quality: str) -> None:
    """Replay the measured runs of FILES, by default those that come with perfsim.

    A table of runs has the columns that docs/validation.md lists. A run_models.csv or missing_gpus.csv beside it
    defines models and cards that the specs lack.
    """
    from perfsim.calibration.validate import replay, summary
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.runs import read_runs
    from perfsim.paths import builtin
    from perfsim.report.export import write
    from perfsim.report.progress import progress
    from perfsim.report.table import override_lines, show
    from perfsim.report.validation import mapped_line, validation_json, validation_lines

    if set(quality) - set("abcx"):
        raise click.BadParameter(f"{quality!r}: write letters out of a, b, c and x", param_hint="--quality")
    known = catalogue(tuple(ctx.obj or ()))
    runs = read_runs(list(files) or [builtin("scenarios") / "validation" / "runs.csv"], known)
    chosen = [run for run in runs if run.quality in quality]
    with progress("replaying measured runs") as report:
        replayed = replay(chosen, known.calibration(), report=report)
    groups = summary(replayed, by)  # type: ignore[arg-type]
    if json_file:
        write(json_file, validation_json(replayed, groups, by))
    if json_file != "-":
        show([*override_lines(known.overrides()), *validation_lines(groups, by), mapped_line(replayed)])
