"""One machine at the wall: what it draws, the heat it gives off, and the circuits and power supply it needs."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.site import Site
from perfsim.formulas.energy import machine_watts
from perfsim.units import BTU_PER_WATT_HOUR

# What draws current for three hours or more may take 80 % of a circuit's breaker: the breaker is rated at 125 % of such
# a load (NEC 210.20(A)); a training run does
CONTINUOUS_SHARE = 0.8
# Of a power supply, as Puget Systems' article 1974 has that of four RTX 3090; it found 1,580 of 1,600 W too close
SUPPLY_EFFICIENCY = 0.92
SUPPLY_SHARE = 0.8  # of a power supply's rating that is used at most, assumed
SUPPLY_STEP_WATTS = 50.0


@dataclass(frozen=True)
class Machine:
    """A machine that works on a job: mean watts at the wall [W], the most [W], and what it takes to run and cool it."""

    machine_watts: Floats
    machine_most_watts: Floats
    heat_btu_per_h: Floats
    circuits: Ints
    circuit_watts: float
    supply_watts: Floats


def machine(system: System, gpus: Ints, watts_per_gpu: Floats, site: Site) -> Machine:
    """The machine of a job on `gpus` GPUs whose boards draw `watts_per_gpu`: [W], heat [BTU/h], circuits, supply [W].

    All that it draws becomes heat. Circuits carry the site's socket_watts each, else what a household's of 15 A at
    120 V may; they bear the most, boards at their limit. The supply's rating is of what it gives the parts behind it.
    Holds for: machines that draw from circuits alike; a building's (pue) is not counted.
    """
    boards = np.minimum(gpus, system.gpus_per_node) * watts_per_gpu
    mean = boards + system.host_watts_per_gpu * system.gpus_per_node
    most = machine_watts(system, gpus)
    each = site.socket_watts or circuit_watts(120.0, 15.0)
    supply = most * SUPPLY_EFFICIENCY / SUPPLY_SHARE
    return Machine(
        machine_watts=mean,
        machine_most_watts=most,
        heat_btu_per_h=BTU_PER_WATT_HOUR * mean,
        circuits=np.ceil(most / each).astype(int),
        circuit_watts=each,
        supply_watts=SUPPLY_STEP_WATTS * np.ceil(supply / SUPPLY_STEP_WATTS),
    )


def circuit_watts(volts: float, amperes: float) -> float:
    """What a circuit with a breaker of `amperes` carries for hours [W].

    Source: National Electrical Code 210.20(A), where no national rule says otherwise.

    >>> circuit_watts(120, 15), circuit_watts(120, 20)
    (1440.0, 1920.0)
    """
    return CONTINUOUS_SHARE * volts * amperes
