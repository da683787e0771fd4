"""Tables of measured kernels: scenarios/validation/kernels/, and those people measure on their own cards.

The header tells which kind of kernel a table holds. Columns of a measuring program that perfsim does not need are
allowed; rows it cannot use (another number format or operator, an error, a throttled repeat) are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perfsim.calibration.kernel_models import VALUE_BYTES
from perfsim.calibration.kernels import Attentions, Measured, Products, Streams
from perfsim.core.hardware import Gpu
from perfsim.errors import InputError, PerfsimError, UnknownNameError
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.tables import Cells, Complaints, read_table, tables_in
from perfsim.paths import builtin
from perfsim.units import MICRO

LEAST_ROWS = 15  # of one card and kind
COMMON = ("gpu", "dtype", "time_us")
SIGNS = {  # the columns that make a table of each kind
    "products": ("m", "n", "k"),
    "streams": ("op", "rows", "cols", "bytes"),
    "attention": ("batch", "heads", "head_dim", "q_len", "kv_len"),
}
OPTIONAL = frozenset(
    "source batch kv_heads pass causal mode error case part group layout layer kind backend impl dropout in_l2 "
    "time_us_min time_us_max host_us n_calls n_repeats n_sets sm_mhz sm_mhz_min mem_mhz power_w power_w_counter "
    "power_limit_w temp_c throttle window_s flops bytes tflops_per_s gb_per_s flop_per_clk_sm ns_per_row tile splitk "
    "notes".split()
)
KINDS = {
    **dict.fromkeys(
        "add addu sub mul mulu div divu pow powu gelu relu tanh silu cast copy dropout residual_dropout".split(),
        "elementwise",
    ),
    **dict.fromkeys("ln layer_norm layernorm".split(), "norm"),
    "softmax": "softmax",
}


@dataclass(frozen=True)
class KernelTables:
    """Measured kernels by kind, None for a kind that no table holds; left_out: rows that were not used."""

    products: Products | None = None
    streams: Streams | None = None
    attention: Attentions | None = None
    left_out: int = 0

    def kinds(self) -> dict[str, Measured]:
        """The kinds that there are."""
        found = {"products": self.products, "streams": self.streams, "attention": self.attention}
        return {name: rows for name, rows in found.items() if rows is not None}

    def gpus(self, catalogue: Catalogue) -> dict[str, Gpu]:
        """The cards of all rows by key."""
        keys = dict.fromkeys(key for rows in self.kinds().values() for key in rows.gpu.tolist())
        return {key: catalogue.gpu(key) for key in keys}


def builtin_tables() -> list[Path]:
    """The tables that come with perfsim."""
    return sorted((builtin("scenarios") / "validation" / "kernels").glob("*.csv"))


def read_kernels(paths: Sequence[Path], catalogue: Catalogue) -> KernelTables:
    """The kernels of these tables, or of the tables in a folder.

    Raises: InputError with the problems of every table, up to 50 of each.
    """
    rows: dict[str, list[dict[str, object]]] = {kind: [] for kind in SIGNS}
    complaints: list[str] = []
    left_out = 0
    for path in tables_in(paths, [f"{kind}.csv" for kind in SIGNS]):
        try:
            kind, found, unused = _Table(path, catalogue).rows()
            rows[kind] += found
            left_out += unused
        except PerfsimError as error:
            complaints.append(str(error))
    if complaints:
        raise InputError("\n".join(complaints))
    records: dict[str, Callable[..., Measured]] = {"products": Products, "streams": Streams, "attention": Attentions}
    made = {
        kind: records[kind](**{name: np.array([row[name] for row in listed]) for name in listed[0]})
        for kind, listed in rows.items()
        if listed
    }
    few = [
        f"{key}: {count} rows of {kind} are too few to fit; measure at least {LEAST_ROWS} shapes"
        for kind, rows_of_kind in made.items()
        for key, count in zip(*np.unique(rows_of_kind.gpu, return_counts=True), strict=True)
        if count < LEAST_ROWS
    ]
    if few:
        raise InputError("\n".join(few))
    if not made:
        raise InputError(
            f"{', '.join(map(str, paths))}: no row that can be used; see docs/validation.md for the columns"
        )
    return KernelTables(**made, left_out=left_out)  # type: ignore[arg-type]


class _Table:
    """One table; what is wrong with it comes all at once."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self._path, self._catalogue = path, catalogue
        self._complaints = Complaints(path)
        self._keys: dict[str, str] = {}

    def rows(self) -> tuple[str, list[dict[str, object]], int]:
        """(kind of kernel, its rows, how many were left out)."""
        known = {*COMMON, *OPTIONAL, *(name for columns in SIGNS.values() for name in columns)}
        table = read_table(self._path, known, COMMON)
        header = set(table[0][1]) if table else set()
        kinds = [kind for kind, columns in SIGNS.items() if set(columns) <= header]
        if len(kinds) != 1:
            wanted = "; ".join(f"{kind}: {', '.join(columns)}" for kind, columns in SIGNS.items())
            self._complaints.add(
                1, "holds no kind of kernel" if not kinds else "holds two kinds", f"columns of {wanted}"
            )
        self._complaints.stop()
        kind = kinds[0]
        read = {"products": self._product, "streams": self._stream, "attention": self._attention}[kind]
        used = [(line, cells) for line, cells in table if self._is_used(cells)]
        found = [self._common(line, cells) | read(line, cells) for line, cells in used]
        self._complaints.stop()
        return kind, found, len(table) - len(used)

    def _is_used(self, cells: Cells) -> bool:
        is_burst = cells.get("mode", "") in ("", "burst")
        is_known = cells["dtype"] in VALUE_BYTES and cells.get("op", "add") in KINDS
        return is_burst and is_known and not cells.get("error") and cells.get("in_l2", "0") in ("", "0")

    def _common(self, line: int, cells: Cells) -> dict[str, object]:
        return {
            "gpu": self._gpu(line, cells["gpu"]),
            "source": cells.get("source") or self._path.name,
            "number_format": cells["dtype"],
            "seconds": self._number(line, cells, "time_us", 1e-3, 1e9) * MICRO,
        }

    def _product(self, line: int, cells: Cells) -> dict[str, object]:
        names = {"batch": "batch", "rows": "m", "columns": "n", "contraction": "k"}
        return {
            name: self._number(line, cells, column, 1, 1e9, "1" if column == "batch" else "")
            for name, column in names.items()
        }

    def _stream(self, line: int, cells: Cells) -> dict[str, object]:
        return {
            "operation": cells["op"],
            "kind": KINDS[cells["op"]],
            "rows": self._number(line, cells, "rows", 1, 1e12),
            "columns": self._number(line, cells, "cols", 1, 1e9),
            "bytes": self._number(line, cells, "bytes", 1, 1e13),
        }

    def _attention(self, line: int, cells: Cells) -> dict[str, object]:
        columns = {
            "batch": "batch", "heads": "heads", "kv_heads": "kv_heads", "head_dim": "head_dim", "query_len": "q_len",
            "key_len": "kv_len",
        }  # fmt: skip
        heads = cells["heads"]
        found: dict[str, object] = {
            name: self._number(line, cells, column, 1, 1e9, heads if column == "kv_heads" else "")
            for name, column in columns.items()
        }
        way = cells.get("pass", "") or "forward"
        if way not in ("forward", "backward", "fwd", "bwd"):
            self._complaints.add(line, f"pass: {way[:40]}", "write forward or backward")
        is_causal = cells.get("causal", "").lower() not in ("0", "false", "no")
        return found | {"is_causal": is_causal, "is_backward": way.startswith("b")}

    def _gpu(self, line: int, name: str) -> str:
        if name not in self._keys:
            try:
                self._keys[name] = self._catalogue.find("gpus", name)
            except UnknownNameError as error:
                self._complaints.add(line, f"gpu: {error}", "or define the card in a folder of $PERFSIM_PATH")
                self._keys[name] = name
        return self._keys[name]

    def _number(self, line: int, cells: Cells, column: str, least: float, most: float, default: str = "") -> float:
        text = cells.get(column) or default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            self._complaints.add(
                line, f"{column}: {text[:40] or 'empty'}", f"write a number from {least:g} to {most:g}"
            )
            return 1.0
        return value
