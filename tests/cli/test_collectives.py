"""`perfsim calibrate collectives` and `perfsim validate collectives`: from a log to presets and tables of errors."""

import json
import tomllib

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main

SIZES = [2**i for i in range(10, 28)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def log(tmp_path):
    """Two cards at 3 GB/s and 12 us."""
    lines = [f"{size} {size // 4} float sum -1 {12.0 + size / 3000.0:.2f} 0.1 0.1 0" for size in SIZES]
    path = tmp_path / "all_reduce_perf-mybox.log"
    path.write_text("# nThread 1 nGpus 2 minBytes 1024\n" + "\n".join(lines) + "\n")
    return str(path)


def test_a_log_becomes_a_preset(log, tmp_path):
    output = tmp_path / "collectives.toml"
    result = run("calibrate", "collectives", log, "-o", str(output))
    assert result.exit_code == 0
    written = tomllib.loads(output.read_text())
    (preset,) = written["preset"]
    assert preset["name"] == "mybox"
    assert preset["rows"] == len(SIZES)
    assert preset["error_percent"] < 10
    busbw = preset["rate"]["2"]["ring_gb_per_s"] / (1 + preset["simple"]["copy_share"] / 2)
    assert busbw == pytest.approx(3.0, rel=0.05)
    assert run("specs", "check", str(output)).exit_code == 0


def test_errors_by_system(log, tmp_path):
    result = run("validate", "collectives", log, "--json", "-")
    assert result.exit_code == 0
    tables = json.loads(result.stdout)
    assert {"in sample, by system and collective", "a payload size left out, by system"} <= tables.keys()
    assert tables["in sample, by system and collective"][-1]["rows"] == len(SIZES)
    shown = run("validate", "collectives", log)
    assert "in sample, by system and collective" in shown.stdout


def test_too_little_is_refused_with_what_to_measure(tmp_path):
    path = tmp_path / "all_reduce_perf-few.log"
    path.write_text("# nThread 1 nGpus 2\n 1024 256 float sum -1 12.0 0.1 0.1 0\n")
    for command in ("calibrate", "validate"):
        result = run(command, "collectives", str(path))
        assert result.exit_code == 2
        assert "1 rows of one machine; 15 at least" in result.output
        assert "measure more sizes, e.g. all_reduce_perf" in result.output


@pytest.mark.parametrize("command", ["calibrate", "validate"])
def test_a_missing_file_is_told(command, tmp_path):
    result = run(command, "collectives", str(tmp_path / "none.csv"))
    assert result.exit_code == 2
    assert "no such file" in result.output


def test_a_log_between_hosts_alone_is_refused(tmp_path):
    """A network is fitted beside what the nodes' own links do."""
    ranks = "".join(f"#  Rank  {i} Pid 1 on host{i} device 0 [0x01] card\n" for i in range(2))
    lines = [f"{size} {size // 4} float sum -1 {40.0 + size / 3000.0:.2f} 0.1 0.1 0" for size in SIZES]
    path = tmp_path / "all_reduce_perf-two.log"
    path.write_text(ranks + "\n".join(lines) + "\n")
    result = run("calibrate", "collectives", str(path))
    assert result.exit_code == 2
    assert "no rows inside a node" in result.output
