"""Which layers a pipeline stage holds."""

import numpy as np

from perfsim.core.numbers import Bools, Floats, Ints


def layers_on_stage(
    first: Ints, count: Ints, layers: Ints, stage: Ints, stages: Ints, virtual_stages: Ints,
    is_mirrored: Bools = False,
) -> Floats:  # fmt: skip
    """How many of the `count` layers from layer `first` on a stage holds, of a model of `layers` layers [-].

    The layers are cut into stages·virtual_stages equal runs, dealt to the stages in turn; where they do not divide,
    layers are shared by parts. is_mirrored: a stage has its run from either end (ZB-V, DualPipe).
    Source: NVIDIA/Megatron-LM megatron/core/transformer/transformer_block.py.

    >>> [float(layers_on_stage(0, 3, 8, i, 2, 1)) for i in range(2)], float(layers_on_stage(3, 5, 8, 1, 2, 2))
    ([3.0, 0.0], 3.0)
    >>> [float(layers_on_stage(0, 3, 8, i, 2, 2, True)) for i in range(2)]
    [2.0, 1.0]
    """
    if np.any(is_mirrored):
        runs: Ints = np.asarray(stages) * np.asarray(virtual_stages)
        front, back = (layers_on_stage(first, count, layers, run, runs, 1) for run in (stage, runs - 1 - stage))
        in_turn = layers_on_stage(first, count, layers, stage, stages, virtual_stages)
        return np.where(is_mirrored, front + back, in_turn)
    run = 1.0 * np.asarray(layers) / (np.asarray(stages) * virtual_stages)
    turn = run * stages

    def before(layer: Floats) -> Floats:
        return np.floor_divide(layer, turn) * run + np.clip(np.mod(layer, turn) - stage * run, 0.0, run)

    start = 1.0 * np.asarray(first)
    return before(start + count) - before(start)
