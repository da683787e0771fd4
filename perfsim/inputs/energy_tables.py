"""Tables of measured power: scenarios/validation/energy.csv, and people's own. They are tables of runs with watts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perfsim.calibration.energy import LargeProduct, PoweredCard, PoweredRun
from perfsim.calibration.runs import MeasuredRun
from perfsim.errors import InputError, PerfsimError
from perfsim.inputs.calibration import CardRules, card_calibration
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.files import load
from perfsim.inputs.run_row import COLUMNS
from perfsim.inputs.runs import runs_of
from perfsim.inputs.tables import Cells, Complaints, read_table
from perfsim.paths import builtin
from perfsim.units import MEGA, PICO, TERA

SCOPES = ("board", "waiting", "node", "node-dc")
BOUNDS = {"avg_power_w": 1e6, "power_limit_w": 1e4, "time_rel": 1e3}
PRODUCTS = ("gpu", "dtype", "tflops", "source")
LEAST_SHARE = 0.25  # half precision that a card multiplies without tensor cores is no product of the formula
REQUIRED = ("gpu", "avg_power_w")


def builtin_table() -> Path:
    """The measured power that comes with perfsim."""
    return builtin("scenarios") / "validation" / "energy.csv"


def read_energy(paths: Sequence[Path], catalogue: Catalogue) -> list[PoweredRun]:
    """The rows of these tables.

    Raises: InputError with the problems of every table, up to 50 of each.
    """
    found: list[PoweredRun] = []
    complaints: list[str] = []
    for path in paths:
        try:
            found += _rows(path, catalogue)
        except PerfsimError as error:
            complaints.append(str(error))
    if complaints:
        raise InputError("\n".join(complaints))
    if not found:
        raise InputError("no measured power; name a table with the columns that docs/validation.md lists")
    return found


def read_products(catalogue: Catalogue) -> list[LargeProduct]:
    """The largest products measured on cards with tensor cores, perfsim's own table.

    The share of the peak at full clock is that of the class of cards (calibration/cards.toml). Cards without tensor
    cores run far above their printed clock, by an unknown amount.
    """
    rules = load(builtin("specs") / "calibration" / "cards.toml", CardRules).rule
    found = []
    for _, cells in read_table(builtin("scenarios") / "validation" / "peak_products.csv", PRODUCTS, PRODUCTS):
        key, name = cells["gpu"], cells["dtype"]
        spec, rate = catalogue.gpu_spec(key), float(cells["tflops"]) * TERA
        peak = (getattr(spec.peak_tflops, name) or 0.0) * TERA
        if spec.architecture == "pascal" or peak == 0.0 or (name != "fp32" and rate < LEAST_SHARE * peak):
            continue
        share = card_calibration(key, spec, rules).gemm_fraction[name]
        found.append(LargeProduct(powered_card(key, catalogue), name, rate, float(share) * peak))
    return found


def powered_card(key: str, catalogue: Catalogue) -> PoweredCard:
    """The card with the numbers of specs/calibration/power.toml."""
    spec, rules = catalogue.gpu_spec(key), catalogue.power_rules
    process = rules.process_of(key, spec)
    return PoweredCard(
        key,
        spec.architecture,
        process.nanometres,
        spec.memory_type,
        spec.boost_mhz * MEGA * rules.headroom_of(key, spec),
        spec.multiprocessors,
        spec.power_limit_watts,
        process.to_process(),
        rules.picojoules_per_byte[spec.memory_type] * PICO,
    )


def _rows(path: Path, catalogue: Catalogue) -> list[PoweredRun]:
    complaints = Complaints(path)
    table = read_table(path, (*COLUMNS, *BOUNDS, "power_scope"), REQUIRED)
    numbers = {line: _numbers(line, cells, complaints) for line, cells in table}
    trained: list[tuple[int, Cells]] = []
    waiting: list[tuple[int, Cells]] = []
    for line, cells in table:
        scope = cells.get("power_scope") or "board"
        if scope not in SCOPES:
            complaints.add(line, f"power_scope: {scope[:60]!r} is unknown", f"write one of {', '.join(SCOPES)}")
        (waiting if scope == "waiting" else trained).append((line, cells))
    complaints.stop()
    rows: list[tuple[tuple[int, Cells], MeasuredRun]] = []
    for is_board, known in ((True, catalogue.before_runs()), (False, catalogue)):
        # what boards draw is told apart from whole runs; those of servers give predicted seconds as well
        own = [
            (line, cells) for line, cells in trained if ((cells.get("power_scope") or "board") == "board") is is_board
        ]
        if own:
            runs = runs_of(path, [(line, _run_cells(cells)) for line, cells in own], known, must_measure=False)
            rows += zip(own, runs, strict=True)
    rows += [((line, cells), _waiting(cells, f"{path.stem}:{line}", catalogue)) for line, cells in waiting]
    cards = {run.gpu_key: powered_card(run.gpu_key, catalogue) for _, run in rows}
    return [
        PoweredRun(
            run,
            cards[run.gpu_key],
            cells.get("power_scope") or "board",
            numbers[line]["avg_power_w"],
            numbers[line].get("time_rel", 0.0),
        )
        for (line, cells), run in rows
    ]


def _numbers(line: int, cells: Cells, complaints: Complaints) -> dict[str, float]:
    found = {}
    for name, most in BOUNDS.items():
        if not cells.get(name):
            if name == "avg_power_w":
                complaints.add(line, f"{name}: is missing", "fill it in")
            continue
        try:
            found[name] = float(cells[name])
        except ValueError:
            found[name] = 0.0
        if not 0.0 < found[name] <= most:
            complaints.add(line, f"{name}: {cells[name][:60]!r} is not between 0 and {most:,.0f}", "correct it")
    return found


def _run_cells(cells: Cells) -> Cells:
    """The columns of a table of runs; a power limit stands in its `extras`."""
    found = {name: value for name, value in cells.items() if name in COLUMNS}
    if limit := cells.get("power_limit_w"):
        found["extras"] = ";".join(filter(None, (found.get("extras"), f"power_limit_w={round(float(limit))}")))
    return found


def _waiting(cells: Cells, name: str, catalogue: Catalogue) -> MeasuredRun:
    """A board that trains nothing that perfsim knows: its card alone matters."""
    gpu = catalogue.gpu(cells["gpu"])
    facts = MeasuredRun(
        cells.get("run_id") or name, cells.get("source", ""), "dev", "a", gpu.key, "", "", "", 0.0, 0.0, "", "ok"
    )
    return replace(facts, system=catalogue.box(gpu, 1))
