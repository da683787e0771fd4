"""Every rank measures the same cases in the same order; the table is what `perfsim calibrate collectives` reads."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import perfsim as ps
from perfsim.errors import InputError
from perfsim.inputs.collective_tables import LINKS, read_collectives
from perfsim.measure import collectives
from perfsim.measure.collectives import COLLECTIVES, COLUMNS, group_sizes, launch, payloads, values_of
from perfsim.measure.links import GPU, SWITCH, links_name
from perfsim.measure.session import Save, Table

ROOT = Path(__file__).parents[2]
TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"}


def test_torchrun_tells_the_ranks() -> None:
    found = launch(TORCHRUN, 8)
    assert (found.rank, found.ranks, found.local_rank, found.local_ranks) == (9, 16, 1, 8)
    assert group_sizes(found) == [2, 4, 8, 16]


def test_one_process_is_told_how_to_start() -> None:
    with pytest.raises(InputError, match="torchrun --nproc-per-node 4 -m perfsim measure collectives"):
        launch({}, 4)
    with pytest.raises(InputError, match="at least two GPUs"):
        launch({}, 1)


@pytest.mark.parametrize("is_quick, count", [(True, 11), (False, 21)])
def test_payloads_span_all_sizes_from_the_start(is_quick: bool, count: int) -> None:
    sizes = payloads(is_quick)
    assert len(set(sizes)) == len(sizes) == count
    assert (min(sizes), max(sizes)) == (2**10, 2**30)
    assert max(sizes[: count // 4 + 1]) / min(sizes[: count // 4 + 1]) >= 2**15


def test_ranks_share_values_evenly() -> None:
    assert [values_of(1024, ranks) % ranks for ranks in (2, 3, 7, 8)] == [0, 0, 0, 0]
    assert values_of(1024, 8) * collectives.VALUE_BYTES == 1024


def test_links_that_nvml_names_are_those_of_the_tables() -> None:
    ends = ([(SWITCH, "a")] * 18, [(GPU, "a")] * 4, [(GPU, "a"), (GPU, "b")], [])
    names = {links_name(end, peer) for end in ends for peer in (True, False)}
    assert names == set(LINKS)
    assert links_name([(255, "a")], True) == ""


def test_calibrate_reads_the_folder(save: Save, tmp_path: Path) -> None:
    table = Table("collectives.csv", COLUMNS, save)
    cells = {"system": "2x L4", "gpu": "l4", "links": "pcie", "source": "perfsim measure"}
    for name in COLLECTIVES:
        for size in payloads(True):
            table.add([cells | collectives._row(name, 2, 2, size, [2e-5 + size / 10e9] * 5)])
    found = read_collectives([tmp_path], ps.catalogue())
    assert len(found) == len(COLLECTIVES) * 11
    assert set(found.has_host) == {True}
    assert set(found.preset) == {"2x-l4"}


WORKER = """
import sys
from tests.measure.conftest import CpuCard
from perfsim.measure import collectives
from perfsim.measure.session import Table
import os
collectives.payloads = lambda is_quick: [1024, 65536]
launched = collectives.launch(os.environ, 2)
exchanges = collectives.Exchanges(CpuCard(), launched, backend="gloo")
table = Table("x", collectives.COLUMNS, lambda name, columns, rows: None)
left = exchanges.measure({"system": "x"}, True, float(sys.argv[1]), table, lambda done, total: None)
exchanges.close()
if launched.rank == 0:
    print("left", left, "rows", len(table.rows), "good", sum(row["time_us"] > 0 for row in table.rows))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds, said", [(60.0, "left 0 rows 10 good 10"), (-1.0, "left 10 rows 0 good 0")])
def test_two_processes_measure_together(seconds: float, said: str) -> None:
    pytest.importorskip("torch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    base |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(seconds)],
            cwd=ROOT, env=base | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert said in outputs[0][0]
