"""`perfsim support`: a line a card, all of one card, JSON."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim import paths
from perfsim.cli.main import main
from perfsim.inputs.catalogue import catalogue


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["support", *arguments])


def test_all_cards_have_a_line() -> None:
    lines = asked().stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == catalogue().names("gpus")
    assert lines[0].split() == [
        "card", "sm", "CUDA", "PyTorch", "driver", "bf16", "FA1", "FA2", "FA3", "fp8", "nvfp4", "int8", "nf4", "P2P",
    ]  # fmt: skip
    assert max(map(len, lines[:-1])) <= 100
    row = next(line for line in lines if line.startswith("gtx-1080-ti "))
    assert row.split() == "gtx-1080-ti 61 8.0-12.9 ?-2.14 580 emul no no no no no no yes ?".split()


@pytest.mark.parametrize("arguments", [("GTX 1080 Ti",), ("GTX", "1080", "Ti"), ("gtx-1080-ti",)])
def test_one_card_is_told_in_full(arguments: tuple[str, ...]) -> None:
    text = asked(*arguments).stdout
    assert text.startswith("GTX 1080 Ti: sm_61, last in the cu126 wheels (PyTorch 2.14); no bf16 (emulated)")
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["CUDA toolkit"].split()[2:5] == ["yes", "8.0", "12.9"]
    assert lines["torch.compile"].split()[1:4] == ["no", "-", "-"]
    assert "pytorch/pytorch#190355 and #190385: not built from 2.15 on (2026-09-04)" in text


def test_several_cards_and_json() -> None:
    assert len(asked("T4", "RTX 4090").stdout.splitlines()) == 4
    (one,) = json.loads(asked("T4", "--json").stdout)
    assert one["gpu"] == "t4" and one["compute_capability"] == "7.5"
    assert one["limits"] == "no bf16 (emulated), no FlashAttention-2"
    assert one["facts"]["driver"]["first"] == "410.48"
    assert len(json.loads(asked("--json").stdout)) == len(catalogue().names("gpus"))


@pytest.mark.parametrize("name", ["rtx 4099", "\x1b[31m", "a100"])
def test_names_of_no_card(name: str) -> None:
    result = asked(name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.rstrip("\n").isprintable()


def test_own_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    card = tmp_path / "gpus" / "t4.toml"
    card.write_text((paths.builtin("specs") / "gpus" / "t4.toml").read_text())
    (tmp_path / "support").mkdir()
    file = tmp_path / "support" / "fp8.toml"
    file.write_text(
        'name = "fp8 \\u001b[31m"\n[[works]]\ncards = ["t4"]\ndetail = "x\\u001b"\nsource = "s"\ndate = 2026-01-01\n'
    )
    result = CliRunner().invoke(main, ["--specs", str(tmp_path), "support", "t4"])
    assert result.stdout.startswith(f"own specs: {card}\nown specs: {file}\nT4: ")
    assert "\x1b" not in result.stdout
