"""The page in a real browser, Debian's Chromium: no request, no error, and every path by mouse and by keys."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import perfsim as ps
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.intervals import of_sweep
from perfsim.report.answer import Answer
from perfsim.report.page import page_html
from perfsim.search.sweep import Sweep
from tests.report.pages import QUESTION, page_of, simulated

pytestmark = pytest.mark.browser
HOSTILE = (
    "</script><script>document.title='run'</script> \"a\" 'b' \u202etxt <img src=x onerror=\"document.title='run'\">"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install .[dev]")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=sandbox)
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page in the browser, with what it has said and asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """What reading, running and drawing the page once more takes of its thread [s]."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.reload()
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        self.requests.pop()
        return float(metrics["TaskDuration"])

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def text(self, selector: str) -> str:
        return " ".join(self.page.locator(selector).first.inner_text().split())

    def column(self, number: int) -> list[str]:
        texts: list[str] = self.page.locator(f".plans tbody tr > :nth-child({number})").all_inner_texts()
        return [text.strip() for text in texts]

    def value(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a file; at the end there were no errors and no request but for the file."""
    pages: list[Opened] = []

    def open_page(file: Path, width: int = 1440, scripts: bool = True, **options: Any) -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=scripts, reduced_motion="reduce", **options
        )
        found = Opened(context.new_page())
        pages.append(found)
        found.page.on("console", lambda message: found.errors.append(message.text))
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(file.as_uri())
        return found

    yield open_page
    for one in pages:
        assert one.errors == [] and len(one.requests) == 1
        one.page.context.close()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of scenarios/bert.toml."""
    sweep = ps.sweep("bert")
    answer = Answer.of("BERT", sweep, forecast=partial(of_sweep, sweep, known=catalogue()))
    file = tmp_path_factory.mktemp("page") / "bert.html"
    file.write_text(page_html([answer], QUESTION, simulated), encoding="utf-8")
    return file


def test_bert_is_small_and_soon_ready(bert: Path, opened: Callable[..., Opened]) -> None:
    assert bert.stat().st_size <= 500_000
    found = opened(bert)
    assert found.value("document.documentElement.dataset.ready") == ""  # a file is loaded when its script has run
    assert found.cpu_seconds() <= 0.5  # of the page's thread: others may have the machine
    assert found.text(".winner").startswith("1x A30 PCIe") and found.text(".eyebrow").startswith("Cheapest within")
    assert found.count(".dot") > 50 and found.count(".plans tbody tr") > 90


def test_sorting_by_click_and_by_key(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    energy = found.page.get_by_role("button", name="Energy")
    energy.click()
    kwh = [float(text) for text in found.column(5)]
    assert kwh == sorted(kwh) and found.count('th[aria-sort="ascending"]') == 1
    energy.press("Enter")
    assert [float(text) for text in found.column(5)] == sorted(kwh, reverse=True)
    assert found.page.locator('th[data-key="kwh"]').get_attribute("aria-sort") == "descending"
    found.page.get_by_role("button", name="Cost").click()
    costs = found.column(4)
    priced = [float(text.replace(",", "")) for text in costs if text != "-"]
    assert priced == sorted(priced) and "-" not in costs[: len(priced)]


def test_filter_limits_and_every_plan(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    every = found.count(".plans tbody tr")
    found.page.get_by_label("Filter").fill("a100 80gb")
    names = found.column(1)
    assert 0 < len(names) < every and all("A100" in name and "80GB" in name for name in names)
    assert found.text('[data-part="count"]') == f"{len(names)} of {every} rows"
    found.page.get_by_label("Filter").fill("")
    found.page.get_by_label("Only what fits").check()
    within = found.count(".plans tbody tr")
    assert within < every and not any("deadline" in note for note in found.column(11))
    found.page.get_by_label("Rows").select_option("all")
    assert found.count(".plans tbody tr") > within
    found.page.get_by_label("Filter").fill("no such card")
    assert found.count(".plans tbody tr") == 0 and found.text('[data-part="count"]').startswith("0 of ")


def test_a_click_on_a_point_opens_its_plan(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    before = found.text('[data-part="name"]')
    box = found.page.locator(".dot.front").first.bounding_box()
    found.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    card = found.text('[data-part="tip"] b').split(",")[0]
    found.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    after = found.text('[data-part="name"]')
    assert after != before and after.startswith(card)
    assert found.count('[data-part="time"] svg') >= 3 and found.count('[data-part="bytes"] svg') >= 5
    assert found.value("document.activeElement.dataset.part") == "name"


def test_keys_alone_reach_points_plans_and_the_way_back(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    found.page.keyboard.press("Tab")
    assert found.value("document.activeElement.className") == "skip"
    found.page.keyboard.press("Enter")
    seen = []
    while len(seen) < 12 and found.value("document.activeElement.getAttribute('data-dot')") is None:
        found.page.keyboard.press("Tab")
        seen.append(found.value("document.activeElement.tagName"))
    assert "SELECT" in seen and seen[-1] == "circle"
    points = found.count(".dot")
    visited = set()
    found.page.keyboard.press("Home")
    for _ in range(points):
        visited.add(found.value("document.activeElement.dataset.dot"))
        found.page.keyboard.press("ArrowRight")
    assert len(visited) == points  # a path to every point
    found.page.keyboard.press("Home")
    name = found.value("document.activeElement.getAttribute('aria-label')")
    found.page.keyboard.press("Enter")
    assert found.value("document.activeElement.tagName") == "H2"
    assert name.startswith(found.text('[data-part="name"] bdi'))
    found.page.keyboard.press("Escape")
    assert found.value("document.activeElement.getAttribute('aria-label')") == name


def test_focus_is_seen(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    button = found.page.locator(".plans tbody button").first
    button.focus()
    found.page.keyboard.press("Shift+Tab")
    found.page.keyboard.press("Tab")
    style = "getComputedStyle(document.activeElement).outline"
    assert "solid" in found.value(style) and "0px" not in found.value(style)
    found.page.locator(".dot").first.focus()
    assert found.count(".ring") == 1


def test_axes_can_be_chosen(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    across, up = (found.page.locator(f"select[data-axis={axis}]") for axis in "xy")
    places = []
    for x, y in (("0", "1"), ("2", "1"), ("2", "3")):
        across.select_option(x)
        up.select_option(y)
        front = found.value("document.querySelector('.front-line').getAttribute('points')")
        places.append(front)
        assert front and found.count(".dot") > 50
    assert len(set(places)) == 3
    up.select_option("2")  # the same as across
    assert across.input_value() != up.input_value()


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_nothing_is_wider_than_the_screen(bert: Path, opened: Callable[..., Opened], width: int) -> None:
    found = opened(bert, width)
    assert found.value("document.documentElement.scrollWidth") <= width
    found.page.get_by_label("Rows").select_option("all")
    assert found.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(bert: Path, opened: Callable[..., Opened], scheme: str) -> None:
    found = opened(bert, color_scheme=scheme)
    ground = _luminance(found.value("getComputedStyle(document.body).backgroundColor"))
    assert (ground > 0.5) is (scheme == "light")
    for selector in ("body", ".workload", ".basis", ".plans .link", ".plans .is-out", ".eyebrow", ".bars .made"):
        ink = _luminance(found.value(f"getComputedStyle(document.querySelector('{selector}')).color"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector  # WCAG 2.1, 1.4.3


def _luminance(colour: str) -> float:
    """Relative luminance of rgb(...), as WCAG 2.1 defines it."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_printed_formulas_give_the_printed_figures(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert)
    rows = {
        row.locator("th").inner_text(): [cell.strip() for cell in row.locator("td").all_inner_texts()]
        for row in found.page.locator(".made tbody tr").all()
    }
    for name in ("Samples/s", "Time, h", "Cost, $", "Energy, kWh", "CO₂, kg"):
        value, _, _, formula = rows[name]
        arithmetic = re.sub(r"\((?=[A-Z]).*$", "", formula).replace("×", "*").replace(",", "")  # without the source
        arithmetic = re.sub(r"[^\d.+*/() ]", "", arithmetic)
        found_value = float(value.replace(",", ""))
        assert _evaluated(arithmetic) == pytest.approx(found_value, rel=0.05 if name == "Cost, $" else 0.015), formula


def _evaluated(text: str) -> float:
    """Sums and products of plain numbers."""
    assert re.fullmatch(r"[\d.+*/() ]+", text)
    return float(eval(text, {"__builtins__": {}}))


def test_schedule_of_a_pipeline(opened: Callable[..., Opened], tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        '[workload]\nmodel = "bert-large"\nseq_len = 128\nsamples = 1000\nglobal_batch_size = 32\n'
        'precision = "amp-fp16"\n[search]\ngpus = ["RTX 4090"]\ncounts = [2]\npipeline_parallel = [2]\n'
    )
    page = tmp_path / "x.html"
    page.write_text(page_of(ps.sweep(file)), encoding="utf-8")
    found = opened(page, 390)
    assert found.count(".gantt") == 1 and found.count(".gantt title") > 4
    assert "simulated" in found.text('[data-part="schedule"]')
    assert found.value("document.documentElement.scrollWidth") <= 390


def test_names_stay_text(made: Callable[..., Sweep], opened: Callable[..., Opened], tmp_path: Path) -> None:
    from dataclasses import replace

    sweep = made()
    systems = tuple(
        replace(one, name=HOSTILE, gpu=replace(one.gpu, name=f"{HOSTILE}{i}")) for i, one in enumerate(sweep.systems)
    )
    workload = replace(sweep.workload, model=replace(sweep.workload.model, name=HOSTILE))
    file = tmp_path / "hostile.html"
    file.write_text(page_of(replace(sweep, systems=systems, workload=workload), HOSTILE), encoding="utf-8")
    found = opened(file, 390)
    assert found.page.title().startswith("</script>") and found.count("img") == 0
    assert found.text("h1") == HOSTILE.replace("\u202e", "\\u202e")
    found.page.locator(".plans tbody button").last.click()
    assert HOSTILE.split(" ")[0] in found.text('[data-part="facts"]') and found.count("img") == 0
    assert found.value("document.documentElement.scrollWidth") <= 390


def test_without_javascript_verdict_and_table_are_there(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert, scripts=False)
    assert found.text(".winner").startswith("1x A30 PCIe") and found.count(".plans tbody tr") > 90
    assert not found.page.locator(".plot").is_visible() and "need JavaScript" in found.text("noscript")


def test_prints_without_controls(bert: Path, opened: Callable[..., Opened]) -> None:
    found = opened(bert, 794)
    found.page.emulate_media(media="print")
    assert not found.page.locator(".controls").first.is_visible() and found.page.locator(".plot").is_visible()
    assert found.page.pdf(format="A4").startswith(b"%PDF")
