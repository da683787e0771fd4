"""The page: a strict policy that its own parts keep, names that stay text, and figures that are those of the table."""

import json
import re
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.core.site import Site
from perfsim.errors import InputError
from perfsim.report.answer import Answer
from perfsim.report.page import Grid, Question, check_page, embedded, page_html
from perfsim.report.page_plans import MOST_PLANS, front_of, rows_of_page, ticks
from perfsim.report.table import winning_rows
from perfsim.search.sweep import Sweep
from tests.report.pages import QUESTION, Page, page_of, simulated

Made = Callable[..., Sweep]
HOSTILE = "</script><script>alert(1)</script> \"quoted\" 'and' \u202etxt <img src=x onerror=alert(1)> {{ 7*7 }} &lt;"


def test_policy_names_the_style_and_the_script_that_are_there(made: Made) -> None:
    page = Page(page_of(made()))
    (policy,) = (attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs)
    hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in page.styles + page.scripts]
    style, _, script = hashes
    assert policy is not None and policy.startswith("default-src 'none';")
    assert f"script-src {script};" in policy and f"style-src {style};" in policy and "unsafe" not in policy


def test_page_asks_for_nothing_and_runs_nothing_but_its_script(made: Made) -> None:
    page = Page(page_of(made()))
    assert len(page.scripts) == 2 and len(page.styles) == 1
    assert page.attributes("src") == [] and page.attributes("style") == []
    assert {link[0] for link in page.attributes("href")} <= {"#", "d"} and "data:," in page.attributes("href")
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert set(re.findall(r"https?://[^\s\"']+", page.html)) == {"http://www.w3.org/2000/svg"}


def test_names_stay_text(made: Made) -> None:
    sweep = made()
    named = [
        replace(one, name=HOSTILE, gpu=replace(one.gpu, name=f"{HOSTILE}{i}")) for i, one in enumerate(sweep.systems)
    ]
    workload = replace(sweep.workload, model=replace(sweep.workload.model, name=HOSTILE))
    software = replace(sweep.software, name=HOSTILE)
    hostile = replace(sweep, systems=tuple(named), workload=workload, software=software)
    fit = Grid(HOSTILE, HOSTILE, (HOSTILE,), ((HOSTILE,),), ((),))
    page, plain = Page(page_of(hostile, HOSTILE, fit)), Page(page_of(made()))
    assert page.scripts[1] == plain.scripts[1] and len(page.scripts) == 2
    assert "img" not in {tag for tag, _ in page.elements} and "49" not in page.text.split()
    assert "\u202e" not in page.html and "\\u202etxt" in page.text
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert page.text.count(shown) > 5 and any(shown in text for text in page.data["answers"][0]["texts"])


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_data_reads_back_and_ends_no_element(data: object) -> None:
    text = embedded(data)
    assert json.loads(text) == data and "<" not in text


def test_verdict_comes_first(made: Made) -> None:
    text = " ".join(Page(page_of(made(Site(deadline_hours=2.0)))).text.split())
    assert text.index("Fastest within 2.00 h 2x RTX 4090 DDP2 mb64") < text.index("Trade-offs") < text.index("Plans")
    assert "Time 1.00 h 0.909 – 1.10 fitted" in text and "$1.50 1.36 – 1.65" in text
    assert "Next is 4x T4 with 3.00 h, 200.0 % more: their intervals do not overlap." in text
    assert "It fits, with 15.0 GiB of a GPU to spare." in text and "Cheapest: 4x T4 , $1.20." in text


def test_missed_limits_are_said(made: Made) -> None:
    page = Page(page_of(made(Site(deadline_hours=0.5), meets=(False,) * 4)))
    assert "Nothing meets the limits; the first misses the deadline" in page.text
    assert "verdict is-missed" in page.attributes("class") and page.data["answers"][0]["plans"]["meets"] == [0] * 4


def test_nothing_fits(made: Made) -> None:
    sweep = made()
    empty = replace(
        sweep, system_index=np.zeros(0, dtype=np.int64), meets_site=np.zeros(0, dtype=bool), systems=sweep.systems[:1]
    )
    page = Page(page_html([Answer("mine", empty, ())], QUESTION, simulated))
    assert "Nothing fits: none of 12,345 plans can run" in page.text and page.data["answers"] == [{}]
    assert "the card has no units for this precision" in page.text and "Trade-offs" not in page.text


def test_table_without_script_holds_what_the_answer_tells(made: Made) -> None:
    sweep = made()
    page = Page(page_of(sweep))
    rows = [int(row) for row in page.attributes("data-row")]
    assert rows == [0, 2, 3] == page.data["answers"][0]["told"]
    plans, texts = (page.data["answers"][0][key] for key in ("plans", "texts"))
    assert [texts[i] for i in plans["cards"]] == ["2x RTX 4090", "1x RTX 4090", "4x T4", "1x GTX 1080 Ti"]
    assert plans["usd"] == ["1.50", "1.88", "1.20", "-"] and plans["axes"][1][3] is None
    for column in ("hours", "usd", "kwh", "step", "samples", "memory"):
        assert all(plans[column][row] in page.text for row in rows)


def test_parts_of_a_plan_add_up_to_its_total(made: Made) -> None:
    (answer,) = Page(page_of(made())).data["answers"]
    for total, parts in (("step", "time"), ("memory", "bytes")):
        for i, listed in enumerate(answer["plans"][parts]):
            amounts = [float(amount.replace(",", "")) for amount in listed[1::2]]
            whole = float(answer["plans"][total][i].replace(",", ""))
            assert sum(amounts) == pytest.approx(whole, rel=0.01)  # three digits each
            assert all(len(answer["parts"][kind]) == 3 for kind in listed[::2])


def test_page_holds_what_is_told_winners_and_fronts_and_is_thinned(made: Made) -> None:
    sweep = made()
    times = 1 + MOST_PLANS // 4
    index = np.tile(np.arange(4), times)
    many = replace(
        sweep,
        system_index=sweep.system_index[index],
        meets_site=sweep.meets_site[index],
        plans=_taken(sweep.plans, index),
        estimates=_taken(sweep.estimates, index),
    )
    answer = Answer.of("mine", many)
    rows = rows_of_page(answer, MOST_PLANS)
    assert rows == sorted(set(rows)) and len(rows) == MOST_PLANS < len(many)
    fronts = [row for pair in (("time", "money"), ("energy", "gpus")) for row in front_of(many, pair)]
    assert set(rows) >= {*answer.rows, *winning_rows(many).values(), *fronts}
    assert f"{MOST_PLANS} of {len(many)} plans that were kept are on this page" in Page(page_of(many)).text


def _taken(record: object, index: np.ndarray) -> object:
    from perfsim.core.arrays import take

    return take(record, index, (4,))


def test_fit_matrix_is_there_when_given(made: Made) -> None:
    grid = Grid("Which cards hold it", "at 95 %", ("Card", "full", "LoRA"), (("T4", "-", "91 %"),), (("poor", "good"),))
    with_grid, without = Page(page_of(made(), fit=grid)), Page(page_of(made()))
    assert "Which cards hold it" in with_grid.text and "number is-good" in with_grid.attributes("class")
    assert "fit" in with_grid.attributes("id") and "fit" not in without.attributes("id")


def test_page_ends_with_the_command_the_version_and_own_files(made: Made) -> None:
    answer = Answer.of("mine", made())
    own = Question("perfsim --specs my sweep x.toml --html y.html", (Path("my/<b>.toml"),))
    text = Page(page_html([answer], own, simulated)).text
    assert "perfsim --specs my sweep x.toml --html y.html" in text and "my/<b>.toml" in text


def test_same_bytes_every_time(made: Made) -> None:
    assert page_of(made()) == page_of(made())


def test_without_jinja2_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"needs jinja2, which is not installed; pip install 'perfsim\[report\]'"):
        check_page()


@given(st.floats(1e-6, 1e12), st.floats(1.0, 1e6))
def test_ticks_are_round_numbers_inside(low: float, ratio: float) -> None:
    found = ticks(low, low * ratio)
    assert found == sorted(set(found)) and all(low * 0.999999 <= mark <= low * ratio * 1.000001 for mark in found)
