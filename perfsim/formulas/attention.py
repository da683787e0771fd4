"""Seconds of fused (flash) attention from its blocks, its exponentials and its rows; pure arithmetic on arrays.

A thread block takes 128 queries of one head past all their keys, 128 at a time. Work is whole tiles; the products and
the exponentials of a tile share a multiprocessor; each row costs a fixed start and finish; the last blocks run alone.
"""

import numpy as np

from perfsim.core.calibration import FlashAttention
from perfsim.core.numbers import Bools, Floats, Ints

TILE = 128.0  # queries of a block and keys of a step, FlashAttention-2 and -3 (Dao 2023, arXiv 2307.08691)
FORWARD_PRODUCTS = 2.0
BACKWARD_PRODUCTS = 5.0


def attention_tiles(query_len: Floats, key_len: Floats, is_causal: Bools) -> tuple[Floats, Floats]:
    """Tiles of the longest block and of a whole head, [tiles]: (k, q·k), causal (k, q·k - m·(m-1)/2), m = min(q, k).

    query_len, key_len [tokens]; q and k count started tiles. Where there are more keys, the queries are the last of
    them; where there are fewer, key_len is the width of a sliding window. Broadcasts.
    >>> attention_tiles(512.0, 512.0, True)
    (np.float64(4.0), np.float64(10.0))
    """
    q, k = np.ceil(np.asarray(query_len) / TILE), np.ceil(np.asarray(key_len) / TILE)
    shorter = np.minimum(q, k)
    return k, q * k - np.where(is_causal, 0.5 * shorter * (shorter - 1.0), 0.0)


def attention_seconds(
    heads: Floats, query_len: Floats, key_len: Floats, head_dim: Floats, is_causal: Bools, size_bytes: Floats,
    flops_per_s: Floats, bandwidth_bytes_per_s: Floats, multiprocessors: Ints | Floats, clock_hz: Floats,
    parameters: FlashAttention, is_backward: bool = False,
) -> Floats:  # fmt: skip
    """Seconds of one flash-attention kernel without its launch [s].

    t = max(τ·(H·n/S + γ·k) + H·s·c/(S·f), Q/B), τ = √((2·p·128²·D·S/(e·P))² + (128²/(x·f))²) of one tile,
    n tiles of a head, k of its longest block.
    heads H [heads of all sequences]; query_len s, key_len [tokens]; head_dim D [values]: the mean of the query and
    value dimensions forward, the larger one backward (kernels pad); size_bytes Q [B] least traffic; flops_per_s e·P
    [FLOP/s] what the products of long sequences sustain; bandwidth_bytes_per_s B [B/s]; multiprocessors S [-];
    clock_hz f [1/s]; p = 2 products forward, 5 backward. All broadcast to the result's shape.
    Holds for: key_len >= 512, head_dim 64-256, causal or not; grouped queries change Q alone. With fewer
    blocks than multiprocessors t can be 30 % too short.
    Source: docs/formulas.md#attention; tiles and waves after Dao 2023 (arXiv 2307.08691), the exponentials' limit
    after Shah et al. 2024 (arXiv 2407.08608).
    """
    work = attention_work(
        heads, query_len, key_len, head_dim, is_causal, flops_per_s, multiprocessors, clock_hz, parameters, is_backward
    )
    seconds: Floats = np.maximum(work, np.asarray(size_bytes) / bandwidth_bytes_per_s)
    return seconds


def attention_work(
    heads: Floats, query_len: Floats, key_len: Floats, head_dim: Floats, is_causal: Bools, flops_per_s: Floats,
    multiprocessors: Ints | Floats, clock_hz: Floats, parameters: FlashAttention, is_backward: bool = False,
) -> Floats:  # fmt: skip
    """`attention_seconds` without its traffic [s]: τ·(H·n/S + γ·k) + H·s·c/(S·f), all of it paced by the core clock."""
    S, f = np.asarray(multiprocessors, dtype=float), np.asarray(clock_hz, dtype=float)
    longest, tiles = attention_tiles(query_len, key_len, is_causal)
    products = BACKWARD_PRODUCTS if is_backward else FORWARD_PRODUCTS
    rate = np.asarray(flops_per_s) * (parameters.backward_share if is_backward else 1.0)
    matmul = 2.0 * products * TILE * TILE * np.asarray(head_dim) * S / rate
    softmax = TILE * TILE / (parameters.exponentials_per_clock * f)
    tile = np.sqrt(matmul * matmul + softmax * softmax)
    rows = np.asarray(heads) * query_len * parameters.row_clocks / (S * f)
    work: Floats = tile * (np.asarray(heads) * tiles / S + parameters.tail_share * longest) + rows
    return work
