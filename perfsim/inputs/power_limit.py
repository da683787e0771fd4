"""A power limit below the board's own, as nvidia-smi -pl sets it: which ones can be, and the system then."""

from dataclasses import replace
from math import ceil, floor

import numpy as np

from perfsim.core.hardware import Gpu, System
from perfsim.core.numbers import Floats
from perfsim.core.power import PowerControl
from perfsim.errors import InputError
from perfsim.formulas.power import least_limit_watts
from perfsim.units import printable


def limit_range(gpu: Gpu, control: PowerControl) -> tuple[int, int]:
    """The limits a card can hold [W]: from what its lowest clock draws to the board's own.

    >>> import perfsim as ps
    >>> limit_range(ps.gpu("RTX 4090"), ps.catalogue().calibration().control)
    (161, 450)
    """
    return ceil(float(least_limit_watts(gpu, control))), floor(float(gpu.board_limit_watts))


def limit_fault(gpu: Gpu, watts: Floats, control: PowerControl) -> tuple[str, str] | None:
    """What is wrong with a limit, or the first wrong one of an array, and what to do; None where nothing is."""
    least, most = limit_range(gpu, control)
    for limit in np.ravel(watts).tolist():
        if not least <= limit <= most:
            what = f"{limit:g} W is not a limit that {printable(gpu.name)} can hold"
            return what, f"write {least:,} to {most:,} W"
    return None


def with_power_limit(system: System, watts: Floats, control: PowerControl) -> System:
    """The system, its boards limited to `watts` [W], a number or an array that broadcasts with plans.

    Raises: InputError with the range that the card can hold.
    """
    fault = limit_fault(system.gpu, watts, control)
    if fault:
        raise InputError(f"power limit: {fault[0]}; {fault[1]}")
    return replace(
        system, gpu=replace(system.gpu, power_limit_watts=1.0 * np.asarray(watts) if np.ndim(watts) else watts)
    )
