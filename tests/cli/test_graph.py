"""`perfsim graph`: a model's operations, printed and written."""

import io
import json
from pathlib import Path

import networkx as nx
import pytest
from click.testing import CliRunner

from perfsim.cli.main import main


def test_table() -> None:
    result = CliRunner().invoke(main, ["graph", "bert-large", "--seq-len", "128"])
    assert result.exit_code == 0 and result.stdout.startswith("BERT large")
    assert "encoder x 24" in result.stdout and result.stdout.splitlines()[-1].startswith("all layers")
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_products_of_a_layer_follow_the_published_form() -> None:
    answer = json.loads(
        CliRunner().invoke(main, ["graph", "gpt3-175b", "--seq-len", "2048", "--format", "json"]).stdout
    )
    layer = next(part for part in answer["parts"] if part["count"] == 96)
    flops = sum(operation["forward_flops"] for operation in layer["operations"])
    h, s = 12288, 2048
    assert flops == pytest.approx(24 * s * h * h * (1 + s / (6 * h)))  # Narayanan et al. 2021, forward of one layer


@pytest.mark.parametrize("form", ["dot", "graphml", "json", "table"])
def test_files(tmp_path: Path, form: str) -> None:
    target = tmp_path / f"graph.{form}"
    result = CliRunner().invoke(main, ["graph", "gpt2", "--format", form, "-o", str(target)])
    assert result.exit_code == 0 and result.stdout == "" and target.stat().st_size > 1000
    if form == "graphml":
        assert len(nx.read_graphml(io.BytesIO(target.read_bytes()))) > 10


def test_a_hugging_face_config_is_a_model(tmp_path: Path) -> None:
    config = {
        "model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 100, "n_positions": 32,
        "n_ctx": 32, "activation_function": "gelu_new",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = CliRunner().invoke(main, ["graph", str(tmp_path)])
    assert result.exit_code == 0 and "decoder x 2" in result.stdout


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["bert-larg"], "nearest: "),
        (["bert-large", "--tp", "5"], "5 does not divide the 16 attention heads"),
        (["bert-large", "--mbs", "0"], "--micro-batch-size: 0 is not allowed"),
        (["t5-base"], "decoder_seq_len is missing"),
        (["bert-large", "-o", "/no/such/folder/x"], "cannot be written"),
    ],
)
def test_options_that_cannot_be_used(options: list[str], what: str) -> None:
    result = CliRunner().invoke(main, ["graph", *options])
    assert result.exit_code == 2 and what in result.stderr and result.stdout == ""
