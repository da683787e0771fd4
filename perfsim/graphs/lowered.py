"""The kernels of one operation."""

from dataclasses import dataclass

from perfsim.formulas.roofline import Kernel


@dataclass(frozen=True)
class Lowered:
    """The kernels of one operation, forward and backward."""

    forward: tuple[Kernel, ...] = ()
    backward: tuple[Kernel, ...] = ()
