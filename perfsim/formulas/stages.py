"""Which layers a pipeline stage holds."""

from functools import lru_cache

import numpy as np

from perfsim.core.numbers import Bools, Floats, Ints


def layers_on_stage(
    first: Ints, count: Ints, layers: int, stage: Ints, stages: Ints, virtual_stages: Ints,
    is_mirrored: Bools = False,
) -> Floats:  # fmt: skip
    """How many of the `count` layers from layer `first` on a stage holds, of a model of `layers` layers [-].

    Interleaved, the layers are cut into stages·virtual_stages equal runs, dealt to the stages in turn; where only
    layers + 2 divide, embedding and head count as a layer each (`ends_counted`) and the first and the last run have one
    less. Else each stage has one run, and layers that are left over go to the middle ones: the first and the last have
    the model's ends.
    is_mirrored: a stage has its run from either end (ZB-V, DualPipe).
    Source: NVIDIA/Megatron-LM megatron/core/transformer/transformer_block.py; the middle is perfsim's own, where people
    name the layers of the first and the last stage (--decoder-first-pipeline-num-layers).

    >>> [float(layers_on_stage(0, 3, 8, i, 2, 1)) for i in range(2)], float(layers_on_stage(3, 5, 8, 1, 2, 2))
    ([3.0, 0.0], 3.0)
    >>> [float(layers_on_stage(0, 10, 10, i, 4, 1)) for i in range(4)]
    [2.0, 3.0, 3.0, 2.0]
    >>> [float(layers_on_stage(0, 10, 10, i, 3, 2)) for i in range(3)]
    [3.0, 4.0, 3.0]
    >>> [float(layers_on_stage(0, 3, 8, i, 2, 2, True)) for i in range(2)]
    [2.0, 1.0]
    """
    if np.any(is_mirrored):
        runs: Ints = np.asarray(stages) * np.asarray(virtual_stages)
        front, back = (layers_on_stage(first, count, layers, run, runs, 1) for run in (stage, runs - 1 - stage))
        in_turn = layers_on_stage(first, count, layers, stage, stages, virtual_stages)
        return np.where(is_mirrored, front + back, in_turn)
    start = 1.0 * np.asarray(first)
    end, p = start + count, np.asarray(stages)
    base, left = np.divmod(1.0 * np.asarray(layers), p)

    def before_stage(i: Ints) -> Floats:
        found: Floats = base * i + np.clip(i - np.floor((p - left) / 2.0), 0.0, left)
        return found

    low, high = before_stage(stage), before_stage(np.asarray(stage) + 1)
    in_one_run = np.maximum(np.minimum(end, high) - np.maximum(start, low), 0.0)
    ends = ends_counted(layers, stages, virtual_stages)
    start, end = start + ends, end + ends
    run = (np.asarray(layers) + 2.0 * ends) / (p * virtual_stages)
    turn = run * p

    def before_layer(layer: Floats) -> Floats:
        whole: Floats = np.floor_divide(layer, turn) * run
        part: Floats = np.clip(np.mod(layer, turn) - stage * run, 0.0, run)
        return whole + part

    there: Floats = np.where(np.asarray(virtual_stages) > 1, before_layer(end) - before_layer(start), in_one_run)
    return there


def ends_counted(layers: int, stages: Ints, virtual_stages: Ints) -> Ints:
    """How many layers embedding and head count as, each, when layers are cut into chunks: 0, or 1 where it helps [-].

    1 where layers + 2 divide by stages·virtual_stages and layers do not: Llama 3.1 405B's 126 on 16 stages of 8 chunks.
    Source: NVIDIA/Megatron-LM --account-for-embedding-in-pipeline-split, --account-for-loss-in-pipeline-split; Llama 3
    (arXiv 2407.21783), section 3.3.2.

    >>> [int(ends_counted(126, 16, v)) for v in (1, 4, 8)]
    [0, 1, 1]
    """
    counts = _counts_of(layers)
    chunks = np.asarray(stages) * np.asarray(virtual_stages)
    return np.where(np.asarray(virtual_stages) > 1, counts[np.minimum(chunks, len(counts)) - 1], 0)


@lru_cache
def _counts_of(layers: int) -> np.ndarray:
    """The same by the number of chunks, from 1 to one more than divide anything."""
    return np.array([layers % k > 0 and (layers + 2) % k == 0 for k in range(1, layers + 4)], dtype=np.int64)


def fullest_stage(layers: int, stages: Ints, virtual_stages: Ints) -> Floats:
    """Layers of the stage that has most [-]; of two stages with an end each, both have less.

    >>> float(fullest_stage(10, 4, 1)), float(fullest_stage(12, 4, 3)), float(fullest_stage(126, 16, 8))
    (3.0, 3.0, 8.0)
    """
    mean = 1.0 * np.asarray(layers) / stages
    ends = ends_counted(layers, stages, virtual_stages)
    most = mean + np.where(np.asarray(stages) > 2, 2.0 * ends / stages, 0.0) if np.any(ends) else mean
    return np.where(np.asarray(virtual_stages) > 1, most, np.ceil(mean))
