import numpy as np
import pytest

import perfsim as ps
from perfsim.core.fabric import Group
from perfsim.formulas.collectives import all_reduce_seconds, all_to_all_seconds, beside_seconds, half_seconds
from perfsim.formulas.groups import route


@pytest.fixture(scope="module")
def h100():
    return ps.system("dgx-h100")


def test_one_rank_costs_nothing(h100) -> None:
    assert all_reduce_seconds(route(h100, Group(1, 1)), 1e9) == 0.0
    assert all_to_all_seconds(route(h100, Group(1, 1)), 1e9) == 0.0


def test_large_all_reduce_runs_at_the_links_bus_bandwidth(h100) -> None:
    """8 GiB on 8 H100: 2·7/8·S at 0.70 of 450 GB/s, start-up below 1 %."""
    size = 8 * 2**30
    seconds = all_reduce_seconds(route(h100, Group(8, 1)), size)
    assert 2 * 7 / 8 * size / seconds == pytest.approx(0.70 * 450e9, rel=0.01)


def test_halves_make_an_all_reduce_in_bandwidth(h100) -> None:
    size = 2**32
    assert 2 * half_seconds(route(h100, Group(64, 1)), size) == pytest.approx(
        all_reduce_seconds(route(h100, Group(64, 1)), size), rel=0.05
    )


def test_between_nodes_all_nics_of_a_node_are_used(h100) -> None:
    """A ring over 2 nodes of 8: no faster than eight NICs of 50 GB/s, no slower than one."""
    size = 2**32
    bus = 2 * 15 / 16 * size / all_reduce_seconds(route(h100, Group(16, 1)), size)
    assert 50e9 < bus <= 8 * 50e9


def test_strided_groups_share_the_nics(h100) -> None:
    size = 2**30
    alone = half_seconds(route(h100, Group(16, 1)), size)
    strided = half_seconds(route(h100, Group(16, 8)), size)
    assert strided > alone


def test_overlap_never_beats_either_side_and_never_exceeds_their_sum_much() -> None:
    compute, wire = np.meshgrid(np.linspace(0, 5, 30), np.linspace(0, 5, 30))
    both = beside_seconds(compute, wire, 0.16)
    assert np.all(both >= np.maximum(compute, wire) - 1e-12)
    assert np.all(both <= compute + wire + 1e-12)
