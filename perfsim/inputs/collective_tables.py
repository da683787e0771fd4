"""Tables of measured collectives: scenarios/validation/collectives.csv, people's own, and nccl-tests logs."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perfsim.calibration.collectives import COLLECTIVES, Collectives
from perfsim.errors import InputError, PerfsimError
from perfsim.formulas.nccl import ring_bytes_per_s, switch_bytes_per_s
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.fabric import preset_name
from perfsim.inputs.files import problem, read_text
from perfsim.inputs.tables import Cells, Complaints, read_table, tables_in
from perfsim.paths import builtin
from perfsim.units import GIGA, MIB, MICRO

LINKS = ("nvswitch", "nvlink-mesh", "nvlink-bridge", "pcie", "pcie-host")
REQUIRED = ("system", "gpu", "links", "collective", "ranks", "bytes", "time_us")
OPTIONAL = (
    "switch",
    "timing",
    "fabric",
    "network_gb_per_s",
    "ranks_per_node",
    "source",
    "notes",
    "time_us_min",
    "time_us_max",
)
LOG_PROGRAMS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
    "sendrecv": "send_recv",
}
LOG_BYTES = int(16 * MIB)
_PROGRAM = re.compile(rf"({'|'.join(LOG_PROGRAMS)})(_perf)?")
Row = dict[str, Any]


def builtin_table() -> Path:
    """The measured collectives that come with perfsim."""
    return builtin("scenarios") / "validation" / "collectives.csv"


def read_collectives(paths: Sequence[Path], catalogue: Catalogue) -> Collectives:
    """The rows of tables (.csv), of a folder's collectives.csv, and of nccl-tests logs (any other name).

    Raises: InputError that lists every problem of a file.
    """
    rows: list[Row] = []
    for path in tables_in(paths, ["collectives.csv"]):
        rows += _table_rows(path, catalogue) if path.suffix == ".csv" else _log_rows(path)
    if not rows:
        raise InputError("no measured collectives; name a table or an nccl-tests log")
    return _arrays(rows)


def _arrays(rows: list[Row]) -> Collectives:
    return Collectives(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def _table_rows(path: Path, catalogue: Catalogue) -> list[Row]:
    complaints = Complaints(path)
    found = []
    for line, cells in read_table(path, (*REQUIRED, *OPTIONAL), REQUIRED):
        row = _row(line, cells, catalogue, complaints)
        if row:
            found.append(row)
    complaints.stop()
    return found


def _row(line: int, cells: Cells, catalogue: Catalogue, complaints: Complaints) -> Row | None:
    """A line of a table; None with a complaint when it cannot be used."""
    numbers = {name: _number(line, name, cells, complaints) for name in ("ranks", "bytes", "time_us")}
    numbers |= {n: _number(line, n, cells, complaints) for n in ("ranks_per_node", "network_gb_per_s") if cells.get(n)}
    for name, known in (("collective", COLLECTIVES), ("links", LINKS)):
        if cells[name] not in known:
            complaints.add(line, f"{name}: {cells[name]!r} is unknown", f"write one of {', '.join(known)}")
            return None
    if not all(numbers.values()):
        return None
    ranks = int(numbers["ranks"] or 0)
    if ranks < 2:
        complaints.add(line, f"ranks: {ranks} exchange nothing", "remove the row")
        return None
    members = min(int(numbers.get("ranks_per_node") or ranks), ranks)
    nic = (numbers.get("network_gb_per_s") or 0.0) * GIGA / members
    if ranks > members and not nic:
        complaints.add(line, "network_gb_per_s: missing between nodes", "add the rate of a node's NICs, one direction")
        return None
    preset, ring, switch = _links(line, cells, members, catalogue, complaints)
    return {
        "system": cells["system"],
        "preset": preset,
        "network": cells.get("fabric", "").lower(),
        "collective": cells["collective"],
        "ranks": ranks,
        "members": members,
        "bytes": numbers["bytes"],
        "ring_bytes_per_s": ring,
        "switch_bytes_per_s": switch,
        "nic_bytes_per_s": nic or 1.0,
        "has_host": cells.get("timing") == "torch",
        "seconds": (numbers["time_us"] or 0.0) * MICRO,
        "source": cells.get("source", ""),
    }


def _links(
    line: int, cells: Cells, members: int, catalogue: Catalogue, complaints: Complaints
) -> tuple[str, float, float]:
    """(preset that the row speaks for, ring rate, rate of the switch [B/s]); rates of 0 are the machine's own."""
    if cells["links"] != "nvswitch":
        return machine_name(cells["system"]), 0.0, 0.0
    try:
        card = catalogue.gpu_spec(catalogue.find("gpus", cells["gpu"]))
    except PerfsimError as error:
        complaints.add(line, f"gpu: {error}", "")
        return "", 0.0, 0.0
    if card.nvlink_gb_per_s is None:
        complaints.add(line, f"links: {card.name} has no NVLink", f"write one of {', '.join(LINKS[1:])}")
        return "", 0.0, 0.0
    rate, capability = card.nvlink_gb_per_s * GIGA / 2, float(card.compute_capability)
    switch = 0.0 if cells.get("switch") == "off" else switch_bytes_per_s(rate, capability, members)
    return preset_name("nvswitch", capability), ring_bytes_per_s(rate, capability), switch


def machine_name(system: str) -> str:
    """A machine's preset name from what a table calls it.

    >>> machine_name("2x RTX 4090 PCIe4, no P2P, docker (same root)")
    '2x-rtx-4090-pcie4-no-p2p-docker-same-root'
    """
    return re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-")[:64]


def _number(line: int, name: str, cells: Cells, complaints: Complaints) -> float | None:
    try:
        value = float(cells[name])
    except ValueError:
        value = float("nan")
    if not 0 < value < 1e15:
        complaints.add(line, f"{name}: {cells[name][:40]!r} is no positive number", "write a plain number")
        return None
    return value


def _log_rows(path: Path) -> list[Row]:
    """The times of an nccl-tests log, as rows of one machine that is named after the file.

    The header tells ranks and hosts, or nThread x nGpus; the first line of the run, which collective it is, and the
    file's name where it does not.
    """
    text = read_text(path, LOG_BYTES)
    collective = _log_collective(path, text)
    ranks, members = _log_ranks(path, text)
    if ranks < 2:
        raise InputError(problem(path, None, "is of one GPU, which exchanges nothing", "run it on two or more"))
    rows = [
        {
            "system": path.stem,
            "preset": machine_name(_PROGRAM.sub("", path.stem)) or "machine",
            "network": "",
            "collective": collective,
            "ranks": ranks,
            "members": members,
            "bytes": size,
            "ring_bytes_per_s": 0.0,
            "switch_bytes_per_s": 0.0,
            "nic_bytes_per_s": 1.0,
            "has_host": False,
            "seconds": microseconds * MICRO,
            "source": path.name,
        }
        for size, microseconds in _log_times(text)
    ]
    if not rows:
        raise InputError(
            problem(path, None, "has no line of times", "give the output of e.g. all_reduce_perf -b 1K -e 1G")
        )
    return rows


def _log_collective(path: Path, text: str) -> str:
    for name, collective in LOG_PROGRAMS.items():
        if f"{name}_perf" in text or name in path.stem:
            return collective
    known = ", ".join(f"{name}_perf" for name in LOG_PROGRAMS)
    raise InputError(problem(path, None, "does not say which collective ran", f"put one of {known} into its name"))


def _log_ranks(path: Path, text: str) -> tuple[int, int]:
    """(ranks, ranks of one host) from the lines `#  Rank  0 ... on HOST device 0 ...`, else from nThread and nGpus."""
    hosts = re.findall(r"^#\s*Rank\s+\d+\s.*?\bon\s+(\S+)\s+device", text, re.MULTILINE)
    if hosts:
        return len(hosts), max(hosts.count(host) for host in set(hosts))
    stated = re.search(r"nThread\s+(\d+)\s+nGpus\s+(\d+)", text)
    if stated:
        n = int(stated[1]) * int(stated[2])
        return n, n
    raise InputError(problem(path, None, "does not list its ranks", "keep the lines that begin with # Rank"))


def _log_times(text: str) -> Iterator[tuple[float, float]]:
    """(bytes, microseconds) of every result, out-of-place and in-place.

    A line is size, count, type, [redop, root,] and time, algbw, busbw, errors of the two; N/A is no result.
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) < 7 or not words[0].isdigit() or not words[1].isdigit() or words[2].isdigit():
            continue
        results = words[3:]
        for time in results[-8 if len(results) >= 8 else -4 :: 4]:
            if re.fullmatch(r"\d+(\.\d+)?", time) and float(time) > 0 and int(words[0]) > 0:
                yield float(words[0]), float(time)
