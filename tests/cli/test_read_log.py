"""`perfsim read-log`: what it prints, the table that `perfsim validate` replays, and exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main

LOGS = Path(__file__).parents[1] / "inputs" / "logs"
SCENARIO = """software = "torchtitan"
[workload]
model = "llama3-8b"
task = "pretrain"
seq_len = 8192
steps = 1
global_batch_size = 8
[search]
systems = ["dgx-h100"]
counts = [8]
micro_batch_size = 1
zero_stage = 3
"""


def perfsim(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "titan.toml"
    path.write_text(SCENARIO)
    return path


def test_a_log_alone_is_told() -> None:
    result = perfsim("read-log", LOGS / "torchtitan.log")
    assert result.exit_code == 0
    assert "torchtitan.log: torchtitan, NVIDIA H100 80GB HBM3" in result.stdout
    assert "1.14 s" in result.stdout and "7,190" in result.stdout and "57.3 GiB" in result.stdout
    assert "predicted" not in result.stdout
    assert "not told: power" in result.stdout


def test_with_a_scenario_the_prediction_stands_beside_it_and_validate_replays_the_table(scenario: Path) -> None:
    table = scenario.parent / "runs.csv"
    result = perfsim("read-log", LOGS / "torchtitan.log", "--scenario", scenario, "-o", table, "--json", "-")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    step = answer["figures"]["step_seconds"]
    assert step["error"] == pytest.approx(step["predicted"] / step["measured"] - 1)
    (row,) = json.loads(perfsim("validate", table, "--json", "-").stdout)["rows"]
    assert row["run_id"] == "titan"
    assert row["measured_step_seconds"] == pytest.approx(step["measured"], rel=1e-5)
    assert row["predicted_step_seconds"] == pytest.approx(step["predicted"], rel=1e-6)
    memory = answer["figures"]["peak_memory_bytes"]
    assert row["predicted_peak_memory_bytes"] == pytest.approx(memory["predicted"], rel=1e-6)
    lines = perfsim("read-log", LOGS / "torchtitan.log", "--scenario", scenario).stdout.splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("step ", "power of"))] == ["%", "-"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["read-log"], "Missing argument 'LOG...'"),
        (["read-log", "none.log"], "none.log: no such file; check the path"),
        (["read-log", LOGS / "nemo.log", "-o", "runs.csv"], "--output: a table needs to know what ran; add --scenario"),
        (["read-log", LOGS / "nemo.log", "--scenario", "none.toml"], "none.toml: no such file"),
    ],
)
def test_what_cannot_be_used_ends_with_2(arguments: list[object], words: str) -> None:
    result = perfsim(*arguments)
    assert (result.exit_code, words in result.stderr) == (2, True)


def test_a_log_that_contradicts_the_scenario_writes_no_table(scenario: Path) -> None:
    table = scenario.parent / "runs.csv"
    result = perfsim("read-log", LOGS / "nemo.log", LOGS / "nvidia-smi.csv", "--scenario", scenario, "-o", table)
    assert (result.exit_code, table.exists()) == (0, True)
    table.unlink()
    result = perfsim("read-log", LOGS / "megatron.log", "--scenario", scenario, "-o", table)
    assert (result.exit_code, table.exists()) == (2, False)
    assert "global_batch_size is 8, but 64 in megatron.log; correct it" in result.stderr
