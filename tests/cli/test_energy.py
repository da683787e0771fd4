"""`perfsim validate energy` on a table of one's own: figures, and errors for people."""

import json

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main

HEADER = "gpu,n_gpus,model,task,seq_len,micro_batch,precision,optimizer,software"
HEADER += ",power_limit_w,avg_power_w,power_scope,time_rel"
ROW = "v100-pcie-32gb,1,bert-base-uncased,finetune,384,{batch},fp32,adamw,PyTorch 1.13,{limit},{watts},board,{time}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def table(tmp_path):
    lines = [
        ROW.format(batch=batch, limit=limit, watts=watts, time=time)
        for batch in (8, 16)
        for limit, watts, time in (
            (150, 146, 1.22),
            (175, 169, 1.12),
            (200, 190, 1.07),
            (225, 210, 1.02),
            (250, 226, 1),
        )
    ]
    path = tmp_path / "power.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_errors_by_card(table):
    result = run("validate", "energy", str(table), "--json", "-")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (every, card) = found["tables"]["joules of a board by card, in sample"]
    assert every["rows"] == card["rows"] == 10 and card["name"] == "v100-pcie-32gb" and card["mape"] < 10
    shown = run("validate", "energy", str(table))
    assert "joules of a board by card, in sample" in shown.stdout


def test_too_few_rows_are_told(table):
    table.write_text("\n".join(table.read_text().splitlines()[:3]) + "\n")
    result = run("validate", "energy", str(table))
    assert result.exit_code == 2 and "measure more batches and power limits" in result.output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",146,", ",much,", "avg_power_w: 'much' is not between 0 and"),
        ("board,1.22", "rack,1.22", "power_scope: 'rack' is unknown"),
        ("v100-pcie-32gb,1", "v100-pci-32gb,1", "not among the gpus"),
    ],
)
def test_mistakes_in_a_table(table, old, new, said):
    table.write_text(table.read_text().replace(old, new, 1))
    result = run("validate", "energy", str(table))
    assert result.exit_code == 2 and said in result.output and "Traceback" not in result.output
