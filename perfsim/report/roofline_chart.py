"""A roofline in a dozen lines of plain characters, logarithmic both ways."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perfsim.graphs.points import Roof, Roofline
from perfsim.units import TERA, number_text

WIDTH, HEIGHT = 64, 10
MARGIN = 9  # columns of the numbers at the left
LETTERS = {"product": "P", "attention": "A"}


@dataclass(frozen=True)
class Range:
    """The part of both axes that is drawn: FLOP/byte and FLOP/s."""

    left: float
    right: float
    low: float
    high: float


@dataclass
class _Canvas:
    span: Range
    cells: list[list[str]] = field(default_factory=lambda: [[" "] * WIDTH for _ in range(HEIGHT)])

    def intensity(self, column: int) -> float:
        return self.span.left * (self.span.right / self.span.left) ** (column / (WIDTH - 1))

    def column(self, intensity: float) -> int:
        place = math.log(intensity / self.span.left) / math.log(self.span.right / self.span.left)
        return round(min(max(place, 0.0), 1.0) * (WIDTH - 1))

    def row(self, rate: float) -> int:
        """The row of a rate, from the top; beyond the canvas where the rate is."""
        place = math.log(rate / self.span.low) / math.log(self.span.high / self.span.low)
        return HEIGHT - 1 - round(place * (HEIGHT - 1))

    def put(self, row: int, column: int, mark: str, over: str = " ") -> None:
        if 0 <= row < HEIGHT and 0 <= column < WIDTH and self.cells[row][column] in over:
            self.cells[row][column] = mark


def drawn_roofs(found: Roofline) -> list[Roof]:
    """The compute roofs of a chart: of the formats that the kernels use, all where there are none."""
    roofs = [roof for roof in found.roofs if roof.kind == "compute"]
    used = [roof for roof in roofs if roof.name in found.formats]
    return used or roofs


def drawn_range(found: Roofline, roofs: Sequence[Roof]) -> Range:
    """What of the axes holds the ridges and all kernels that compute."""
    memory = found.roof("dram").highest
    intensities = [point.intensity for point in found.points if point.flops]
    rates = [point.flops_per_s for point in found.points if point.time_share >= 1e-3 and point.flops]
    top = max(roof.highest for roof in roofs)
    left = min([min(roof.highest for roof in roofs) / memory / 8.0, *intensities])
    right = max([top / memory * 8.0, *intensities])
    return Range(left / 1.2, right * 1.2, min([left * memory, *rates]) / 1.2, 1.25 * top)


def chart_lines(found: Roofline) -> Iterator[str]:
    """The chart, its axes and what its marks mean."""
    roofs = drawn_roofs(found)
    canvas = _Canvas(drawn_range(found, roofs))
    memory = found.roof("dram").datasheet
    for column in range(WIDTH):
        slope = canvas.intensity(column) * memory
        for roof in roofs:
            if slope >= roof.datasheet:
                canvas.put(canvas.row(roof.datasheet), column, "-")
        if slope <= max(roof.datasheet for roof in roofs):
            canvas.put(canvas.row(slope), column, "/")
    for point in reversed(found.points):
        if point.flops and point.kind in LETTERS:
            letter = LETTERS[point.kind]
            letter = letter if point.direction == "forward" else letter.lower()
            canvas.put(canvas.row(point.flops_per_s), canvas.column(point.intensity), letter, " -/PpAa")
    names = _names(canvas, roofs)
    for row, cells in enumerate(canvas.cells):
        number = number_text(_rate(canvas, row) / TERA, 2) if row % 3 == 0 else ""
        yield f"{number:>{MARGIN - 1}} |{''.join(cells)} {names.get(row, '')}".rstrip()
    yield " " * MARGIN + "+" + "-" * WIDTH
    yield " " * MARGIN + _ticks(canvas).rstrip()
    legend = "TFLOP/s over FLOP/byte. - peak, / DRAM"
    if found.points:
        legend += "; P product, A attention; p, a: backward"
    yield legend


def _rate(canvas: _Canvas, row: int) -> float:
    span = canvas.span
    return span.low * (span.high / span.low) ** ((HEIGHT - 1 - row) / (HEIGHT - 1))


def _names(canvas: _Canvas, roofs: Sequence[Roof]) -> dict[int, str]:
    """The formats whose peak lies in each row."""
    names: dict[int, list[str]] = {}
    for roof in roofs:
        names.setdefault(canvas.row(roof.datasheet), []).append(roof.name)
    return {row: ", ".join(listed) for row, listed in names.items()}


def _ticks(canvas: _Canvas) -> str:
    """Powers of ten under their columns."""
    line = [" "] * (WIDTH + 8)
    for power in range(math.ceil(math.log10(canvas.span.left)), math.floor(math.log10(canvas.span.right)) + 1):
        text = f"{10.0**power:,g}"
        start = 1 + canvas.column(10.0**power)
        line[start : start + len(text)] = text
    return "".join(line)
