"""The tables beside perfsim's own runs: sets that have a name, what rivals reach on them, and budgets of errors."""

from pathlib import Path

from perfsim.calibration.accuracy import NamedSet, Rival
from perfsim.calibration.budgets import QUANTITIES, Budget
from perfsim.inputs.tables import Cells, Complaints, read_table

PATTERNS = ("source", "stack", "gpu", "format", "model", "gpus")
RIVAL = ("set", "rival", "mape_percent", "rows", "remark", "source")
BUDGET = ("kind", "group", "quantity", "measurements", "mape_percent", "bias_percent")


def read_sets(path: Path) -> list[NamedSet]:
    """The named sets of a table: a shell pattern for each fact; an empty cell lets every run pass.

    Raises: InputError with the problems of the table.
    """
    rows = read_table(path, ("set", *PATTERNS), ("set",))
    return [NamedSet(cells["set"], {name: cells[name] for name in PATTERNS if cells.get(name)}) for _, cells in rows]


def read_rivals(path: Path) -> list[Rival]:
    """The rivals' figures of a table, in its order.

    Raises: InputError with the problems of the table.
    """
    complaints = Complaints(path)
    found = []
    for line, cells in read_table(path, RIVAL, RIVAL):
        mape, rows = (_number(line, name, cells, complaints) for name in ("mape_percent", "rows"))
        found.append(Rival(cells["set"], cells["rival"], mape / 100.0, int(rows), cells["remark"], cells["source"]))
    complaints.stop()
    return found


def read_budgets(path: Path) -> list[Budget]:
    """The budgets of a table, in its order.

    Raises: InputError with the problems of the table.
    """
    complaints = Complaints(path)
    found = []
    for line, cells in read_table(path, BUDGET, BUDGET):
        count, mape, bias = (_number(line, name, cells, complaints) for name in BUDGET[3:])
        quantity = next((one for one in QUANTITIES if one == cells["quantity"]), None)
        if quantity is None:
            complaints.add(line, f"quantity: {cells['quantity'][:40]!r} is none", f"write {' or '.join(QUANTITIES)}")
            continue
        found.append(Budget(cells["kind"], cells["group"], quantity, int(count), mape / 100.0, bias / 100.0))
    complaints.stop()
    return found


def _number(line: int, name: str, cells: Cells, complaints: Complaints) -> float:
    try:
        value = float(cells[name])
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e9:
        complaints.add(line, f"{name}: {cells[name][:40]!r} is no number from 0 up", "write a plain number")
        return 0.0
    return value
