"""Rented machines are paid whole, by the cheapest offer that holds what a plan has on a node."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.arrays import take
from perfsim.core.hardware import System, numbered
from perfsim.core.offers import Offer
from perfsim.core.results import Energy
from perfsim.core.site import Site
from perfsim.formulas.cost import cost, has_price
from perfsim.formulas.rent import RENTED, rate, rates, usd_per_hour

PRICES = st.integers(1, 100_000).map(lambda cents: cents / 100)
OFFERS = st.lists(
    st.builds(
        Offer, kind=st.sampled_from(RENTED), gpu=st.just("t4"), gpus=st.sampled_from([0, 1, 2, 4, 8, 16]), usd=PRICES,
        instance=st.sampled_from(["a", "b"]), place=st.sampled_from(["", "here"]),
    ),
    max_size=12,
)  # fmt: skip
NODES = st.sampled_from([1, 2, 4, 8])


def machine(offers: Sequence[Offer], gpus_per_node: int) -> System:
    return replace(
        ps.catalogue().box("t4", gpus_per_node), rates=rates(offers, gpus_per_node), max_gpus=64 * gpus_per_node
    )


def by_hand(offers: Sequence[Offer], node: int, gpus: int, kind: str) -> float:
    """The least bill of one kind of machine; 0 where none holds the plan."""
    bills = []
    for offer in offers:
        if offer.kind == kind and not offer.gpus:
            bills.append((offer.usd * min(gpus, node), 0, gpus * offer.usd))
        elif offer.kind == kind and offer.gpus >= min(gpus, node):
            held = offer.gpus if gpus <= node else offer.gpus // node * node
            bills.append(
                (offer.usd * node / held if gpus > node else offer.usd, offer.gpus, ceil(gpus / held) * offer.usd)
            )
    return min(bills)[2] if bills else 0.0


@given(OFFERS, NODES, st.integers(1, 40), st.sampled_from(RENTED))
def test_the_cheapest_offer_is_chosen_and_paid_whole(offers: list[Offer], node: int, gpus: int, kind: str) -> None:
    system = machine(offers, node)
    assert float(usd_per_hour(system, gpus, kind)) == pytest.approx(by_hand(offers, node, gpus, kind), rel=1e-12)
    chosen = int(rate(system, gpus, kind).offer)
    assert (chosen < 0) == (not has_price(system, gpus, Site(price="spot" if kind == "spot" else "rent")))
    assert chosen < 0 or (offers[chosen].kind == kind and not 0 < offers[chosen].gpus < min(gpus, node))


@given(OFFERS, NODES, st.randoms(use_true_random=False))
def test_the_order_of_offers_means_nothing(offers: list[Offer], node: int, random: object) -> None:
    mixed = sorted(offers, key=lambda _: random.random())  # type: ignore[attr-defined]
    gpus = np.arange(1, 40)
    for kind in RENTED:
        one, other = (rate(machine(some, node), gpus, kind) for some in (offers, mixed))
        assert np.array_equal(one.usd_per_hour, other.usd_per_hour) and np.array_equal(one.gpus, other.gpus)
        names = [
            [some[i] if i >= 0 else None for i in np.broadcast_to(found.offer, gpus.shape)]
            for some, found in ((offers, one), (mixed, other))
        ]
        assert names[0] == names[1]


@given(OFFERS, NODES, st.floats(0.01, 100), st.floats(0.1, 1e6))
def test_dollars_are_linear_in_price_and_hours(offers: list[Offer], node: int, factor: float, seconds: float) -> None:
    gpus, joules = np.arange(1, 20), Energy(1e6, 0.0, 0.0)
    dearer = [replace(offer, usd=offer.usd * factor) for offer in offers]
    for site in (Site(), Site(price="spot")):
        once = cost(machine(offers, node), gpus, seconds, joules, site).total_usd
        more = cost(machine(dearer, node), gpus, seconds, joules, site).total_usd
        longer = cost(machine(offers, node), gpus, 2 * seconds, joules, site).total_usd
        assert np.allclose(more, factor * once, rtol=1e-12) and np.allclose(longer, 2 * once, rtol=1e-12)


@given(OFFERS, NODES)
def test_more_gpus_never_cost_less(offers: list[Offer], node: int) -> None:
    bills = usd_per_hour(machine(offers, node), np.arange(1, node + 1), "on-demand")
    known = np.where(np.broadcast_to(bills, node) > 0, bills, inf)
    assert np.all(known[1:] >= known[:-1])


def test_many_systems_at_once_have_each_their_own_rates() -> None:
    offers = [[Offer("on-demand", "t4", 1, 0.5)], [], [Offer("on-demand", "t4", 4, 1.0), Offer("spot", "t4", 4, 0.4)]]
    systems = [machine(some, node) for some, node in zip(offers, (1, 2, 4), strict=True)]
    rows = take(numbered(systems), np.array([0, 1, 2, 2, 0]))
    gpus = np.array([1, 2, 1, 8, 3])
    assert usd_per_hour(rows, gpus, "on-demand").tolist() == [0.5, 0.0, 1.0, 2.0, 1.5]
    assert usd_per_hour(rows, gpus, "spot").tolist() == [0.0, 0.0, 0.4, 0.8, 0.0]
    assert has_price(rows, gpus, Site(price="spot")).tolist() == [False, False, True, True, False]


def test_a_machine_too_small_for_a_node_is_no_offer() -> None:
    system = machine([Offer("on-demand", "t4", 1, 0.5)], 8)
    assert usd_per_hour(system, np.array([1, 2, 8]), "on-demand").tolist() == [0.5, 0.0, 0.0]
