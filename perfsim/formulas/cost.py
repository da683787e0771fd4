"""Dollars of a step: rent, or electricity, with or without a card's price spread over its life."""

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.numbers import Bools, Floats, Ints
from perfsim.core.offers import OfferKind
from perfsim.core.results import Cost, Energy
from perfsim.core.site import Site
from perfsim.formulas.rent import rate, usd_per_hour
from perfsim.units import HOUR, JOULES_PER_KWH


def rented_kind(site: Site) -> OfferKind:
    """The offers that a site's rent is taken from."""
    return "spot" if site.price == "spot" else "on-demand"


def cost(system: System, gpus: Ints, seconds: Floats, energy: Energy, site: Site) -> Cost:
    """US dollars of `seconds` on `gpus` of a system [USD]; all 0 where no price is known.

    rent, spot: hours x machines, each paid whole, x the cheapest offer that holds the GPUs. own:
    gpus·price/ownership_hours·hours + kWh·usd_per_kwh. electricity: the latter alone. Source: docs/formulas.md#cost.
    """
    hours = seconds / HOUR
    if site.price in ("rent", "spot"):
        return Cost(hours * usd_per_hour(system, gpus, rented_kind(site)), 0.0)
    electricity = energy.total_joules / JOULES_PER_KWH * site.usd_per_kwh
    if site.price == "electricity":
        return Cost(0.0, electricity)
    is_known = np.asarray(system.gpu.price_usd) > 0.0
    hardware = hours * gpus * system.gpu.price_usd / site.ownership_hours
    return Cost(hardware, np.where(is_known, electricity, 0.0))


def has_price(system: System, gpus: Ints, site: Site) -> Bools:
    """Whether a price is known for what the site pays, shaped as system and gpus broadcast."""
    price = system.gpu.price_usd if site.price == "own" else rate(system, gpus, rented_kind(site)).usd_per_hour
    if site.price == "electricity":
        price = np.ones(np.shape(price))
    known: Bools = np.broadcast_to(np.asarray(price) > 0.0, np.broadcast_shapes(np.shape(price), np.shape(gpus)))
    return known
