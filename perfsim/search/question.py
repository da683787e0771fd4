"""What a search is asked."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perfsim.core.calibration import Calibration
from perfsim.core.hardware import System, numbered
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.core.software import Software
from perfsim.core.workload import Workload
from perfsim.search.space import Space


@dataclass(frozen=True)
class Question:
    """What is asked of every plan of a space on every system.

    has_headroom: memory to spare counts like time and energy.
    """

    workload: Workload
    software: Software
    calibration: Calibration
    systems: tuple[System, ...]
    space: Space
    site: Site
    has_headroom: bool = False

    @cached_property
    def fleet(self) -> System:
        """The systems as one record of arrays."""
        return numbered(self.systems)

    def figures(self, seconds: np.ndarray, joules: np.ndarray, memory_bytes: np.ndarray) -> np.ndarray:
        """What plans on like systems are held against each other by [plans, figures]; money follows from two of it."""
        return np.column_stack([seconds, joules, memory_bytes] if self.has_headroom else [seconds, joules])

    def figures_of(self, estimates: Estimate) -> np.ndarray:
        """The figures of plans that are costed."""
        seconds, joules = estimates.time.total_seconds, estimates.energy.total_joules
        return self.figures(*(np.asarray(x) for x in (seconds, joules, estimates.memory.total_bytes)))
