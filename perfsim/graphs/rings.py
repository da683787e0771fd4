"""How many rings fit onto NVLinks that go straight from GPU to GPU."""

from collections.abc import Iterator

import numpy as np

MOST_SEARCHED = 8  # GPUs of a mesh; beyond, rings are not searched
Ring = tuple[tuple[int, int], ...]


def ring_count(links: np.ndarray) -> int:
    """The most rings over all n GPUs at once, each link carrying one ring each way.

    links: [n, n] NVLinks from one GPU to the other. Rings are directed Hamiltonian cycles that share no link. Where
    all pairs have as many links, every GPU's links are all used: n - 1 times those of a pair (at half speed where
    whole rings leave some over, n = 4 and 6). Elsewhere the search is exact, up to 8 GPUs; 0 beyond.
    Source: what NVIDIA/nccl src/graph/search.cc looks for; the search is perfsim's own.

    >>> ring_count(2 * (1 - np.eye(3, dtype=int)))
    4
    """
    n = len(links)
    between = links[~np.eye(n, dtype=bool)]
    if between.min() == between.max():
        return int((n - 1) * between[0])
    if n > MOST_SEARCHED:
        return 0
    rings = list(_rings(links))
    return _packed(links.copy(), rings, 0, 0, 0)


def _rings(links: np.ndarray) -> Iterator[Ring]:
    """Every directed Hamiltonian cycle from GPU 0."""
    n = len(links)

    def grow(path: list[int]) -> Iterator[Ring]:
        if len(path) == n:
            if links[path[-1], 0]:
                yield tuple(zip(path, [*path[1:], 0], strict=True))
            return
        for following in range(1, n):
            if following not in path and links[path[-1], following]:
                yield from grow([*path, following])

    return grow([0])


def _packed(free: np.ndarray, rings: list[Ring], first: int, count: int, best: int) -> int:
    """The most rings with those from `first` on added to `count` that are there; `free` is restored."""
    best = max(best, count)
    for i in range(first, len(rings)):
        if count + min(free.sum(axis=0).min(), free.sum(axis=1).min()) <= best:
            return best
        if all(free[edge] for edge in rings[i]):
            for edge in rings[i]:
                free[edge] -= 1
            best = _packed(free, rings, i, count + 1, best)
            for edge in rings[i]:
                free[edge] += 1
    return best
