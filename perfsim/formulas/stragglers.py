"""What waiting for the slowest of many ranks costs."""

import numpy as np

from perfsim.core.numbers import Floats, Ints

# Expected largest of 1, 2, 4, ... 65,536 normal deviates, in standard deviations. Source: order statistics, integrated
# numerically (tests/formulas/test_stragglers.py does it again).
EXPECTED_LARGEST = (
    0.0, 0.5642, 1.0294, 1.4236, 1.7660, 2.0697, 2.3437, 2.5946, 2.8269, 3.0439, 3.2482, 3.4418, 3.6261, 3.8023, 3.9714,
    4.1341, 4.2911,
)  # fmt: skip


def straggling(ranks: Ints, jitter: float) -> Floats:
    """By how much a step in which all `ranks` wait for each other is longer than one rank's own, as a share [-].

    Each rank's step varies by `jitter` (one standard deviation over the mean); the slowest of n counts: jitter times
    the expected largest of n normal deviates, between powers of two on a line over the logarithm.
    Holds for: ranks whose steps vary alike and independently, up to 65,536 of them, constant beyond.

    >>> [round(float(straggling(n, 0.01)), 4) for n in (1, 8, 1024)]
    [0.0, 0.0142, 0.0325]
    """
    return jitter * np.interp(np.log2(ranks), np.arange(len(EXPECTED_LARGEST)), EXPECTED_LARGEST)
