"""How long the best cuts of long models into many stages take to find.

Run: python benchmarks/partition_seconds.py
"""

import time

import numpy as np

from perfsim.search.partition import Units, partition

CASES = [  # layers, stages, choices of a layer, micro-batches
    (96, 8, 1, 64.0),
    (1000, 64, 1, np.inf),
    (1000, 64, 1, 256.0),
    (96, 8, 2, 64.0),
    (126, 16, 3, 64.0),
]


def units(layers: int, choices: int) -> Units:
    """Layers of ±30 % with random hand-overs; a choice that keeps less takes longer."""
    draw = np.random.default_rng(0).uniform
    keeps = np.linspace(1.0, 0.1, choices)[:, None]
    seconds = draw(0.7, 1.3, layers) * (1.0 + 0.33 * (1.0 - keeps))
    passing = np.broadcast_to(1.0 - 0.5 * keeps, (choices, layers))
    return Units(seconds, draw(0.7, 1.3, layers), keeps * draw(0.7, 1.3, layers), passing, 1.0,
                 draw(0.0, 0.1, layers - 1))  # fmt: skip


def main() -> None:
    for layers, stages, choices, microbatches in CASES:
        each = layers / stages
        capacity = np.full(stages, 2.0 * each + 0.5 * stages * each)
        model, in_flight = units(layers, choices), np.arange(stages, 0, -1.0)
        start = time.perf_counter()
        found = partition(model, capacity, in_flight, microbatches)
        took = time.perf_counter() - start
        what = "none fits" if found is None else f"longest stage {found.stage_seconds.max():.3f}"
        shape = f"{layers} layers x {stages} stages, {choices} choices, {microbatches:g} micro-batches"
        print(f"{shape}: {took:.3f} s, {what}")


if __name__ == "__main__":
    main()
