"""The command group: help, options, and every way a run can end."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from perfsim import __version__
from perfsim.cli import main as cli
from perfsim.errors import InputError, UnknownNameError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `perfsim [options] sweep` with a function in the place of the sweep."""

    def run_with(body: Callable[[], Any], *options: str) -> Result:
        @click.command()
        def sweep() -> None:
            body()

        monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(sweep=sweep))
        return CliRunner().invoke(cli.main, [*options, "sweep"])

    return run_with


def failing(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_help_lists_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(cli.main, ["--help"])
    assert result.exit_code == 0
    for name, (_, line) in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", result.stdout, re.MULTILINE)
    assert "0 an answer, 1 nothing fits, 2 a file or option cannot be used" in result.stdout


def test_version() -> None:
    assert CliRunner().invoke(cli.main, ["--version"]).stdout == f"perfsim, version {__version__}\n"


@pytest.mark.parametrize("typed, meant", [("swep", "sweep"), ("estimte", "estimate"), ("spec", "specs")])
def test_misspelt_command_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    result = CliRunner().invoke(cli.main, [typed])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"no such command {typed!r}; did you mean {meant!r}?" in result.stderr


def test_command_like_no_other_is_answered_with_the_list() -> None:
    result = CliRunner().invoke(cli.main, ["\x1b[31mxyzzy"])
    assert result.exit_code == 2
    assert f"there are {', '.join(cli.COMMANDS)}" in result.stderr
    assert "\x1b" not in result.stderr


def test_specs_folders_reach_the_command(run: Callable[..., Result], tmp_path: Path) -> None:
    seen: list[Any] = []
    result = run(lambda: seen.append(click.get_current_context().obj), "--specs", str(tmp_path), "--specs", ".")
    assert result.exit_code == 0
    assert seen == [[tmp_path, Path(".")]]


def test_specs_folder_must_exist() -> None:
    result = CliRunner().invoke(cli.main, ["--specs", "no/such/folder", "sweep"])
    assert result.exit_code == 2
    assert "no/such/folder" in result.stderr


def test_errors_of_users_are_lines_and_exit_2(run: Callable[..., Result]) -> None:
    result = run(failing(InputError("a.toml:3: key: what; do this\na.toml:9: \x1b]0;title\x07: what; do that")))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "a.toml:3: key: what; do this",
        r"a.toml:9: \x1b]0;title\x07: what; do that",
    ]


def test_unknown_name_is_exit_2(run: Callable[..., Result]) -> None:
    assert run(failing(UnknownNameError("no such card"))).exit_code == 2


def test_file_that_cannot_be_opened_is_a_line_and_exit_2(run: Callable[..., Result]) -> None:
    result = run(failing(PermissionError(13, "Permission denied", "out.json")))
    assert (result.exit_code, result.stderr) == (2, "perfsim: out.json: Permission denied\n")


def test_interrupt_is_exit_130(run: Callable[..., Result]) -> None:
    result = run(failing(KeyboardInterrupt()))
    assert (result.exit_code, result.stderr) == (130, "perfsim: interrupted\n")


def test_defect_is_one_line_and_exit_70(run: Callable[..., Result]) -> None:
    result = run(failing(ZeroDivisionError("float\ndivision")))
    assert result.exit_code == 70
    (line,) = result.stderr.splitlines()
    assert line.startswith("perfsim: a defect in perfsim: ZeroDivisionError: float division; please report it")


def test_debug_prints_the_traceback(run: Callable[..., Result]) -> None:
    result = run(failing(ZeroDivisionError("division")), "--debug")
    assert result.exit_code == 70
    assert "Traceback (most recent call last)" in result.stderr


@pytest.mark.parametrize("code", [0, 1])
def test_command_chooses_its_exit_code(run: Callable[..., Result], code: int) -> None:
    assert run(lambda: click.get_current_context().exit(code)).exit_code == code
    assert run(failing(SystemExit(code))).exit_code == code


FAKE_SWEEP = """
import sys, types, click
from perfsim.cli import main as cli
@click.command()
def sweep():
{body}
cli.import_module = lambda name: types.SimpleNamespace(sweep=sweep)
cli.main(["sweep"])
"""


def start(body: str, **variables: str) -> subprocess.Popen[bytes]:
    code = FAKE_SWEEP.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    environment = {**os.environ, **variables}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe in another way")
@pytest.mark.parametrize(
    "body",
    [
        "for _ in range(100_000):\n    print('x' * 80)",
        "import rich\nfor _ in range(2_000):\n    rich.print('x' * 80)",
    ],
)
def test_reader_that_leaves_early_sees_no_error(body: str) -> None:
    with start(body) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_terminal_without_unicode_gets_a_substitute() -> None:
    with start("print('2 \\N{MULTIPLICATION SIGN} RTX')", PYTHONIOENCODING="ascii") as process:
        out, error = process.communicate(timeout=60)
    assert (out.strip(), error, process.returncode) == (b"2 ? RTX", b"", 0)


def test_python_dash_m_is_the_same_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "perfsim", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("Usage: perfsim [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.skipif(os.name == "nt", reason="os.wait4 is not on Windows")
def test_help_takes_little_processor_time() -> None:
    def seconds() -> float:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "perfsim", "--help"],
            {**os.environ, "PYTHONPATH": str(ROOT)},
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
        _, status, usage = os.wait4(pid, 0)
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    assert min(seconds() for _ in range(5)) < 0.1


@pytest.mark.parametrize("command", [["sweep", "gpt3-175b"], ["estimate", "--model", "gpt2", "--gpu", "T4"]])
def test_answers_import_nothing_that_they_do_not_use(command: list[str]) -> None:
    """scipy, pandas and matplotlib take a second or more to import."""
    script = f"import sys; sys.argv = {['perfsim', *command]!r}\nfrom perfsim.cli.main import main\n"
    script += "main(standalone_mode=False)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "numpy" in loaded and not {"scipy", "pandas", "matplotlib", "jinja2"} & set(loaded)
