"""Which layers a pipeline stage holds."""

import numpy as np

from perfsim.core.numbers import Floats, Ints


def layers_on_stage(
    first: Ints, count: Ints, layers: Ints, stage: Ints, stages: Ints, virtual_stages: Ints
) -> Floats:  # fmt: skip
    """How many of the `count` layers from layer `first` on a stage holds, of a model of `layers` layers [-].

    The layers are cut into stages·virtual_stages equal runs, dealt to the stages in turn; where they do not divide,
    layers are shared by parts. Source: NVIDIA/Megatron-LM megatron/core/transformer/transformer_block.py.

    >>> [float(layers_on_stage(0, 3, 8, i, 2, 1)) for i in range(2)], float(layers_on_stage(3, 5, 8, 1, 2, 2))
    ([3.0, 0.0], 3.0)
    """
    run = 1.0 * np.asarray(layers) / (np.asarray(stages) * virtual_stages)
    turn = run * stages

    def before(layer: Floats) -> Floats:
        return np.floor_divide(layer, turn) * run + np.clip(np.mod(layer, turn) - stage * run, 0.0, run)

    start = 1.0 * np.asarray(first)
    return before(start + count) - before(start)
