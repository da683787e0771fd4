import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim import units


def test_examples() -> None:
    assert doctest.testmod(units).failed == 0


@given(st.text())
def test_printable_leaves_nothing_a_terminal_would_obey(text: str) -> None:
    shown = units.printable(text)
    assert shown.isprintable()
    assert units.printable(shown) == shown


@pytest.mark.parametrize("hostile", ["\x1b]0;x\x07", "a\nb", "\x9b31m", "\u202eevil", "\u2066x", "\0", "\ud800"])
def test_printable_shows_escapes(hostile: str) -> None:
    assert "\\" in units.printable(hostile)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (2.5e-6, "2.50 us"),
        (0.9999, "1.00 s"),
        (59.4, "59.4 s"),
        (3599.9, "1 h 00 min"),
        (90_000, "25 h 00 min"),
        (864_000, "10.0 days"),
        (math.inf, "-"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert units.seconds_text(seconds) == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_has_a_text(value: float) -> None:
    for text in (
        units.number_text,
        units.seconds_text,
        units.bytes_text,
        units.usd_text,
        units.count_text,
        units.percent_text,
        units.watts_text,
    ):
        assert text(value)


@given(st.floats(min_value=1e-5, max_value=1e11))
def test_number_text_keeps_three_digits(value: float) -> None:
    assert float(units.number_text(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


def test_money_and_sizes() -> None:
    assert units.usd_text(0) == "$0.00"
    assert units.usd_text(-12.5) == "-$12.50"
    assert units.bytes_text(24 * units.GIB) == "24.0 GiB"
    assert units.bytes_text(1023.9 * units.GIB) == "1.00 TiB"
    assert units.count_text(999_999) == "1.00 M"
