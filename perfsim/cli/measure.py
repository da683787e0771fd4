"""`perfsim measure`: tables of what one's own card does, in the formats that calibrate and validate read."""

import datetime
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from perfsim.inputs.catalogue import Catalogue
    from perfsim.measure.board import Board
    from perfsim.measure.card import Card
    from perfsim.measure.session import Row, Work


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def measure() -> None:
    """Measure an Nvidia card with PyTorch (pip install 'perfsim[measure]') and write tables of it.

    Clocks, power and temperature are read, never set. docs/measuring.md tells what is measured and how.
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all parts share."""
    output = click.option(
        "-o", "--output", "folder", metavar="FOLDER", default="measured", show_default=True,
        type=click.Path(file_okay=False, path_type=Path), help="Where the tables are written.",
    )  # fmt: skip
    quick = click.option("--quick", "is_quick", is_flag=True, help="Two minutes in place of a quarter of an hour.")
    return quick(output(command))


@measure.command()
@_options
@click.pass_context
def kernels(ctx: click.Context, is_quick: bool, folder: Path) -> None:
    """Products, streaming operators and attention, for `perfsim calibrate kernels FOLDER`."""
    from perfsim.measure.cases import kernel_cases
    from perfsim.measure.kernels import kernel_works

    bench = _bench(ctx, folder)
    cases = kernel_cases(is_quick, bench.card.capability, bench.card.memory_bytes)
    bench.work_off(
        kernel_works(bench.card, bench.board, bench.gpu, bench.source, cases, bench.save), is_quick, "kernels",
        [f"perfsim validate kernels {folder}", f"perfsim calibrate kernels {folder} -o mine/calibration/kernels.toml"],
    )  # fmt: skip


@measure.command()
@_options
@click.pass_context
def training(ctx: click.Context, is_quick: bool, folder: Path) -> None:
    """Whole training steps of BERT, GPT-2 and Llama, for `perfsim validate runs FOLDER`."""
    from perfsim.measure.steps import training_steps
    from perfsim.measure.training import training_works

    bench = _bench(ctx, folder)
    steps = training_steps(is_quick, bench.card.capability)
    models = {step.model: bench.known.model(step.model) for step in steps}
    facts = {
        "gpu": bench.gpu,
        "torch_version": bench.card.torch.__version__,
        "day": bench.day,
        "limit_watts": bench.lowered_limit(),
    }
    works = training_works(bench.card, bench.board, steps, models, facts, 2.5 if is_quick else 4.0, bench.save)
    bench.work_off(works, is_quick, "training steps", [f"perfsim validate runs {folder}"])


@measure.command()
@_options
@click.pass_context
def power(ctx: click.Context, is_quick: bool, folder: Path) -> None:
    """Watts against clocks: idle, under single kernels, while training."""
    from perfsim.measure.power import power_works, training_loads

    bench = _bench(ctx, folder)
    loads = training_loads(bench.card.capability, is_quick)
    models = {step.model: bench.known.model(step.model) for step in loads}
    limit = bench.board.facts().get("power_limit_w")
    cells = {"gpu": bench.gpu, "source": bench.source, "power_limit_w": limit}
    seconds = 5.0 if is_quick else 15.0
    works = power_works(bench.card, bench.board, models, cells, seconds, bench.save, is_quick)
    bench.work_off(works, is_quick, "loads", [])


@measure.command()
@_options
@click.option("--system", metavar="NAME", help="What to call the machine; by default how many of which card.")
@click.option("--links", metavar="KIND", help="What links the cards, where NVML does not tell: see docs/validation.md.")
@click.option("--fabric", metavar="NAME", help="The network between several machines, e.g. InfiniBand.")
@click.option("--network-gb-per-s", type=float, metavar="GB/S", help="The rate of a machine's NICs, one direction.")
@click.pass_context
def collectives(
    ctx: click.Context,
    is_quick: bool,
    folder: Path,
    system: str | None,
    links: str | None,
    fabric: str | None,
    network_gb_per_s: float | None,
) -> None:
    """NCCL between cards, for `perfsim calibrate collectives FOLDER`; start it with torchrun."""
    from perfsim.errors import InputError
    from perfsim.inputs.collective_tables import LINKS
    from perfsim.measure.card import count_cards, open_card
    from perfsim.measure.collectives import COLUMNS, Exchanges, launch
    from perfsim.measure.session import Table, budget
    from perfsim.report.progress import progress

    launched = launch(os.environ, count_cards())
    if launched.ranks > launched.local_ranks and not (fabric and network_gb_per_s):
        raise InputError("between several machines: say --fabric and --network-gb-per-s, the rate of a machine's NICs")
    card = open_card(launched.local_rank)
    links = links or _links(card, launched.local_ranks)
    if links not in LINKS:
        raise InputError(f"what links the cards is not clear; say --links with one of {', '.join(LINKS)}")
    bench = _bench(ctx, folder, card) if launched.rank == 0 else None
    exchanges = Exchanges(card, launched)
    cells: Row = {"links": links, "fabric": fabric, "network_gb_per_s": network_gb_per_s}
    if bench:
        cells |= {"system": system or f"{launched.ranks}x {card.name}", "gpu": bench.gpu, "source": bench.source}
    table = Table("collectives.csv", COLUMNS, bench.save if bench else lambda name, columns, rows: None)
    with progress("measuring collectives") as report:
        left_out = exchanges.measure(cells, is_quick, budget(is_quick), table, report)
    exchanges.close()
    if bench:
        bench.tell([table], left_out, [f"perfsim calibrate collectives {folder} -o mine/calibration/collectives.toml"])


@dataclass(frozen=True)
class _Bench:
    """A card made ready to be measured: its board, its key and the folder of its tables."""

    card: "Card"
    board: "Board"
    known: "Catalogue"
    gpu: str
    folder: Path
    day: str

    @property
    def source(self) -> str:
        """Who measured, in a table's words."""
        return f"perfsim measure, torch {self.card.torch.__version__}, {self.day}"

    def save(self, name: str, columns: Sequence[str], rows: "Sequence[Row]") -> None:
        """Write a table, whole."""
        from perfsim.report.export import csv_text, write

        write(str(self.folder / name), csv_text({column: [row[column] for row in rows] for column in columns}))

    def lowered_limit(self) -> float | None:
        """The board's power limit [W] where it is below the card's own."""
        limit = self.board.facts().get("power_limit_w")
        own = float(self.known.gpu(self.gpu).board_limit_watts)
        return float(limit) if limit is not None and float(limit) < own - 1.0 else None

    def work_off(self, works: "list[Work]", is_quick: bool, what: str, following: list[str]) -> None:
        """Measure, and say what was written."""
        from perfsim.measure.session import budget, work_off
        from perfsim.report.progress import progress

        with progress(f"measuring {what}") as report:
            left_out = work_off(works, budget(is_quick), report, self.card.release)
        self.tell(list({id(work.table): work.table for work in works}.values()), left_out, following)

    def tell(self, tables: list[Any], left_out: int, following: list[str]) -> None:
        """Print what was written and what to do with it."""
        for table in tables:
            failed = f", {table.failures} failed (column error)" if table.failures else ""
            click.echo(f"{self.folder / table.name}: {len(table.rows)} rows of {self.gpu}{failed}")
        if left_out:
            click.echo(f"{left_out} cases were left out: the time was over")
        for line in following:
            click.echo(f"next: {line}")


def _bench(ctx: click.Context, folder: Path, card: "Card | None" = None) -> _Bench:
    """The card, found among the specs, and its environment written to the folder.

    Raises: InputError where PyTorch or a card is missing, or the specs lack the card.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.installed import installed_gpu
    from perfsim.measure.board import open_board
    from perfsim.measure.card import open_card
    from perfsim.measure.environment import environment
    from perfsim.report.export import json_text, write

    card = card or open_card()
    known = catalogue(tuple(ctx.obj or ()))
    gpu = installed_gpu(known, card.name, card.memory_bytes, card.multiprocessors)
    board, day = open_board(card.uuid), datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    write(str(folder / "environment.json"), json_text(environment(card, board, gpu, day)))
    return _Bench(card, board, known, gpu, folder, day)


def _links(card: "Card", local_ranks: int) -> str:
    """What links the machine's cards, "" where NVML does not tell."""
    from perfsim.measure.links import link_ends, links_name

    if local_ranks < 2:
        return ""
    try:
        ends = link_ends(card.uuid)
    except OSError:
        return ""
    other = (card.device.index + 1) % local_ranks
    return links_name(ends, card.torch.cuda.can_device_access_peer(card.device, other))
