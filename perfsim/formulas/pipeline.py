"""Seconds of a pipeline's steady state and of its fill, in closed form."""

from dataclasses import dataclass

import numpy as np

from perfsim.core.numbers import Floats, Ints


@dataclass(frozen=True)
class Pipeline:
    """Seconds of one step on the stage that decides: working, waiting for the fill and the drain, handing over."""

    work_seconds: Floats
    bubble_seconds: Floats
    send_seconds: Floats


def pipeline(
    layers_seconds: Floats, ends_seconds: Floats, last_seconds: Floats, send: Floats, stages: Ints, microbatches: Ints,
    virtual_stages: Ints,
) -> Pipeline:  # fmt: skip
    """Seconds of GPipe, 1F1B or interleaved 1F1B with a heavier last stage and hand-overs that take time [s].

    layers_seconds: forward and backward of one stage's layers, one micro-batch; last_seconds: what the last stage
    does more (head and loss); ends_seconds: head, loss and embedding together; send: one hand-over.
    With w = layers, H = last, E = ends, c = send, p stages, m micro-batches, v virtual stages:
    cycle λ = max(w + H, w + E/p + 2cv(p-1)/p), T = m·λ + (p-1)·(w/v + 2c).
    Holds for: equal stages; interleaving with microbatches in multiples of the stages. One stage: T = m·(w + E).
    Source: Narayanan et al. 2021 (arXiv 2104.04473) for the bubble; λ is perfsim's own (docs/formulas.md#pipeline).
    """
    p, v, m = 1.0 * np.asarray(stages), 1.0 * np.asarray(virtual_stages), 1.0 * np.asarray(microbatches)
    is_piped = p > 1.0
    hand_over = np.where(is_piped, 2.0 * send * v * (p - 1.0) / p, 0.0)
    spread = layers_seconds + ends_seconds / p
    last = layers_seconds + np.where(is_piped, last_seconds, ends_seconds)
    cycle = np.maximum(last, spread + hand_over)
    work = np.maximum(last, spread)
    bubble = np.where(is_piped, (p - 1.0) * (layers_seconds / v), 0.0)
    sends = m * (cycle - work) + np.where(is_piped, (p - 1.0) * 2.0 * send, 0.0)
    return Pipeline(m * work, bubble, sends)


def in_flight(stages: Ints, stage: Ints, microbatches: Ints, virtual_stages: Ints, is_gpipe: Floats) -> Floats:
    """Micro-batches whose activations a stage holds at once, in units of one micro-batch of all its layers.

    GPipe m; 1F1B min(m, p - i); interleaved min(m·v, 2(p - i - 1) + (v - 1)·p + 1) / v.
    Source: NVIDIA/Megatron-LM megatron/core/pipeline_parallel/schedules.py (warm-up counts).
    """
    p, i, m, v = (1.0 * np.asarray(x) for x in (stages, stage, microbatches, virtual_stages))
    one = np.minimum(m, p - i)
    many = np.minimum(m * v, 2.0 * (p - i - 1.0) + (v - 1.0) * p + 1.0) / v
    return np.where(is_gpipe, m, np.where(v > 1.0, many, one))
