"""`perfsim validate`: the table, the JSON, and exit codes."""

import json
import re

import pytest
from click.testing import CliRunner, Result

from perfsim import paths
from perfsim.cli.main import main

HEADER = "run_id,gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s,quality\n"
ROWS = (
    "mine-1,t4,1,bert-base-uncased,128,16,amp-fp16,0.1,a\n"
    "mine-2,t4,1,bert-base-uncased,128,8,amp-fp16,0.05,b\n"
    "mine-3,t4,1,bert-base-uncased,128,8,amp-fp16,0.5,c\n"
)


def validate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["validate", *arguments])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(HEADER + ROWS)
    return str(path)


def test_json_holds_the_rows_and_the_summary_and_nothing_else_is_printed(table):
    result = validate(table, "--json", "-")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert [row["run_id"] for row in answer["rows"]] == ["mine-1", "mine-2"]
    wanted = {
        "run_id", "measured_step_seconds", "predicted_step_seconds", "predicted_peak_memory_bytes",
        "measured_peak_memory_bytes", "fit_probability", "problem", "software", "software_note",
        "predicted_low_seconds", "predicted_high_seconds", "predicted_low_bytes", "predicted_high_bytes",
        "left_out_step_seconds",
    }  # fmt: skip
    assert wanted <= answer["rows"][0].keys()
    assert answer["summary"][0]["runs"] == 2


def test_quality_chooses_the_rows(table):
    answer = json.loads(validate(table, "--quality", "c", "--json", "-").stdout)
    assert [row["run_id"] for row in answer["rows"]] == ["mine-3"]


@pytest.mark.parametrize(
    ("by", "group"), [("gpu", "t4"), ("source", "mine"), ("model", "bert-base-uncased"), ("software", "pytorch-2-")]
)
def test_groups(table, by, group):
    result = validate(table, "--by", by)
    assert result.exit_code == 0
    assert any(line.startswith(group) for line in result.stdout.splitlines())


def test_bad_files_end_with_their_lines_and_exit_code_2(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(HEADER + ROWS.replace("amp-fp16", "fp17", 1))
    result = validate(str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{path}:2: precision: 'fp17' is none of" in result.stderr
    missing = validate(str(tmp_path / "none.csv"))
    assert (missing.exit_code, "no such file" in missing.stderr) == (2, True)


def test_quality_letters_are_checked(table):
    assert validate(table, "--quality", "abz").exit_code == 2


def test_validation_page_lists_every_needed_column():
    page = paths.builtin("specs").parent / "docs" / "validation.md"
    if page.is_file():
        from perfsim.inputs.run_row import REQUIRED

        assert all(f"`{column}`" in page.read_text() for column in REQUIRED)


def test_ranking_of_the_shipped_runs():
    result = validate("ranking", "--json", "-")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    everything = [found[choice][0] for choice in ("plan", "gpus", "card")]
    assert all(one["groups"] >= one["near_best_chosen"] >= one["best_chosen"] > 0 for one in everything)
    assert all(one["mean_tau"] > 0.5 and one["mean_regret"] < 0.03 for one in everything)


def test_nothing_to_rank(table):
    result = validate("ranking", table)
    assert result.exit_code == 0
    assert result.stdout.count("no 3 runs differ by that alone") == 3


def test_perfsims_own_runs_are_the_default_and_stay_within_their_budgets():
    result = validate("--check", "--by", "set")
    assert result.exit_code == 0, result.stderr
    assert "runs replayed" in result.stdout and "constant utilisation" in result.stdout
    assert "Korthikanti 2022 Table 5" in result.stdout


def test_worse_predictions_fail_the_check(tmp_path):
    name = "gpus/a100-sxm4-40gb.toml"
    source = (paths.builtin("specs") / name).read_text()
    assert "bandwidth_gb_per_s = 1555" in source
    (tmp_path / "gpus").mkdir()
    (tmp_path / name).write_text(source.replace("bandwidth_gb_per_s = 1555", "bandwidth_gb_per_s = 1000"))
    result = CliRunner().invoke(main, ["--specs", str(tmp_path), "validate", "--check"])
    assert result.exit_code == 1
    assert re.search(r"set llm-foundry A100 40 GB, step time: MAPE .* % is over its budget of", result.stderr)
    assert "perfsim validate --record scenarios/validation/budgets.csv" in result.stderr


def test_page_and_record_are_about_perfsims_own_runs(table, tmp_path):
    for option in (["--check"], ["--page", str(tmp_path)], ["--record", str(tmp_path / "x.csv")]):
        assert validate(table, *option).exit_code == 2


@pytest.mark.slow
def test_budgets_are_written(tmp_path):
    """The page and its pictures: .ci/run holds them to docs."""
    assert validate("--record", str(tmp_path / "budgets.csv")).exit_code == 0
    shipped = paths.builtin("scenarios") / "validation"
    written, kept = ((file / "budgets.csv").read_text().splitlines() for file in (tmp_path, shipped))
    assert [line.rsplit(",", 2)[0] for line in written] == [line.rsplit(",", 2)[0] for line in kept]


def test_runs_are_drawn(table, tmp_path):
    file = tmp_path / "runs.svg"
    assert validate(table, "--plot", str(file)).exit_code == 0
    assert "measured step time [s]" in file.read_text()
    assert validate(table, "--plot", "x.jpg").exit_code == 2
