"""Measured collectives: nccl-tests logs as they are, tables of one's own, and what is told of broken ones."""

from pathlib import Path

import pytest

from perfsim.errors import InputError
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.collective_tables import builtin_table, read_collectives

LOG = """# nThread 1 nGpus 2 minBytes 1024 maxBytes 8388608 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1
#
# Using devices
#  Rank  0 Group  0 Pid  12345 on   mybox device  0 [0x01] NVIDIA GeForce RTX 4090
#  Rank  1 Group  0 Pid  12345 on   mybox device  1 [0x02] NVIDIA GeForce RTX 4090
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
        1024           256     float     sum      -1    10.94    0.09    0.09      0    10.90    0.09    0.09      0
     8388608       2097152     float     sum      -1   3811.2    2.20    2.20      0   3809.0    2.20    2.20      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 1.23456
"""
GATHER = """# nThread 2 nGpus 2 minBytes 1024
#       size         count      type     time   algbw   busbw #wrong     time   algbw   busbw #wrong
        4096           256     float    21.50    0.19    0.14      0    20.10    0.20    0.15      0
        8192           512     float    22.50    0.36    0.27    N/A    20.10    0.20    0.15    N/A
"""
HEADER = "system,gpu,links,collective,ranks,bytes,time_us"


def read(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text)
    return read_collectives([path], catalogue())


def test_a_log_of_all_reduce(tmp_path: Path) -> None:
    rows = read(tmp_path, "all_reduce_perf-mybox.log", LOG)
    assert rows.collective.tolist() == ["all_reduce"] * 4
    assert rows.ranks.tolist() == rows.members.tolist() == [2] * 4
    assert rows.bytes.tolist() == [1024, 1024, 8388608, 8388608]
    assert rows.seconds.tolist() == pytest.approx([10.94e-6, 10.90e-6, 3811.2e-6, 3809.0e-6])


def test_a_log_without_reduction_and_without_devices(tmp_path: Path) -> None:
    """all_gather_perf has no redop and root; threads times GPUs are the ranks."""
    rows = read(tmp_path, "all_gather_perf.txt", GATHER)
    assert rows.ranks.tolist() == [4] * 4
    assert rows.seconds.tolist() == pytest.approx([21.5e-6, 20.1e-6, 22.5e-6, 20.1e-6])


def test_a_log_without_in_place_results(tmp_path: Path) -> None:
    """alltoall_perf of some versions prints N/A in place; older programs stop after the first four columns."""
    lines = (
        "# nThread 1 nGpus 2\n"
        "  1024   128   float   none   -1   11.5   0.09   0.04      0    N/A    N/A    N/A    N/A\n"
        "  2048   256   float   12.5   0.16   0.08   0e+00\n"
    )
    rows = read(tmp_path, "alltoall_perf-box.log", lines)
    assert rows.collective.tolist() == ["all_to_all"] * 2
    assert rows.seconds.tolist() == pytest.approx([11.5e-6, 12.5e-6])


def test_a_log_of_two_hosts(tmp_path: Path) -> None:
    text = LOG.replace("on   mybox device  1", "on   other device  0")
    rows = read(tmp_path, "all_reduce_perf.log", text)
    assert (rows.ranks[0], rows.members[0]) == (2, 1)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("log.txt", LOG, "does not say which collective ran; put one of all_reduce_perf"),
        ("all_reduce_perf.log", "# nThread 1 nGpus 8\n", "has no line of times"),
        ("all_reduce_perf.log", "        1024  256  float  sum  -1  10.9  0.1  0.1  0\n", "does not list its ranks"),
        ("t.csv", f"{HEADER}\nx,a100,pcie,all_reduce,two,8,1\n", "t.csv:2: ranks: 'two' is no positive number"),
        ("t.csv", f"{HEADER}\nx,a40,pcie,all_reduce,1,8,1\n", "t.csv:2: ranks: 1 exchange nothing"),
        ("t.csv", f"{HEADER}\nx,a40,pcie,all_reduced,2,8,1\n", "collective: 'all_reduced' is unknown; write one of"),
        ("t.csv", f"{HEADER}\nx,a40,wifi,all_reduce,2,8,1\n", "links: 'wifi' is unknown; write one of nvswitch"),
        ("t.csv", f"{HEADER}\nx,rtx-4090,nvswitch,all_reduce,2,8,1\n", "links: GeForce RTX 4090 has no NVLink"),
        ("t.csv", f"{HEADER}\nx,h1000,nvswitch,all_reduce,2,8,1\n", "h1000: not among the gpus"),
        ("t.csv", f"{HEADER}\nx,a40,pcie,all_reduce,2,8,-1\n", "time_us: '-1' is no positive number"),
        ("t.csv", "system,gpu\nx,a40\n", "the column is missing"),
    ],
)
def test_what_is_told_of_a_broken_file(tmp_path: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, name, text)
    assert expected in str(error.value)
    assert name in str(error.value)


def test_rows_between_nodes_need_the_rate_of_their_nics(tmp_path: Path) -> None:
    text = f"{HEADER},ranks_per_node\nx,h100 sxm,nvswitch,all_reduce,16,1024,70,8\n"
    with pytest.raises(InputError, match="network_gb_per_s: missing between nodes; add the rate"):
        read(tmp_path, "t.csv", text)


def test_the_shipped_table_covers_desktops_to_racks() -> None:
    rows = read_collectives([builtin_table()], catalogue())
    assert len(rows) > 4000
    assert {2, 4, 8, 16, 64, 72, 1440} <= set(rows.ranks.tolist())
    assert all(rows.source)
