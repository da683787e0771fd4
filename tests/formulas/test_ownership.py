"""When buying has paid."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.hardware import System
from perfsim.core.offers import Offer
from perfsim.core.site import Site
from perfsim.formulas.ownership import ownership
from perfsim.formulas.rent import NO_RATES, rates


def machine(rent: float, price: float, gpus: int = 2) -> System:
    box = ps.catalogue().box("t4", gpus)
    offers = [Offer("on-demand", "t4", gpus, rent)]
    return replace(box, rates=rates(offers, gpus), gpu=replace(box.gpu, price_usd=price))


def test_by_hand() -> None:
    site = Site(usd_per_kwh=0.2, use_share=0.25, host_usd=500.0)
    found = ownership(machine(rent=1.1, price=1000.0), 2, 500.0, site)
    assert found is not None
    assert (found.purchase_usd, found.electricity_usd_per_hour, found.rent_usd_per_hour) == (2500.0, 0.1, 1.1)
    assert found.break_even_hours == pytest.approx(2500.0)
    assert found.break_even_years == pytest.approx(2500.0 / 2190.0)


@given(st.floats(0.01, 100), st.floats(1, 1e5), st.floats(0, 1e4), st.floats(0, 5), st.floats(0, 1e4))
def test_at_the_break_even_both_have_cost_the_same(
    rent: float, price: float, watts: float, kwh: float, host: float
) -> None:
    found = ownership(machine(rent, price), 2, watts, Site(usd_per_kwh=kwh, host_usd=host))
    assert found is not None
    hours = float(found.break_even_hours)
    if np.isfinite(hours):
        bought = found.purchase_usd + found.electricity_usd_per_hour * hours
        assert bought == pytest.approx(found.rent_usd_per_hour * hours, rel=1e-9)
    else:
        assert found.electricity_usd_per_hour >= found.rent_usd_per_hour


@given(st.floats(0.2, 100), st.floats(1, 1e5), st.floats(1.01, 10))
def test_a_dearer_card_pays_later_and_a_dearer_rent_sooner(rent: float, price: float, factor: float) -> None:
    def hours(rent: float, price: float) -> float:
        found = ownership(machine(rent, price), 2, 1000.0, Site(usd_per_kwh=0.1))
        assert found is not None
        return float(found.break_even_hours)

    assert hours(rent, price * factor) == pytest.approx(factor * hours(rent, price))
    assert hours(rent * factor, price) < hours(rent, price)


def test_what_is_not_known_is_not_told() -> None:
    assert ownership(machine(1.0, 0.0), 2, 100.0, Site()) is None
    assert ownership(replace(machine(1.0, 100.0), rates=NO_RATES), 2, 100.0, Site()) is None
    assert ownership(machine(1.0, 100.0), 2, 100.0, Site(price="spot")) is None
