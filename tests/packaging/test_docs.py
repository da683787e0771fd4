"""What the pages promise: links lead somewhere, and the README's first block is the two lines that CI runs."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfsim.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if page.name != "index.md" and f"({page.name})" not in index] == []


def test_readme_begins_with_two_lines_to_run() -> None:
    block = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    main_job, tests = block.group(1).splitlines()
    assert main_job.endswith("perfsim sweep scenarios/bert.toml")
    assert tests.endswith('-m pytest -q -n auto -m "not slow"')


def test_readme_shows_what_line_one_answers() -> None:
    shown = re.search(r"```\n(Cheapest: .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    answer = CliRunner().invoke(main, ["sweep", "scenarios/bert.toml"], env={"COLUMNS": "100"})
    assert answer.stdout == shown[1]


def test_sources_of_formulas_lead_to_headings() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    named = {
        anchor
        for file in (ROOT / "perfsim").rglob("*.py")
        for anchor in re.findall(r"docs/formulas\.md#([\w-]+)", file.read_text(encoding="utf-8"))
    }
    assert named <= anchors
