"""Which offers a system has, and the system with the rates that come of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from perfsim.core.hardware import System
from perfsim.core.offers import Offer, OfferKind
from perfsim.formulas.rent import RENTED, rates
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.price_tables import read_prices
from perfsim.inputs.system import offer_text


def with_prices(system: System, catalogue: Catalogue, own: Sequence[Offer] = ()) -> System:
    """The system with the prices of `own` and, where these have none of a kind for its card, of the specs.

    A system with an offer of its own takes no other of that kind, a cloud's instance only its own; any other machine
    takes what is offered with its card.
    """
    sources = [[offer for offer in source if offer.gpu == system.gpu.key] for source in (own, catalogue.offers)]
    rented = [offer for kind in RENTED for offer in _first(sources, kind, system, catalogue.is_cloud(system.key))]
    found = replace(
        system, rates=rates(rented, int(system.gpus_per_node)), offers=tuple(offer_text(offer) for offer in rented)
    )
    return _to_buy(found, _first(sources, "purchase", system, only_own=False))


def read_all(paths: Iterable[Path], catalogue: Catalogue) -> tuple[Offer, ...]:
    """The offers of several files.

    Raises: InputError with the problems of the first that has any.
    """
    return tuple(offer for path in paths for offer in read_prices(path, catalogue).offers)


def _first(sources: Iterable[Sequence[Offer]], kind: OfferKind, system: System, only_own: bool) -> list[Offer]:
    """The offers of the first source that has any of a kind: the system's own, else those of its card alone."""
    for source in sources:
        of_kind = [offer for offer in source if offer.kind == kind]
        named = [offer for offer in of_kind if offer.system == system.key]
        if kind == "purchase":
            of_kind = [offer for offer in of_kind if not offer.system]
        if chosen := named or ([] if only_own else of_kind):
            return chosen
    return []


def _to_buy(system: System, offers: Sequence[Offer]) -> System:
    """The system at the cheapest price of its cards; their launch price where nobody offers them."""
    if not offers:
        return system
    best = min(offers, key=lambda offer: (offer.usd_per_gpu, offer_text(offer)))
    return replace(system, gpu=replace(system.gpu, price_usd=best.usd_per_gpu), purchase=offer_text(best))
