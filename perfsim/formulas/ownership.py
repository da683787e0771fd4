"""After how many hours bought cards have cost less than rented ones."""

import numpy as np

from perfsim.core.hardware import System
from perfsim.core.numbers import Floats, Ints
from perfsim.core.ownership import Ownership
from perfsim.core.site import Site
from perfsim.formulas.cost import rented_kind
from perfsim.formulas.rent import usd_per_hour
from perfsim.units import HOURS_PER_YEAR, KILO


def ownership(system: System, gpus: Ints, watts: Floats, site: Site) -> Ownership | None:
    """Buying `gpus` of a system's cards against renting them; None where a price of the two is not known.

    watts: what all of it draws while it trains, hosts and building included (`Energy.total_joules` over the step) [W].
    h* = purchase / (rent - electricity), inf where rent is no more than electricity. Idle hours cost nothing: bought
    cards are switched off, rented ones given back. Source: docs/formulas.md#cost.
    """
    rent = usd_per_hour(system, gpus, rented_kind(site))
    if not np.all(np.asarray(rent) > 0.0) or not np.all(np.asarray(system.gpu.price_usd) > 0.0):
        return None
    machines = np.ceil(1.0 * np.asarray(gpus) / system.gpus_per_node)
    purchase = gpus * system.gpu.price_usd + machines * site.host_usd
    electricity = watts / KILO * site.usd_per_kwh
    saved = np.asarray(rent - electricity)
    never = np.full(np.broadcast_shapes(np.shape(purchase), saved.shape), np.inf)
    hours = np.divide(purchase, saved, out=never, where=saved > 0.0)
    return Ownership(purchase, electricity, rent, hours, hours / (HOURS_PER_YEAR * site.use_share))
