import numpy as np
import pytest

import perfsim as ps
from perfsim.formulas.collectives import Group, all_to_all_seconds, beside_seconds, collective_seconds


@pytest.fixture(scope="module")
def h100():
    return ps.system("dgx-h100")


def test_one_rank_costs_nothing(h100) -> None:
    assert collective_seconds(h100, Group(1, 1), 1e9, 2.0) == 0.0
    assert all_to_all_seconds(h100, Group(1, 1), 1e9) == 0.0


def test_large_all_reduce_runs_at_the_links_bus_bandwidth(h100) -> None:
    """8 GiB on 8 H100: 2·7/8·S at 0.70 of 450 GB/s, start-up below 1 %."""
    size = 8 * 2**30
    seconds = collective_seconds(h100, Group(8, 1), size, 2.0)
    assert 2 * 7 / 8 * size / seconds == pytest.approx(0.70 * 450e9, rel=0.01)


def test_halves_make_an_all_reduce_in_bandwidth(h100) -> None:
    size = 2**32
    assert 2 * collective_seconds(h100, Group(64, 1), size, 1.0) == pytest.approx(
        collective_seconds(h100, Group(64, 1), size, 2.0), rel=0.05
    )


def test_between_nodes_all_nics_of_a_node_are_used(h100) -> None:
    """A ring over 2 nodes of 8: no faster than eight NICs of 50 GB/s, no slower than one."""
    size = 2**32
    bus = 2 * 15 / 16 * size / collective_seconds(h100, Group(16, 1), size, 2.0)
    assert 50e9 < bus <= 8 * 50e9


def test_strided_groups_share_the_nics(h100) -> None:
    size = 2**30
    alone = collective_seconds(h100, Group(16, 1), size, 1.0)
    strided = collective_seconds(h100, Group(16, 8), size, 1.0)
    assert strided > alone


def test_overlap_never_beats_either_side_and_never_exceeds_their_sum_much() -> None:
    compute, wire = np.meshgrid(np.linspace(0, 5, 30), np.linspace(0, 5, 30))
    both = beside_seconds(compute, wire, 0.16)
    assert np.all(both >= np.maximum(compute, wire) - 1e-12)
    assert np.all(both <= compute + wire + 1e-12)
