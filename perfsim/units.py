"""SI constants, and the only code that writes numbers and foreign text for people."""

import math
from collections.abc import Iterable, Sequence

KILO, MEGA, GIGA, TERA, PETA = 1e3, 1e6, 1e9, 1e12, 1e15
MILLI, MICRO, NANO, PICO = 1e-3, 1e-6, 1e-9, 1e-12
KIB, MIB, GIB, TIB = 2.0**10, 2.0**20, 2.0**30, 2.0**40
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
HOURS_PER_YEAR = 365.0 * 24.0
BITS_PER_BYTE = 8
JOULES_PER_KWH = 3.6e6
BTU_PER_WATT_HOUR = 3.412142  # international table BTU, 1,055.056 J
TINY_SECONDS = 1e-30  # divides where there may be none: ends that a model lacks, exchanges that do not take place

NO_NUMBER = "-"

_DECIMAL = ((1e18, "E"), (PETA, "P"), (TERA, "T"), (GIGA, "G"), (MEGA, "M"), (KILO, "k"))
_COUNTS = ((TERA, "T"), (GIGA, "B"), (MEGA, "M"), (KILO, "k"))
_BINARY = ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def printable(text: str) -> str:
    r"""`text` on one line, safe for a terminal: control, C1, bidi and other invisible characters as escapes.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def aligned(rows: Iterable[Sequence[str]], gap: str = "  ") -> list[str]:
    """Rows of cells as lines with straight columns.

    >>> aligned([["a", "bb"], ["ccc", "d"]])
    ['a    bb', 'ccc  d']
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def number_text(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits and never an exponent below a million million.

    >>> number_text(1234.5), number_text(0.01234)
    ('1,230', '0.0123')
    """
    value = float(value)
    if not math.isfinite(value):
        return NO_NUMBER
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e12:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def seconds_text(seconds: float) -> str:
    """A time [s] as a person says it.

    >>> seconds_text(0.00123), seconds_text(75), seconds_text(7500)
    ('1.23 ms', '1 min 15 s', '2 h 05 min')
    """
    seconds = float(seconds)
    if not math.isfinite(seconds):
        return NO_NUMBER
    if abs(seconds) < 0.9995:
        scale, unit = (MILLI, "ms") if abs(seconds) >= 0.9995 * MILLI or seconds == 0 else (MICRO, "us")
        return f"{number_text(seconds / scale)} {unit}"
    if abs(seconds) < MINUTE:
        return f"{number_text(seconds)} s"
    if abs(seconds) < HOUR:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s" if minutes < 60 else "1 h 00 min"
    if abs(seconds) < 2 * DAY:
        hours, rest = divmod(round(seconds / MINUTE), 60)
        return f"{hours} h {rest:02d} min"
    return f"{number_text(seconds / DAY)} days"


def bytes_text(size: float) -> str:
    """A size [bytes] in binary units.

    >>> bytes_text(14.1 * 2**30)
    '14.1 GiB'
    """
    return _scaled(size, _BINARY, "B")


def bytes_per_s_text(rate: float) -> str:
    """A rate [bytes/s] in the decimal units of datasheets.

    >>> bytes_per_s_text(1008e9)
    '1.01 TB/s'
    """
    return _prefixed(rate, "B/s")


def flops_per_s_text(rate: float) -> str:
    """A rate [FLOP/s].

    >>> flops_per_s_text(312e12)
    '312 TFLOP/s'
    """
    return _prefixed(rate, "FLOP/s")


def watts_text(watts: float) -> str:
    """A power [W].

    >>> watts_text(700)
    '700 W'
    """
    return _prefixed(watts, "W", least=KILO)


def usd_text(usd: float) -> str:
    """An amount [US dollars].

    >>> usd_text(0.004), usd_text(12.3), usd_text(1234567)
    ('$0.0040', '$12.30', '$1,234,567')
    """
    usd = float(usd)
    if not math.isfinite(usd):
        return NO_NUMBER
    decimals = 4 if 0 < abs(usd) < 0.1 else 2 if abs(usd) < 1000 else 0
    return f"{'-' if usd < 0 else ''}${abs(usd):,.{decimals}f}"


def count_text(count: float) -> str:
    """A large count, as parameters and tokens are named.

    >>> count_text(335_141_888), count_text(6.7e9), count_text(12)
    ('335 M', '6.70 B', '12')
    """
    count = float(count)
    if math.isfinite(count) and abs(count) < KILO and count == int(count):
        return f"{int(count)}"
    return _scaled(count, _COUNTS, "")


def floor_text(count: float) -> str:
    """A whole number in five characters that promise no more than there is.

    >>> floor_text(9876), floor_text(2010), floor_text(23_790), floor_text(16_777_216), floor_text(810)
    ('9.87k', '2.01k', '23.7k', '16.7M', '810')
    """
    digits = len(str(int(count)))
    for size, name in ((6, "M"), (3, "k")):
        if digits > size:
            decimals = 3 - (digits - size)
            return f"{int(count) // 10 ** (digits - 3) / 10**decimals:.{decimals}f}{name}"
    return f"{int(count)}"


def percent_text(share: float) -> str:
    """A share of one, in per cent.

    >>> percent_text(0.4567)
    '45.7 %'
    """
    return NO_NUMBER if not math.isfinite(share) else f"{100 * float(share):.1f} %"


def _prefixed(value: float, unit: str, least: float = KILO) -> str:
    return _scaled(value, tuple((size, prefix + unit) for size, prefix in _DECIMAL if size >= least), unit)


def _scaled(value: float, units: tuple[tuple[float, str], ...], unit: str) -> str:
    value = float(value)
    if not math.isfinite(value):
        return NO_NUMBER
    for size, name in units:
        if abs(value) >= 0.9995 * size:
            return f"{number_text(value / size)} {name}"
    return f"{number_text(value)} {unit}".rstrip()
