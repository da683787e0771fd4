"""The kernels of one operation."""

from dataclasses import dataclass

from perfsim.formulas.roofline import Kernel


@dataclass(frozen=True)
class Lowered:
    """The kernels of one operation; the last `weight_kernels` of the backward ones give the weights' gradients."""

    forward: tuple[Kernel, ...] = ()
    backward: tuple[Kernel, ...] = ()
    weight_kernels: int = 0
