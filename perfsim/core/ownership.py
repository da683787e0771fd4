"""What cards cost to buy and to run, against renting the same."""

from dataclasses import dataclass

from perfsim.core.numbers import Floats


@dataclass(frozen=True)
class Ownership:
    """Buying against renting, for a plan's GPUs. break_even_hours: after which buying has paid, inf where never."""

    purchase_usd: Floats  # cards, and the machines around them where they are counted
    electricity_usd_per_hour: Floats
    rent_usd_per_hour: Floats
    break_even_hours: Floats
    break_even_years: Floats  # of the calendar, at the site's share of use
