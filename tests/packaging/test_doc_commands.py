"""What the pages show of a command is what it answers: a block that begins with "> perfsim ..." holds its output."""

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfsim.cli.main import main

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```\n> perfsim ([^\n]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = [
    (page, found[1]) for page in sorted(DOCS.glob("*.md")) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=[f"{page.stem}-{i}" for i, (page, _) in enumerate(SHOWN)])
def test_shown_is_what_the_command_answers(page: Path, command: str) -> None:
    """To renew: RENEW_GOLDEN=1 pytest tests/packaging/test_doc_commands.py."""
    answer = CliRunner().invoke(main, shlex.split(command), env={"COLUMNS": "100"})
    assert answer.exit_code in (0, 1), answer.output
    text = page.read_text(encoding="utf-8")
    (shown,) = (found for found in BLOCK.finditer(text) if found[1] == command)
    if os.environ.get("RENEW_GOLDEN"):
        text = text[: shown.start(2)] + answer.stdout + text[shown.end(2) :]
        page.write_text(text, encoding="utf-8")
        (shown,) = (found for found in BLOCK.finditer(text) if found[1] == command)
    assert shown[2] == answer.stdout
