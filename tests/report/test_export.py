"""Files are written whole or not at all, and what they hold harms no reader."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim.errors import InputError
from perfsim.report.export import csv_text, json_text, markdown_text, write
from perfsim.units import printable

HOSTILE = ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "\0x"]


def test_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    write(str(target), "one\n")
    write(str(target), "two\n")
    assert target.read_text() == "two\n" and os.listdir(tmp_path) == ["answer.json"]


def test_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write("-", "answer\n")
    assert capsys.readouterr().out == "answer\n"


@pytest.mark.parametrize("name", ["", ".", "no/such/folder/x.json", "x" * 300, "a\0b"])
def test_what_cannot_be_written_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        write(name, "x")
    assert str(error.value).isprintable() and "; " in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "answer.csv"
    target.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left on device"):
        write(str(target), "new")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["answer.csv"]


def test_a_link_is_followed_and_the_mode_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "answer", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write(str(link), "new")
    assert link.is_symlink() and target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", HOSTILE)
def test_spreadsheets_see_text_and_not_formulas(text: str) -> None:
    cell = list(csv.reader(io.StringIO(csv_text({"name": [text]}))))[1][0]
    assert cell.startswith("'") and "\0" not in cell


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert csv_text({"usd": [-1.5, None], "n": [0, 1]}) == "usd,n\n-1.5,0\n,1\n"


@given(st.lists(st.text(), min_size=1))
def test_csv_round_trip(cells: list[str]) -> None:
    rows = list(csv.reader(io.StringIO(csv_text({"name": cells}), newline="")))
    read = [row[0].removeprefix("'") if row else "" for row in rows[1:]]
    assert read == [printable(cell).removeprefix("'") for cell in cells]


def test_json_refuses_what_json_cannot_say() -> None:
    assert json.loads(json_text({"a": [1, None]})) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


@given(st.text())
def test_markdown_cells_cannot_leave_their_cell(text: str) -> None:
    table = markdown_text(["name"], [[text]])
    lines = table.split("\n")
    assert len(lines) == 4 and "<" not in lines[2]
    assert lines[2].replace("\\\\", "").replace("\\|", "").count("|") == 2
