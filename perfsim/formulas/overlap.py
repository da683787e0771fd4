"""What communication beside computation costs: the excess, the last bucket, and what it takes from kernels."""

import numpy as np

from perfsim.core.numbers import Floats


def beside_seconds(compute_seconds: Floats, wire_seconds: Floats, multiprocessor_share: float) -> Floats:
    """Seconds of computation with a collective beside it [s]: the collective holds a share of the multiprocessors.

    While both run, compute advances at 1 - share; what of the collective outlasts it is exposed.
    Source: docs/formulas.md#overlap.
    """
    slowed = compute_seconds / (1.0 - multiprocessor_share)
    hidden = compute_seconds + multiprocessor_share * wire_seconds
    return np.where(wire_seconds <= slowed, hidden, wire_seconds)


def bucket_count(size_bytes: Floats, bucket_bytes: Floats) -> Floats:
    """How many buckets of `bucket_bytes` hold `size_bytes`, at least 1; 1 where nothing is cut into buckets.

    >>> [float(bucket_count(size, 25.0)) for size in (1.0, 25.0, 60.0)], float(bucket_count(60.0, 0.0))
    ([1.0, 1.0, 3.0], 1.0)
    """
    is_cut = np.asarray(bucket_bytes) > 0.0
    return np.where(is_cut, np.maximum(1.0, np.ceil(size_bytes / np.where(is_cut, bucket_bytes, 1.0))), 1.0)


def queue_exposed_seconds(
    wire_seconds: Floats, beside: Floats, buckets: Floats, last_share: Floats, multiprocessor_share: float
) -> Floats:
    """Exposed seconds of `buckets` reductions, `wire_seconds` in all, beside a pass of `beside` seconds [s].

    Bucket j = 1..k is ready at j/k of the pass and goes when the ones before it are through; the last holds at least
    `last_share` of the bytes (the embedding, one tensor that is ready when all else is). So the last ends at
    max(pass + last, pass/k + wire): what of that is beyond the pass is exposed, and the hidden rest slows the pass by
    the multiprocessors that it holds.
    Holds for: parameters spread evenly over the pass. Source: perfsim's own; tests hold it against the queue.
    """
    last = np.maximum(1.0 / buckets, last_share)
    exposed = np.maximum(last * wire_seconds, wire_seconds - beside * (1.0 - 1.0 / buckets))
    hidden = np.maximum(0.0, wire_seconds - exposed)
    return exposed + multiprocessor_share * hidden
