"""`perfsim specs`: what it prints, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfsim import paths
from perfsim.cli.specs import KINDS
from perfsim.inputs.catalogue import Catalogue, catalogue

BUILTIN = paths.builtin("specs")


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


def run(*arguments: str, options: tuple[str, ...] = ()) -> tuple[int, str, str]:
    from perfsim.cli.main import main

    result = CliRunner().invoke(main, [*options, "specs", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("kind", KINDS.choices)
def test_list_command(kind: str, specs: Catalogue) -> None:
    code, out, _ = run("list", kind)
    assert code == 0
    assert len(out.splitlines()) == len(specs.names(kind)) + 1
    code, out, _ = run("list", kind, "--json")
    assert [next(iter(row.values())) for row in json.loads(out)] == specs.names(kind)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (["RTX", "4090"], ["memory_bandwidth_gb_per_s  1008", "GB/s", "[1] TechPowerUp", "reached in training"]),
        (["dgx-h100"], ["node_power_watts", "10200", "W", "] unanswered.io"]),
        (["bert-large"], ["hidden_size", "1024"]),
        (["pytorch-2-eager"], ["host_seconds", "s"]),
    ],
)
def test_show_command(name: list[str], words: list[str]) -> None:
    code, out, _ = run("show", *name)
    assert code == 0
    assert all(word in out for word in words)


def test_show_command_with_names_that_are_none() -> None:
    code, _, err = run("show", "a100")
    assert code == 2
    assert err.startswith("a100: can mean a100-pcie-40gb, ")
    code, _, err = run("show", "bert-lrage")
    assert code == 2
    assert "nearest: bert-large" in err


def test_check_command(tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    text = (BUILTIN / "gpus" / "t4.toml").read_text()
    (tmp_path / "gpus" / "good.toml").write_text(text)
    assert run("check", str(tmp_path))[:2] == (0, f"{tmp_path}/gpus/good.toml: ok (gpu)\n")
    (tmp_path / "gpus" / "bad.toml").write_text(text.replace("l2_mib", "l2_mb").replace('"turing"', '"turring"'))
    (tmp_path / "what.toml").write_text("x = 1\n")
    code, out, err = run("check", str(tmp_path))
    assert code == 2
    assert out == f"{tmp_path}/gpus/good.toml: ok (gpu)\n"
    assert [line.removeprefix(f"{tmp_path}/") for line in err.splitlines()] == [
        "gpus/bad.toml:3: architecture: 'turring' is none of pascal, volta, turing, ampere, ada, hopper, blackwell;"
        " did you mean turing?",
        "gpus/bad.toml:9: l2_mb: no such key; did you mean l2_mib?",
        "what.toml:1: cannot tell what this describes; put it in a folder called gpus, systems, models, software,"
        " support, calibration, scenarios",
    ]


def test_schema_command() -> None:
    code, out, _ = run("schema", "gpu")
    assert code == 0
    assert "memory_gib" in json.loads(out)["properties"]


def test_show_checks_the_file_first(tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / "mine.toml").write_text('name = "\\u001b[31m"\nfoo = 1\n')
    code, out, err = run("show", "mine", options=("--specs", str(tmp_path)))
    assert (code, out) == (2, "")
    assert "mine.toml:2: foo: no such key; remove it, or write a known key, such as " in err
    assert "\x1b" not in err


def test_a_users_folder_is_listed_with_perfsims(tmp_path: Path, specs: Catalogue) -> None:
    (tmp_path / "gpus").mkdir()
    text = (BUILTIN / "gpus" / "t4.toml").read_text()
    (tmp_path / "gpus" / "mine.toml").write_text(text.replace("Tesla T4", "Mine").replace("aliases", "# aliases"))
    code, out, _ = run("list", "gpus", "--json", options=("--specs", str(tmp_path)))
    assert code == 0
    assert {row["gpu"] for row in json.loads(out)} == {*specs.names("gpus"), "mine"}


@pytest.mark.parametrize("name", ["", " ", "../../x", "\x1b[31m", "%s", "{}", "-", "x" * 100_000])
def test_hostile_names(name: str) -> None:
    code, out, err = run("show", "--", name)
    assert (code, out) == (2, "")
    assert err.rstrip("\n").isprintable()
    assert len(err) < 1000
    assert err.endswith("`perfsim specs list gpus` shows all cards\n")


@pytest.mark.parametrize("arguments", [("list", "cards"), ("list",), ("schema", "plan"), ("show",), ("check",)])
def test_wrong_arguments(arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: " in err


def test_check_of_what_is_not_there(tmp_path: Path) -> None:
    code, out, err = run("check", "x" * 300)
    assert (code, out) == (2, "")
    assert err.endswith(": cannot be read (File name too long); check the path and its rights\n")
    assert run("check", str(tmp_path / "none.toml")) == (2, "", f"{tmp_path}/none.toml: no such file; check the path\n")
    code, _, err = run("check", str(tmp_path))
    assert (code, err) == (2, f"{tmp_path}: holds no .toml file, config.json or prices/*.csv; check the path\n")


def test_numbers_that_whole_runs_fitted_are_shown_in_place_of_the_files(specs: Catalogue) -> None:
    _, out, _ = run("show", "nemo")
    shown = next(line for line in out.splitlines() if line.startswith("gemm_efficiency"))
    assert str(specs.software("nemo").gemm_efficiency) in shown
    assert "fitted, perfsim calibrate runs, " in out
