"""Machines at the wall: metered ones, the rule of circuits, and what must grow with what."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.site import Site
from perfsim.formulas.machine import circuit_watts, machine
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.power_limit import with_power_limit

BOX = catalogue().system("pcie-4x-rtx-3090")


def test_four_rtx_3090_need_two_circuits() -> None:
    """4 x 350 W and 380 W behind a supply of 92 %: 1,935 W, above a circuit's 1,440 W (15 A at 120 V) and 1,920 W."""
    found = machine(BOX, 4, 340.0, Site())
    assert float(found.machine_most_watts) == pytest.approx((4 * 350 + 380) / 0.92)
    assert (found.circuits, found.circuit_watts) == (2, 1440.0)
    assert machine(BOX, 4, 340.0, Site(socket_watts=circuit_watts(120, 20))).circuits == 2
    assert machine(BOX, 4, 340.0, Site(socket_watts=circuit_watts(240, 20))).circuits == 1
    assert found.machine_watts == pytest.approx(4 * 340 + 150)
    assert found.heat_btu_per_h == pytest.approx(3.412 * (4 * 340 + 150), rel=1e-4)
    assert found.supply_watts == 2250.0  # 1,780 W behind it at 80 % of its rating


def test_the_metered_peak_of_four_at_300_watts() -> None:
    """Puget Systems (article 1974): 1,717 W at the wall, from which the host's share is; limits lower the rest."""
    limited = with_power_limit(BOX, 300.0, catalogue().calibration().control)
    assert float(machine(limited, 4, 300.0, Site()).machine_most_watts) == pytest.approx(1717, rel=0.02)


@given(st.integers(1, 8), st.floats(100.0, 1e5), st.floats(0.0, 400.0))
def test_circuits_bear_the_most_and_one_less_does_not(gpus: int, socket_watts: float, watts: float) -> None:
    found = machine(catalogue().box("rtx-3090", 8), gpus, watts, Site(socket_watts=socket_watts))
    assert found.circuits * socket_watts >= found.machine_most_watts > (found.circuits - 1) * socket_watts
    assert found.supply_watts * 0.8 >= 0.92 * found.machine_most_watts


def test_many_plans_are_as_each_alone() -> None:
    node, counts = catalogue().system("dgx-h100"), np.array([1, 8, 64])
    many = machine(node, counts, np.array([300.0, 500.0, 600.0]), Site())
    assert many.machine_watts[1] < many.machine_watts[2]  # a node of sixty-four has eight cards too
    assert many.machine_most_watts[1] == many.machine_most_watts[2] == pytest.approx(10_200)
    lower = replace(node, host_watts_per_gpu=0.0)
    assert np.all(machine(lower, counts, np.array([300.0, 500.0, 600.0]), Site()).machine_watts < many.machine_watts)
