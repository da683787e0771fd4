"""Buying against renting, in one line."""

import math

from perfsim.core.hardware import System
from perfsim.core.results import Estimate
from perfsim.core.site import Site
from perfsim.formulas.ownership import ownership
from perfsim.report.text import card_text
from perfsim.units import number_text, percent_text, printable, usd_text


def mean_watts(estimate: Estimate) -> float:
    """What a plan's boards, their hosts and the building draw while it trains [W]."""
    return float(estimate.energy.total_joules / estimate.time.total_seconds)


def ownership_record(system: System, gpus: int, watts: float, site: Site) -> dict[str, float | None] | None:
    """The same numbers by name; None where a price is not known, and for hours that never come."""
    found = ownership(system, gpus, watts, site)
    if found is None:
        return None
    numbers = {name: float(value) for name, value in vars(found).items()}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def ownership_line(system: System, gpus: int, watts: float, site: Site) -> str:
    """After how many rented hours bought cards have paid; "" where nobody rents them out.

    watts: what they, their hosts and the building draw while training.
    """
    found = ownership(system, gpus, watts, site)
    cards = f"{gpus}x {printable(card_text(system.gpu.name))}"
    if found is None:
        is_for_sale = float(system.gpu.price_usd) > 0.0
        return "" if is_for_sale else f"buy or rent {cards}: no price to buy at is known"
    price = f"{printable(system.purchase)}: {gpus} x {usd_text(float(system.gpu.price_usd))}"
    host = f", machine {usd_text(site.host_usd)}" if site.host_usd else ", the machine around not counted"
    rent, power = usd_text(float(found.rent_usd_per_hour)), usd_text(float(found.electricity_usd_per_hour))
    hours = float(found.break_even_hours)
    if not math.isfinite(hours):
        return f"buying {cards} ({price}) never pays: rent {rent}/h, electricity {power}/h"
    years = f"{number_text(float(found.break_even_years), 2)} years at {percent_text(site.use_share)} use"
    after = f"{number_text(hours)} rented hours ({rent}/h, electricity {power}/h), {years}"
    return f"buying {cards} ({price}{host}) pays after {after}"
