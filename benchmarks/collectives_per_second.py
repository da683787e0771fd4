"""Seconds that collectives of a million plans take, one core.

Run: python benchmarks/collectives_per_second.py
"""

import time

import numpy as np

import perfsim as ps
from perfsim.core.plan import Plan
from perfsim.formulas.collectives import all_reduce_seconds, all_to_all_seconds, half_seconds, send_seconds
from perfsim.formulas.groups import data_group, route

PLANS = 1_000_000
REPEATS = 5


def main() -> None:
    """Print the best of a few repeats for each collective, finding the group's links included."""
    random = np.random.default_rng(0)
    plans = Plan(tensor_parallel=2 ** random.integers(0, 4, PLANS), data_parallel=2 ** random.integers(0, 8, PLANS))
    sizes = random.uniform(1e3, 1e9, PLANS)
    system = ps.system("dgx-h100")
    print(f"{PLANS:,} plans on {system.name}, seconds; the bar: 0.3")
    for collective in (all_reduce_seconds, half_seconds, all_to_all_seconds, send_seconds):
        best = float("inf")
        for _ in range(REPEATS):
            start = time.perf_counter()
            collective(route(system, data_group(plans)), sizes)
            best = min(best, time.perf_counter() - start)
        print(f"{collective.__name__:24}{best:.2f}")


if __name__ == "__main__":
    main()
