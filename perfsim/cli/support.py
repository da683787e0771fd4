"""`perfsim support`: which software runs on which card."""

from pathlib import Path

import click


@click.command()
@click.argument("card", nargs=-1)
@click.option("--json", "is_json", is_flag=True, help="Write a JSON list.")
@click.pass_obj
def support(folders: list[Path] | None, card: tuple[str, ...], is_json: bool) -> None:
    """Say which CUDA, drivers, wheels, number formats and libraries run on each CARD, all cards by default.

    Of one card everything is told, with first and last versions, sources and their dates.
    """
    from perfsim.inputs.shelf import Shelf
    from perfsim.paths import spec_folders
    from perfsim.report.export import json_text
    from perfsim.report.support import record, table_lines, verdict_lines
    from perfsim.units import printable

    known = Shelf(spec_folders(folders or ()))
    found = [
        known.support(name) for name in _cards(card, known.candidates("gpus", " ".join(card))) or known.names("gpus")
    ]
    if is_json:
        click.echo(json_text([record(one) for one in found]), nl=False)
        return
    for file in known.overrides():
        click.echo(printable(f"own specs: {file}"))
    for line in verdict_lines(found[0]) if len(found) == 1 else table_lines(found):
        click.echo(printable(line))


def _cards(words: tuple[str, ...], together: list[str]) -> tuple[str, ...]:
    """The names that were given: one in several words, where these together mean a card, or one a word."""
    return (" ".join(words),) if len(words) > 1 and together else words
