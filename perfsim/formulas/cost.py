"""Dollars of a step: rent, or electricity, with or without a card's price spread over its life."""

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.numbers import Floats
from perfsim.core.results import Cost, Energy
from perfsim.core.site import Site
from perfsim.units import HOUR, JOULES_PER_KWH


def cost(system: System, gpu_seconds: Floats, energy: Energy, site: Site) -> Cost:
    """US dollars of `gpu_seconds` GPUs x seconds [USD]; all 0 where the system has no price.

    rent: gpus·hours·usd_per_gpu_hour. own: gpus·price/ownership_hours·hours + kWh·usd_per_kwh. electricity: the latter.
    """
    hours = gpu_seconds / HOUR
    if site.price == "rent":
        return Cost(hours * system.usd_per_gpu_hour, 0.0)
    electricity = energy.total_joules / JOULES_PER_KWH * site.usd_per_kwh
    if site.price == "electricity":
        return Cost(0.0, electricity)
    has_price = np.asarray(system.gpu.price_usd) > 0.0
    hardware = hours * system.gpu.price_usd / site.ownership_hours
    return Cost(hardware, np.where(has_price, electricity, 0.0))


def has_price(system: System, site: Site) -> Floats:
    """Whether a price is known for what the site pays."""
    if site.price == "electricity":
        return np.asarray(True)
    return np.asarray(system.has_price if site.price == "rent" else np.asarray(system.gpu.price_usd) > 0.0)
