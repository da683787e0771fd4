"""Rented machines are paid whole: which offer is the cheapest for so many GPUs, and what it costs an hour."""

from collections.abc import Iterator, Sequence

import numpy as np

from perfsim.core.arrays import Lookup
from perfsim.core.hardware import System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.offers import Offer, OfferKind, Rate

RENTED: tuple[OfferKind, ...] = ("on-demand", "spot")  # the rows of System.rates
NO_RATES: Lookup[Rate] = Lookup.of(np.zeros((len(RENTED), 1), dtype=np.int64), [Rate()])


def rates(offers: Sequence[Offer], gpus_per_node: int) -> Lookup[Rate]:
    """The cheapest of `offers` by kind (RENTED) and number of GPUs; beyond a node's the one that is cheapest by node.

    A machine counts when it holds what the plan has on one node, since smaller ones lack the links between. Of equal
    prices the smaller machine counts, then the first in the alphabet: the order of offers means nothing.
    Source: docs/formulas.md#cost.
    """
    if not any(offer.kind in RENTED for offer in offers):
        return NO_RATES
    records = [_cheapest(offers, kind, gpus, gpus_per_node) for kind in RENTED for gpus in range(gpus_per_node + 2)]
    return Lookup.of(np.arange(len(records)).reshape(len(RENTED), -1), records)


def rate(system: System, gpus: Ints, kind: OfferKind) -> Rate:
    """The offer that `gpus` of the system are rented by, shaped as both broadcast."""
    return system.rates.at(RENTED.index(kind), gpus)


def usd_per_hour(system: System, gpus: Ints, kind: OfferKind) -> Floats:
    """What `gpus` of the system cost an hour, machines paid whole [USD/h]; 0 where no offer is known."""
    one = rate(system, gpus, kind)
    machines: Floats = np.ceil(1.0 * np.asarray(gpus) / one.gpus)
    return machines * one.usd_per_hour


def _cheapest(offers: Sequence[Offer], kind: OfferKind, gpus: int, gpus_per_node: int) -> Rate:
    """gpus: as many, gpus_per_node + 1 for all numbers beyond a node's."""
    least, beyond = min(gpus, gpus_per_node), gpus > gpus_per_node

    def ranked() -> Iterator[tuple[float, int, str, str, int]]:
        for i, offer in enumerate(offers):
            if offer.kind == kind and not 0 < offer.gpus < least:
                nodes = max(offer.gpus // gpus_per_node, 1) if beyond else 1
                usd = offer.usd / nodes if offer.gpus else offer.usd * least
                yield usd, offer.gpus, offer.instance, offer.place, i

    best = min(ranked(), default=None)
    if best is None:
        return Rate()
    chosen = offers[best[-1]]
    held = chosen.gpus // gpus_per_node * gpus_per_node if beyond else chosen.gpus
    return Rate(max(held, 1), chosen.usd, best[-1])
