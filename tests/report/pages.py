"""What the tests of the page share: a page out of the air, and its parts as a browser's parser sees them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from typing import Any

from perfsim.report.answer import Answer
from perfsim.report.page import Grid, Question, page_html
from perfsim.search.intervals import FIGURES, Basis, Cause, Intervals
from perfsim.search.sweep import Sweep
from perfsim.search.uncertainty import Range
from perfsim.simulation import Simulation, simulation

QUESTION = Question("perfsim sweep mine.toml --html page.html")


def told(sweep: Sweep, rows: Sequence[int]) -> list[Intervals]:
    """Intervals of a tenth to both sides."""
    found = []
    for row in rows:
        _, _, estimate = sweep.row(row)
        figures = {name: getattr(estimate, name) for name in FIGURES if hasattr(estimate, name)}
        figures |= {"step_seconds": estimate.time.total_seconds, "memory_bytes": estimate.memory.total_bytes}
        ranges = {name: Range(float(x) / 1.1, float(x), float(x) * 1.1) for name, x in figures.items()}
        bases = dict.fromkeys((*FIGURES, "memory_capacity_bytes"), Basis("fitted", "no measured run on it"))
        found.append(Intervals(ranges, (Cause("products of the card", 0.75, 0.1),), 0.1, bases))
    return found


def simulated(sweep: Sweep, row: int) -> Simulation:
    system, plan, _ = sweep.row(row)
    return simulation(sweep.workload, system, plan, sweep.software, sweep.calibration)


def page_of(sweep: Sweep, name: str = "mine", fit: Grid | None = None, **options: Any) -> str:
    answer = Answer.of(name, sweep, forecast=partial(told, sweep), **options)
    return page_html([answer], QUESTION, simulated, fit)


@dataclass
class Page(HTMLParser):
    """Elements with their attributes, the text outside of scripts and styles, and what these hold."""

    html: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""
        self.text += " "

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute wherever it stands."""
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]

    @property
    def data(self) -> dict[str, Any]:
        """What the script is given."""
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found
