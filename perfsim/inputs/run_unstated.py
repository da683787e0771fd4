"""What published rows leave blank but the scripts or settings that ran them say: scenarios/validation/unstated.csv."""

from collections import defaultdict
from functools import lru_cache

from perfsim.inputs.tables import Cells, read_table
from perfsim.paths import builtin

BLANKS = ("", "unknown")
SILENT = ("1",)  # virtual stages that a table writes for a source which does not say whether it interleaves


def completed(cells: Cells) -> Cells:
    """A row's cells with the blank ones filled in where its own project says what they were."""
    found = _unstated().get(cells.get("run_id", ""), {})
    return cells | {
        name: value
        for name, value in found.items()
        if cells.get(name, "") in (*BLANKS, *(SILENT if name == "vpp" else ()))
    }


@lru_cache(maxsize=1)
def _unstated() -> dict[str, Cells]:
    table: dict[str, Cells] = defaultdict(dict)
    columns = ("run_id", "column", "value", "source")
    for _, row in read_table(builtin("scenarios") / "validation" / "unstated.csv", columns, columns):
        table[row["run_id"]][row["column"]] = row["value"]
    return table
