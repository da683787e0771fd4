"""A front as people see it: to the letter in the terminal, every claim true, and no name in the picture on another."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.site import Site
from perfsim.formulas.rent import NO_RATES
from perfsim.report.answer import Answer, csv_of, json_of, lines_of, markdown_of
from perfsim.report.front_plot import front_picture
from perfsim.report.picture import write_picture
from perfsim.report.table import plain_text
from perfsim.report.text import search_line
from perfsim.search.certificate import Certificate
from perfsim.search.front import figure
from perfsim.search.sweep import Sweep

Made = Callable[..., Sweep]
FIGURES = ("time", "money", "headroom")
LEFT = {"time": 1.23456, "money": 1.9999, "energy": 0.7}


@pytest.fixture
def front(made: Made) -> Answer:
    """The four plans, of which one has no price; the search left some out."""
    sweep = made()
    told = replace(sweep.certificate, least_left=LEFT)
    return Answer.of("mine", replace(sweep, certificate=told, has_headroom=True), figures=FIGURES)


def test_front_to_the_letter(front: Answer, golden: Callable[[str, str], None]) -> None:
    golden("sweep-front.txt", plain_text(lines_of([front])))


def test_files_hold_the_front_and_the_certificate(front: Answer) -> None:
    answer = json.loads(json_of([front]))
    assert answer["front"] == list(FIGURES) and len(answer["rows"]) == len(front.rows)
    told = answer["certificate"]["finetune"]
    assert told["considered"] == 12_345
    assert list(told["least_left"]) == ["job_hours", "job_usd", "job_kwh"]
    assert list(told["least_left"].values()) == list(LEFT.values())
    assert csv_of([front]).count("\n") == len(front.rows) + 1
    assert "GiB left" in markdown_of([front]) and "GiB left" not in markdown_of([replace(front, figures=())])


def test_what_no_bound_was_needed_for_has_no_least(made: Made) -> None:
    told = json.loads(json_of([Answer.of("mine", made())]))["certificate"]["finetune"]
    assert set(told["least_left"].values()) == {None}


def test_the_first_rows_are_of_the_same_front(front: Answer) -> None:
    first = plain_text(lines_of([Answer.of("mine", front.sweep, top=1, figures=FIGURES)])).splitlines()[0]
    assert first == plain_text(lines_of([front])).splitlines()[0]


def test_a_front_over_money_without_prices_says_so(made: Made) -> None:
    sweep = made()
    free = replace(sweep, systems=tuple(replace(system, rates=NO_RATES) for system in sweep.systems))
    answer = Answer.of("mine", free, figures=("time", "money"))
    assert not answer.has_met and plain_text(lines_of([answer])).startswith("No price is known")


def test_like_cards_of_two_systems_are_told_apart(made: Made) -> None:
    sweep = made()
    other = replace(sweep.systems[0], key="elsewhere")
    two = replace(sweep, systems=(sweep.systems[0], other), system_index=np.array([0, 0, 1, 1]))
    plans = replace(two.plans, tensor_parallel=np.ones(4, dtype=int), data_parallel=np.array([2, 1, 2, 1]))
    text = plain_text(lines_of([Answer.of("mine", replace(two, plans=plans), show_all=True)]))
    assert "on elsewhere" in " ".join(text.split())


def test_only_what_there_is_is_told_of_a_search() -> None:
    assert search_line(Certificate(considered=4, costed=4, runnable=4), "time") == "4 plans: 4 costed"
    told = Certificate(
        considered=3_528_000, illegal=3_278_000, repeated=4_400, too_large=111_000, beaten=112_000, costed=22_600,
        runnable=22_000, least_left={"time": 2.3199, "money": 12.999, "energy": 0.1},
    )  # fmt: skip
    assert search_line(told, "time") == (
        "3,528,000 plans: 3.28 M cannot run, 4,400 the same as another, 112 k too large,"
        " 112 k beaten by bounds (none that fits takes under 2.31 h), 22,000 costed"
    )
    assert "(none that fits costs under $12.90)" in search_line(told, "money")


@given(st.floats(1e-4, 1e6))
def test_the_least_that_is_left_is_never_promised_too_high(kwh: float) -> None:
    told = Certificate(considered=1, beaten=1, least_left={"energy": kwh})
    said = float(search_line(told, "energy").partition("under ")[2].partition(" kWh")[0].replace(",", ""))
    assert 0.98 * kwh <= said <= kwh * (1 + 1e-12)


NAMED = (("time", "money"), ("money", "headroom"), ("headroom", "time"), ("gpus", "energy"), ("step-time", "energy"))


@pytest.mark.parametrize("names", NAMED)
def test_no_name_hides_another_or_a_point(front: Answer, names: tuple[str, str]) -> None:
    pytest.importorskip("matplotlib")
    picture = front_picture([front.sweep], names)
    axes = picture.axes[0]
    renderer = picture.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()[1:2] == "x"]
    assert boxes and not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    rows = front.sweep.pareto(*names)
    assert len(boxes) == len(rows)  # each of other cards or counts
    drawn = np.asarray(axes.collections[-1].get_offsets())
    for point in axes.transData.transform(drawn):
        assert axes.bbox.contains(*point) and not any(box.contains(*point) for box in boxes)


def test_one_plan_and_no_plan_are_drawn_too(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    late = made(Site(deadline_hours=1.5), meets=(True, False, False, False))
    none = replace(late, systems=tuple(replace(system, rates=NO_RATES) for system in late.systems))
    assert len(late.pareto("time", "money")) == 1 and len(none.pareto("time", "money")) == 0
    target = tmp_path / "front.svg"
    write_picture(str(target), lambda: front_picture([late, none], ("time", "money")))
    once = target.read_bytes()
    write_picture(str(target), lambda: front_picture([late, none], ("time", "money")))
    assert once == target.read_bytes() and b"2x RTX 4090" in once and b"USD" in once


def test_axes_have_units_that_figures_are_in(front: Answer) -> None:
    pytest.importorskip("matplotlib")
    axes = front_picture([front.sweep], ("step-time", "headroom")).axes[0]
    assert axes.get_xlabel() == "one step [ms]" and "[GiB]" in axes.get_ylabel()
    rows = front.sweep.pareto("step-time", "headroom")
    drawn = np.asarray(axes.collections[-1].get_offsets())
    assert drawn[:, 0] == pytest.approx(1e3 * figure(front.sweep, "step-time")[rows])
