"""What a person has and wants, and what is wrong with it."""

from dataclasses import replace

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.site import Site
from perfsim.formulas.cost import has_price
from perfsim.inputs.recommend import ask_of, hours_of, owned_system, rentable

KNOWN = ps.catalogue()
JOB = ps.workload("bert-large", seq_len=128, steps=100, global_batch_size=32)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("6h", 6), ("6", 6), ("90min", 1.5), ("1.5 hours", 1.5), ("2 days", 48), ("1w", 168), ("36s", 0.01)],
)
def test_times_as_people_write_them(text: str, hours: float) -> None:
    assert hours_of(text) == pytest.approx(hours)


@pytest.mark.parametrize("text", ["", "h", "-3h", "6x", "1e9h", "nan", "0h", "99999999999h", "6 h 5", "٣h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ps.InputError, match=r"--deadline: .* is no time; write such as"):
        hours_of(text)


@pytest.mark.parametrize(
    ("name", "gpu", "most"),
    [("2x RTX 3090", "rtx-3090", 2), ("rtx 3090:3", "rtx-3090", 3), ("T4", "t4", 1), ("dgx-h100", "h100-sxm5-80gb", 8)],
)
def test_what_is_owned(name: str, gpu: str, most: int) -> None:
    system = owned_system(name, KNOWN)
    assert (system.gpu.key, int(system.max_gpus)) == (gpu, most)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2x RTX 3091", "nearest: rtx-3090"),
        ("0x RTX 3090", "0 GPUs; write a number"),
        ("99x RTX 3090", "more than .* can hold"),
        ("RTX 3090 + RTX 4090", "several kinds"),
    ],
)
def test_what_cannot_be_owned(name: str, message: str) -> None:
    with pytest.raises(ps.PerfsimError, match=f"--own: .*{message}"):
        owned_system(name, KNOWN)


def test_only_cards_with_a_price_can_be_rented() -> None:
    systems = rentable(["all"], [1, 8], KNOWN, Site())
    assert len({system.gpu.key for system in systems}) > 20
    assert all(np.any(has_price(system, np.array([1, 8]), Site())) for system in systems)
    with pytest.raises(ps.InputError, match="no price to rent GTX 1080 is known"):
        rentable(["GTX 1080"], [1], KNOWN, Site())


def test_the_scenario_stands_where_nothing_else_is_said() -> None:
    said = ps.scenario("bert")
    ask = ask_of(said, KNOWN, own=["RTX 3090"], deadline_hours=6.0, max_gpus=4)
    assert (ask.site.deadline_hours, ask.site.pue, ask.site.price) == (6.0, 1.2, "rent")
    assert ask.space.counts == (1, 2, 4) and len(ask.rented) < len(said.systems)  # for some no price is known
    assert ask_of(said, KNOWN).site.deadline_hours == said.site.deadline_hours


def test_wishes_outside_their_bounds_are_told_all_at_once() -> None:
    with pytest.raises(ps.InputError, match=r"--pue: 0.5 .*\n--budget: -1.0"):
        ask_of(JOB, KNOWN, pue=0.5, budget_usd=-1.0)
    with pytest.raises(ps.InputError, match="--max-gpus: 1 is below all counts"):
        ask_of(ps.scenario("gpt3-175b"), KNOWN, max_gpus=1)
    with pytest.raises(ps.InputError, match="no cards to choose from"):
        ps.recommend(JOB, rent=None)


def test_the_kind_of_rent_is_the_scenarios() -> None:
    """Spot offers where it says so; a site whose cards are all there is told what to do."""
    spot = replace(ps.scenario("bert"), site=Site(price="spot", preemptions_per_hour=0.1))
    ask = ask_of(spot, KNOWN, checkpoint_gb_per_s=2.0)
    assert (ask.site.price, ask.site.preemptions_per_hour, ask.site.checkpoint_bytes_per_s) == ("spot", 0.1, 2e9)
    on_demand = {system.key for system in ask_of(ps.scenario("bert"), KNOWN).rented}
    assert ask.rented and {system.key for system in ask.rented} < on_demand
    with pytest.raises(ps.InputError, match=r"site\.price: own says that all cards are there; .*--own"):
        ask_of(replace(spot, site=Site(price="own")), KNOWN)
    with pytest.raises(ps.InputError, match="deadlin_hours: no such key; did you mean"):
        ps.recommend(JOB, deadlin_hours=3.0)
