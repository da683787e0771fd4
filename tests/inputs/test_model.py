"""The models that come with perfsim count as published, and a model file that is wrong says where and why."""

from pathlib import Path
from typing import get_args

import pytest

from perfsim.core.model import TransformerKind
from perfsim.core.workload import Head, Task, model_of
from perfsim.errors import InputError
from perfsim.formulas.parameters import count
from perfsim.inputs.convnet import CONVOLUTIONAL_KINDS
from perfsim.inputs.model import load_model, model_spec

MODELS = Path(__file__).parents[2] / "specs" / "models"
FILES = sorted(MODELS.glob("*.toml"))
UNEXPLAINED = 0.01
EXACT = 1e-4

GOOD = (MODELS / "llama3-8b.toml").read_text(encoding="utf-8")
MOE = (MODELS / "deepseek-v3.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_computed_count_is_the_published_one_or_the_file_explains_why(path: Path) -> None:
    spec = model_spec(path)
    assert spec.published
    released = model_of(spec.model(path.stem), Task.FINETUNE, Head.CONTRASTIVE)
    apart = abs(count(released).total / spec.published.parameters - 1)
    assert apart < UNEXPLAINED or spec.explain
    assert apart < EXACT or spec.published.precision == "rounded"


def test_there_are_157_models_of_every_kind() -> None:
    assert len(FILES) == 157
    assert {load_model(path).kind for path in FILES} == {*get_args(TransformerKind), *CONVOLUTIONAL_KINDS}


def test_no_two_models_share_a_name() -> None:
    owners: dict[str, str] = {}
    for path in FILES:
        spec = model_spec(path)
        for name in {text.lower().replace(" ", "-") for text in (path.stem, spec.name, *spec.aliases)}:
            assert owners.setdefault(name, path.stem) == path.stem


@pytest.mark.parametrize(
    ("key", "active"),
    [("mixtral-8x7b", 12.88e9), ("deepseek-v3", 37.55e9), ("qwen3-235b-a22b", 22.19e9), ("kimi-k2", 32.86e9)],
)
def test_active_parameters_are_those_of_the_model_cards(key: str, active: float) -> None:
    model = model_of(load_model(MODELS / f"{key}.toml"), Task.FINETUNE, Head.LANGUAGE_MODEL)
    assert count(model).active == pytest.approx(active, rel=1e-3)


@pytest.mark.parametrize(
    ("key", "window", "layers"),
    [("gemma2-27b", 4096, 23), ("gemma3-12b", 1024, 40), ("mistral-7b", 4096, 32), ("llama3-8b", 0, 0)],
)
def test_windows_cover_the_layers_that_have_them(key: str, window: int, layers: int) -> None:
    model = load_model(MODELS / f"{key}.toml")
    assert (model.window, model.windowed_layers) == (window, layers)


def test_bert_in_full() -> None:
    model = load_model(MODELS / "bert-large-uncased.toml")
    assert (model.key, model.name, model.kind) == ("bert-large-uncased", "BERT large uncased", "encoder")
    assert (model.layers, model.hidden_size, model.heads, model.head_dim) == (24, 1024, 16, 64)
    assert not model.is_causal
    assert model.norm_position == "post"
    assert model.position_parameters == 512 * 1024
    assert model.extra_parameters == 1024 * 1024 + 1024


def complaints(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_model(path)
    return [line.removeprefix(str(path)) for line in str(refused.value).splitlines()]


BAD = [
    ("num_hidden_layers = 32", "num_hidden_layers = -32", "num_hidden_layers: -32 is not allowed"),
    ("num_hidden_layers = 32", "num_hidden_layers = 100_000", "num_hidden_layers: 100000 is not allowed"),
    ("hidden_size = 4096", "hidden_size = 0", "hidden_size: 0 is not allowed"),
    ("hidden_size = 4096", "hidden_size = 1" + 30 * "0", "hidden_size: the number is beyond 64 bits"),
    ("hidden_size = 4096", 'hidden_size = "4096"', "hidden_size: expected a whole number, got '4096'"),
    ("hidden_size = 4096", "hidden_size = [4096]", "hidden_size: expected a whole number, got a list"),
    ("hidden_size = 4096", "hidden_size = nan", "hidden_size: nan is not a finite number"),
    ("hidden_size = 4096", "hiden_size = 4096", "hiden_size: no such key; did you mean hidden_size?"),
    ("num_key_value_heads = 8", "num_kv_heads = 8", "num_kv_heads: no such key; did you mean num_key_value_heads?"),
    ("num_key_value_heads = 8", "num_key_value_heads = 5", "num_key_value_heads: 5 do not divide 32"),
    ('norm = "rmsnorm"', 'norm = "rms"', "norm: 'rms' is none of layernorm, rmsnorm, none; did you mean rmsnorm?"),
    ('kind = "decoder"', 'kind = "encoder-decoder"', "num_encoder_layers: 0 in a model of kind encoder-decoder"),
    ("vocab_size = 128256", "vocab_size = 0", "vocab_size: 0 in a model of kind decoder"),
    ("intermediate_size = 14336\n", "", "intermediate_size: is missing"),
    ('norm = "rmsnorm"', 'sliding_window = 512\nnorm = "rmsnorm"', "sliding_window: a window and its windowed_layers"),
]


@pytest.mark.parametrize(("right", "wrong", "expected"), BAD)
def test_a_wrong_model_file_says_what_is_wrong(right: str, wrong: str, expected: str, tmp_path: Path) -> None:
    assert right in GOOD
    (line,) = complaints(GOOD.replace(right, wrong), tmp_path)
    assert line.split(": ", 1)[1].startswith(expected)


BAD_MOE = [
    ("num_experts_per_tok = 8", "num_experts_per_tok = 300", "moe.num_experts_per_tok: 300 of 256 experts"),
    ("first_k_dense_replace = 3", "first_k_dense_replace = 61", "moe.first_k_dense_replace: 61 leave no layer"),
    ("head_dim = 192", "head_dim = 128", "head_dim: 128 is not qk_nope_head_dim + qk_rope_head_dim"),
    ("intermediate_size = 18432  # of the dense layers\n", "", "intermediate_size: is missing"),
]


@pytest.mark.parametrize(("right", "wrong", "expected"), BAD_MOE)
def test_a_wrong_expert_model_says_what_is_wrong(right: str, wrong: str, expected: str, tmp_path: Path) -> None:
    assert f"\n{right}" in MOE
    (line,) = complaints(MOE.replace(f"\n{right}", f"\n{wrong}"), tmp_path)
    assert line.split(": ", 1)[1].startswith(expected)


def test_a_number_without_a_source_is_refused(tmp_path: Path) -> None:
    lines = complaints(GOOD[: GOOD.index("[sources]")], tmp_path)
    assert any("hidden_size: has no source" in line for line in lines)


TOWERS = (MODELS / "clip-vit-b-32.toml").read_text(encoding="utf-8")
BAD_TOWERS = [
    (
        "tokens = 77\n",
        "tokens = 77\nsequence_tokens = 7\n",
        "towers.text.sequence_tokens: are what a tower of",
    ),
    ('role = "contrast"', 'role = "contrst"', "towers.text.role: 'contrst' is none of input, contrast, generator"),
    ("[[towers.text.projection]]", "[[towers.text.stem]]", "towers.text.projection: is missing"),
    ("[[projection]]", "[[stem]]", "projection: is missing: what the model is compared by with its tower"),
    ("inputs = 3072", "inputs = 0", "stem[0].inputs: 0 is not allowed"),
    ('norm = "layernorm"', 'modulations = 6\nnorm = "layernorm"', "modulations: go with the norm_position adaLN-zero"),
]


@pytest.mark.parametrize(("right", "wrong", "expected"), BAD_TOWERS)
def test_a_wrong_tower_says_what_is_wrong(right: str, wrong: str, expected: str, tmp_path: Path) -> None:
    assert f"\n{right}" in TOWERS
    (line,) = complaints(TOWERS.replace(f"\n{right}", f"\n{wrong}", 1), tmp_path)
    assert line.split(": ", 1)[1].startswith(expected)
