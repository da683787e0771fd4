"""`perfsim specs`: list, show and check the files that describe cards, systems, models and software."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfsim.cli.completion import names
from perfsim.errors import InputError, UnknownNameError
from perfsim.units import aligned, count_text, number_text, printable, usd_text

if TYPE_CHECKING:
    from perfsim.inputs.catalogue import Catalogue

KINDS = click.Choice(["gpus", "systems", "models", "software", "support"])
SCHEMAS = click.Choice(["gpu", "system", "model", "convnet", "software", "support", "scenario"])
Row = dict[str, Any]

_UNITS = {  # by the end of a key; the first that fits
    "gb_per_s": "GB/s",
    "_gbit_per_s": "Gbit/s",
    "_usd_per_hour": "USD/h",
    "usd_per_hour": "USD/h",
    "_usd": "USD",
    "_gib": "GiB",
    "_mib": "MiB",
    "_mhz": "MHz",
    "_watts": "W",
    "_seconds": "s",
    "_us": "us",
    "_bytes": "bytes",
}


@click.group()
def specs() -> None:
    """List, show and check cards, systems, models, software and what supports a card."""


@specs.command("list")
@click.argument("kind", type=KINDS)
@click.option("--json", "is_json", is_flag=True, help="Write a JSON list.")
@click.pass_obj
def list_command(folders: list[Path] | None, kind: str, is_json: bool) -> None:
    """List all gpus, systems, models, software or support."""
    rows = list(_rows(_catalogue(folders), kind))
    if is_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for line in aligned([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)] if rows else []):
        click.echo(line)


@specs.command()
@click.argument("name", nargs=-1, required=True, shell_complete=names("gpus", "systems", "models", "software"))
@click.option(
    "--draw",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Draw how a system is linked: as text, or into FILE, a .png or .svg (needs matplotlib).",
)
@click.pass_obj
def show(folders: list[Path] | None, name: tuple[str, ...], draw: str | None) -> None:
    """Show what the file of a card, system, model, software or support says, with units and sources."""
    from perfsim.inputs.checks import check_file
    from perfsim.inputs.files import read_toml

    catalogue = _catalogue(folders)
    kind, key = _find(catalogue, " ".join(name))
    path = catalogue.path(kind, key)
    check_file(path, catalogue)
    if draw is not None:
        _draw(catalogue, kind, key, draw)
        return
    data = read_toml(path).data
    if kind == "software" and (fitted := catalogue.fitted_numbers(key)):
        told = dict.fromkeys(fitted.values(), f"fitted, {fitted.source}")
        data = data | fitted.values() | {"basis": data.get("basis", {}) | told}
    sources: list[str] = []
    rows = [_shown(loc, value, data, sources) for loc, value in _values(data)]
    click.echo(printable(f"{data.get('name', key)} ({kind}: {key})"))
    for line in aligned(rows):
        click.echo(line)
    if kind == "gpus":
        click.echo(_reached(catalogue, key))
    if notes := data.get("notes"):
        click.echo(printable(f"notes: {notes}"))
    for number, source in enumerate(sources, 1):
        click.echo(printable(f"[{number}] {source}"))
    click.echo(printable(f"file: {path}"))


def _draw(catalogue: "Catalogue", kind: str, key: str, target: str) -> None:
    """Writes how a system is linked to the terminal (-) or into a picture."""
    from perfsim.inputs.wiring import domain_of, network_of
    from perfsim.report.picture import check_picture
    from perfsim.report.topology import Drawing, tree_lines

    if kind != "systems":
        raise InputError(f"--draw: {printable(key)} is among the {kind}; only systems are drawn")
    if target != "-":
        check_picture(target, "--draw")
    spec = catalogue.system_spec(key)
    domain = domain_of(spec, catalogue.gpu_spec(spec.gpu))
    drawing = Drawing(f"{spec.name} ({key})", domain, spec.gpus_per_node, network_of(spec))
    if target == "-":
        for line in tree_lines(drawing):
            click.echo(line)
    else:
        from perfsim.report.picture import write_picture
        from perfsim.report.topology_plot import topology_figure

        write_picture(target, lambda: topology_figure(drawing))


@specs.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_obj
def check(folders: list[Path] | None, paths: tuple[Path, ...]) -> None:
    """Check files, or all files of folders; exit code 2 when one cannot be used."""
    from perfsim.inputs.checks import check_file, files_under

    catalogue = _catalogue(folders)
    files = [file for path in paths for file in files_under(path)]
    problems: list[str] = []
    for file in files:
        try:
            click.echo(printable(f"{file}: ok ({check_file(file, catalogue)})"))
        except (InputError, UnknownNameError) as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))


@specs.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="Write a JSON list.")
@click.pass_obj
def prices(folders: list[Path] | None, files: tuple[Path, ...], is_json: bool) -> None:
    """Show what price tables give: the cheapest offer by card, kind and GPUs of a machine; without FILES the specs'."""
    from perfsim.inputs.price_tables import read_prices
    from perfsim.report.prices import offer_rows, unused_lines

    catalogue = _catalogue(folders)
    tables = [read_prices(file, catalogue) for file in files]
    rows = offer_rows([offer for table in tables for offer in table.offers] if files else catalogue.offers)
    if is_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for line in aligned([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)] if rows else []):
        click.echo(line)
    for table in tables:
        for line in unused_lines(table):
            click.echo(printable(f"{table.path}: {line}"))


@specs.command()
@click.argument("kind", type=SCHEMAS)
def schema(kind: str) -> None:
    """Write the JSON schema of a kind of file."""
    from perfsim.inputs.checks import schema as schema_of

    click.echo(json.dumps(schema_of(kind), indent=2))


def _catalogue(folders: list[Path] | None) -> "Catalogue":
    from perfsim.inputs.catalogue import catalogue

    return catalogue(tuple(folders or ()))


def _find(catalogue: "Catalogue", name: str) -> tuple[str, str]:
    """The kind and key that a name means among all kinds.

    Raises: UnknownNameError.
    """
    found = [(kind, key) for kind in KINDS.choices for key in catalogue.candidates(kind, name)]
    exact = [(kind, key) for kind, key in found if key == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise UnknownNameError(f"{printable(name)}: can mean {', '.join(key for _, key in found)}; write one of these")
    close = catalogue.nearest(name)
    nearby = f"nearest: {', '.join(close)}; " if close else ""
    raise UnknownNameError(
        f"{printable(name[:100])}: not in the specs; {nearby}`perfsim specs list gpus` shows all cards"
    )


def _rows(catalogue: "Catalogue", kind: str) -> Iterator[Row]:
    """What `list` says of each entry of a kind."""
    for key in catalogue.names(kind):
        if kind == "gpus":
            card = catalogue.gpu_spec(key)
            yield {
                "gpu": key,
                "series": card.series,
                "memory_gib": card.memory_gib,
                "memory_bandwidth_gb_per_s": card.memory_bandwidth_gb_per_s,
                "fp16_tflops": card.peak_tflops.fp16,
                "power_limit_watts": card.power_limit_watts,
                "price_usd": card.price_usd,
            }
        elif kind == "systems":
            system = catalogue.system_spec(key)
            yield {
                "system": key,
                "gpu": system.gpu,
                "gpus_per_node": system.gpus_per_node,
                "topology": system.topology,
                "network_gbit_per_s": system.nics * (system.nic_gbit_per_s or 0) or None,
                "usd_per_hour": system.price.usd_per_hour if system.price else None,
            }
        elif kind == "models":
            yield _model_row(catalogue, key)
        elif kind == "support":
            told = catalogue.support_spec(key)
            yield {"support": key, "name": told.name, "cards_told": len(told.works), "builds": len(told.build)}
        else:
            software = catalogue.software(key)
            period = f"{software.first_release} to {software.last_release}"
            yield {"software": key, "framework": software.framework, "period": period, "fusion": software.fusion}


def _model_row(catalogue: "Catalogue", key: str) -> Row:
    from perfsim.formulas.parameters import count

    model = catalogue.model(key)
    return {
        "model": key,
        "kind": model.kind,
        "parameters": count(model).total,
        "layers": model.depth,
        "hidden_size": model.hidden_size,
        "max_positions": model.max_positions,
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and value >= 1_000_000:
        return count_text(value)
    return number_text(value, 4) if isinstance(value, float) else printable(str(value))


def _values(data: Row, table: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys of a spec file that are about the thing itself, in the file's order."""
    for key, value in data.items():
        if isinstance(value, dict) and key not in ("sources", "basis"):
            yield from _values(value, (*table, key))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value):
                yield from _values(item, (*table, f"{key}[{number}]"))
        elif not isinstance(value, dict) and (table or key not in ("name", "notes")):
            yield (*table, key), value


def _shown(loc: tuple[str, ...], value: Any, data: Row, sources: list[str]) -> list[str]:
    """A line of `show`: key, value, unit, and the numbers of its sources in `sources`, which grows."""
    name = ".".join(loc)
    told, basis = data.get("sources", {}), data.get("basis", {})
    about = [
        *(table[key] for table in (basis, told) for key in (name, loc[0]) if key in table),
        *([data[loc[0]]["source"]] if len(loc) > 1 and "source" in data[loc[0]] else []),
        *([told["*"]] if "*" in told else []),
    ]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    marks = ""
    if is_number and about:
        if about[0] not in sources:
            sources.append(about[0])
        marks = f"[{sources.index(about[0]) + 1}]"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [printable(name), printable(text), _unit(loc), marks]


def _unit(loc: Sequence[str]) -> str:
    if loc[0] == "peak_tflops":
        return "TFLOP/s"
    return next((unit for end, unit in _UNITS.items() if loc[-1].endswith(end)), "")


def _reached(catalogue: "Catalogue", key: str) -> str:
    """What training reaches of a card's datasheet, and what it costs to rent."""
    from perfsim.inputs.system import offer_text

    gpu = catalogue.gpu(key)
    fractions = ", ".join(
        f"{name} {gpu.calibration.gemm_fraction[name]:.2f}" for name, peak in gpu.peak_flops_per_s.items() if peak
    )
    rents = [offer for offer in catalogue.offers if offer.gpu == key and offer.kind == "on-demand"]
    rent = min(((offer.usd_per_gpu, offer_text(offer)) for offer in rents), default=None)
    return (
        f"reached in training ({gpu.calibration.basis}): {fractions} of the peaks, "
        f"{gpu.calibration.bandwidth_fraction:.2f} of the bandwidth\n"
        + (
            printable(f"lowest listed rent: {usd_text(rent[0])} a GPU and hour ({rent[1]})")
            if rent
            else "no listed rent"
        )
    )
