"""What published rows leave blank but the scripts or settings that ran them say: scenarios/validation/unstated.csv."""

from collections import defaultdict
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain

from perfsim.inputs.tables import Cells, read_table
from perfsim.paths import builtin

BLANKS = ("", "unknown")
SILENT = ("1",)  # virtual stages that a table writes for a source which does not say whether it interleaves


def completed(cells: Cells) -> Cells:
    """A row's cells with the blank ones filled in where its own project says what they were; `extras` are added to."""
    filled = dict(cells)
    by_run, by_source = _unstated()
    source = cells.get("source", "")
    known = [by_run.get(cells.get("run_id", ""), {})]
    known += [facts for pattern, facts in by_source.items() if fnmatchcase(source, pattern)]
    for name, value in chain.from_iterable(facts.items() for facts in known):
        said = filled.get(name, "")
        if name == "extras":
            new = (option for option in value.split(";") if f"{option.partition('=')[0]}=" not in said)
            filled[name] = ";".join(filter(None, (said, *new)))
        elif said in BLANKS or (name == "vpp" and said in SILENT):
            filled[name] = value
    return filled


@lru_cache(maxsize=1)
def _unstated() -> tuple[dict[str, Cells], dict[str, Cells]]:
    """The facts by run_id, and those of all runs whose source a shell pattern matches: its first column has a "*"."""
    tables: tuple[dict[str, Cells], dict[str, Cells]] = (defaultdict(dict), defaultdict(dict))
    columns = ("run_id", "column", "value", "source")
    for _, row in read_table(builtin("scenarios") / "validation" / "unstated.csv", columns, columns):
        tables["*" in row["run_id"]][row["run_id"]][row["column"]] = row["value"]
    return tables
