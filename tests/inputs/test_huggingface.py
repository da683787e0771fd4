"""config.json files as Hugging Face publishes them, and as people and attackers break them."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from perfsim.errors import InputError
from perfsim.formulas.parameters import count
from perfsim.inputs.huggingface import FAMILIES, model_from_config, read_config
from perfsim.inputs.model import load_model

MODELS = Path(__file__).parents[2] / "specs" / "models"

# The architecture facts of published models under the keys that each family writes, named as in specs/models.
CONFIGS = {
    path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "configs").glob("*.json"))
}
LLAMA_3_8B = CONFIGS["llama3-8b"]

# Those that specs/models does not have, or counts otherwise: the parameters of their base models' checkpoints.
OTHERS = {
    "bart-large": 406_291_456,
    "electra-small": 13_483_008,
    "gpt-neo-1.3b": 1_315_575_808,
    "roberta-base": 124_645_632,
}


def write(folder: Path, config: object) -> Path:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=2), encoding="utf-8")
    return path


def complaints(path: Path) -> list[str]:
    began = time.process_time()
    with pytest.raises(InputError) as refused:
        model_from_config(path)
    assert time.process_time() - began < 0.3
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{path}") for line in lines)
    return [line.removeprefix(f"{path}") for line in lines]


def line_of(path: Path, key: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if f'"{key}"' in line)


def changed(**values: object) -> dict[str, object]:
    return {key: value for key, value in {**LLAMA_3_8B, **values}.items() if value is not ...}


@pytest.mark.parametrize("key", sorted(CONFIGS.keys() - OTHERS))
def test_a_config_has_the_parameters_of_the_spec(key: str, tmp_path: Path) -> None:
    given, spec = model_from_config(write(tmp_path, CONFIGS[key])), load_model(MODELS / f"{key}.toml")
    assert count(given).total == count(spec).total
    assert count(given).active == count(spec).active
    shape = ("layers", "heads", "kv_heads", "head_dim", "ffn_hidden_size", "vocab_size", "encoder_layers", "kind")
    shape += ("positions", "window", "windowed_layers", "norms_per_layer", "norm_position", "is_causal", "mla", "moe")
    assert [getattr(given, name) for name in shape] == [getattr(spec, name) for name in shape]


@pytest.mark.parametrize("name", OTHERS)
def test_a_config_without_a_spec_has_its_checkpoints_parameters(name: str, tmp_path: Path) -> None:
    assert count(model_from_config(write(tmp_path, CONFIGS[name]))).total == OTHERS[name]


def test_configs_cover_the_families() -> None:
    tested = {config["model_type"] for config in CONFIGS.values()}
    assert tested >= set(FAMILIES) - {"kimi_k2", "mt5", "xlm-roberta"}


def test_a_folder_is_read_by_its_config_json_alone(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    write(folder, LLAMA_3_8B)
    (folder / "params.json").write_text("{broken")
    model = model_from_config(folder)
    assert (model.key, model.name) == ("my-llama", "my-llama")
    assert complaints(tmp_path) == ["/config.json: no such file; check the path"]


def test_no_code_of_the_folder_runs_and_the_note_says_so(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Config: pass\n")
    seen: list[str] = []
    watching = [True]
    sys.addaudithook(lambda event, _: seen.append(event) if watching[0] else None)
    path = write(tmp_path, changed(auto_map={"AutoConfig": "evil.Config"}, _attn_implementation_internal="evil"))
    seen.clear()
    file = read_config(path)
    watching[0] = False
    assert not marker.exists()
    assert not {"import", "exec", "compile", "socket.connect", "subprocess.Popen"} & set(seen)
    assert file.notes == ("auto_map is ignored: perfsim runs no code of a model's folder",)


@pytest.mark.parametrize(
    "name", ["num_kv_heads", "n_kv_heads", "kv_heads", "num_key_value_head", "num_query_groups_kv_heads"]
)
def test_a_misspelt_number_of_kv_heads_is_never_taken_for_an_absent_one(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, changed(num_key_value_heads=..., **{name: 8}))
    assert complaints(path) == [f":{line_of(path, name)}: {name}: no such key; did you mean num_key_value_heads?"]


def test_an_absent_number_of_kv_heads_means_all_heads_for_llama_alone(tmp_path: Path) -> None:
    assert model_from_config(write(tmp_path, changed(num_key_value_heads=...))).kv_heads == 32
    config = {key: value for key, value in CONFIGS["mistral-7b"].items() if key != "num_key_value_heads"}
    assert complaints(write(tmp_path, config)) == [":1: num_key_value_heads: is missing; add it"]


BAD_VALUES = {
    "hidden_size": [0, -4096, 2**21, 4096.0, "4096", [4096], {"a": 1}, True],
    "num_hidden_layers": [0, -32, 10**5, "32"],
    "num_attention_heads": [0, 24, "32"],
    "num_key_value_heads": [0, 5, -8, 64, "8"],
    "intermediate_size": [0, -1, "x"],
    "vocab_size": [0, -1, 2**40],
    "max_position_embeddings": [0, "8k"],
    "hidden_act": ["gellu", 5, ["silu"]],
    "tie_word_embeddings": ["false", 0],
    "model_type": ["llamma", "llama4", 3, ["llama"]],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values])
def test_a_bad_value_is_named_with_its_line(key: str, value: object, tmp_path: Path) -> None:
    path = write(tmp_path, changed(**{key: value}))
    (line,) = complaints(path)
    assert line.startswith(f":{line_of(path, key)}: {key}: ")
    assert "; " in line


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    bad = changed(hidden_size=-1, num_hidden_layers="32", num_attention_heads=..., num_heads=32, vocab_size=...)
    lines = complaints(write(tmp_path, bad))
    assert [line.split(": ")[1] for line in lines] == ["vocab_size", "hidden_size", "num_hidden_layers", "num_heads"]
    assert "did you mean num_attention_heads?" in lines[3]


def test_an_unknown_family_names_the_supported_ones(tmp_path: Path) -> None:
    (line,) = complaints(write(tmp_path, changed(model_type="mamba")))
    assert "'mamba' is not supported; the supported families are" in line
    assert all(family in line for family in FAMILIES)
    (line,) = complaints(write(tmp_path, {"model_type": "llava", "text_config": LLAMA_3_8B}))
    assert "save the table text_config" in line
    (line,) = complaints(write(tmp_path, changed(model_type=..., modeltype="llama")))
    assert "did you mean model_type?" in line


BROKEN = {
    "empty": ("", ":1: is empty"),
    "blank": ("  \n\n", ":1: is empty"),
    "cut short": ('{\n"model_type": "llama",\n"hidden_size": ', ":3: not valid JSON"),
    "no comma": ('{\n"model_type": "llama"\n"hidden_size": 8}', ":3: not valid JSON"),
    "a list": ("[1, 2]", ":1: expected a table"),
    "a number": ("7", ":1: expected a table"),
    "null": ("null", ":1: expected a table"),
    "NaN": ('{"model_type": "llama",\n"hidden_size": NaN}', ":2: hidden_size: nan is not a finite number"),
    "Infinity": ('{"model_type": "llama",\n"hidden_size": -Infinity}', ":2: hidden_size: -inf is not a finite number"),
    "1e999": ('{"model_type": "llama",\n"hidden_size": 1e999}', ":2: hidden_size: inf is not a finite number"),
    "10^30": ('{"model_type": "llama",\n"hidden_size": 1' + 30 * "0" + "}", ":2: hidden_size: the number is beyond"),
    "long number": ('{"hidden_size":\n' + 5000 * "9" + "}", ":2: a number of 5,000 characters"),
    "duplicate key": ('{"model_type": "llama",\n"vocab_size": 1,\n"vocab_size": 2}', ":3: vocab_size: stands twice"),
    "deep": ('{"a":' * 100_000 + "1" + "}" * 100_000, ":1: brackets nested more than"),
    "deep lists": ("[" * 100_000 + "]" * 100_000, ":1: brackets nested more than"),
    "NUL": ('{"model_type": "llama",\n"hidden_size": \0}', ":2: holds a NUL character"),
    "a lone word": ("hello", ":1: not valid JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_by_line(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]
    (line,) = complaints(write(tmp_path, text))
    assert line.startswith(expected)


def test_a_file_of_50_mb_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.write(b'{"model_type": "llama", "padding": "')
        file.truncate(50 * 2**20)
    (line,) = complaints(path)
    assert "is larger than" in line


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"model_type":\n "ll\xff\xfeama"}')
    assert complaints(path) == [":2: is not UTF-8 text; save it as UTF-8"]


def test_a_bom_and_windows_lines_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(LLAMA_3_8B, indent=1).replace("\n", "\r\n").encode())
    assert count(model_from_config(path)).total == 8_030_261_248


def test_escape_codes_never_reach_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07<script>\u202e[bold]"
    model = model_from_config(write(tmp_path, changed(_name_or_path=evil)))
    assert model.name.isprintable()
    (line,) = complaints(write(tmp_path, changed(model_type=evil)))
    assert line.isprintable()
    assert "\x1b" not in "".join(complaints(write(tmp_path, changed(hidden_size=evil))))


def test_what_is_not_modelled_is_refused_rather_than_approximated(tmp_path: Path) -> None:
    sparse = {**CONFIGS["qwen3-30b-a3b"], "decoder_sparse_step": 2}
    assert "only 1 is supported" in complaints(write(tmp_path, sparse))[0]
    skipping = {**CONFIGS["qwen3-30b-a3b"], "mlp_only_layers": [0, 1]}
    assert "layers without experts are not supported" in complaints(write(tmp_path, skipping))[0]
    greedy = {**CONFIGS["mixtral-8x7b"], "num_experts_per_tok": 9}
    assert "9 of 8 experts" in complaints(write(tmp_path, greedy))[0]
    relative = {**CONFIGS["bert-large-uncased"], "position_embedding_type": "relative_key"}
    assert "is none of absolute" in complaints(write(tmp_path, relative))[0]
    uneven = {**CONFIGS["bart-large"], "encoder_ffn_dim": 2048}
    assert "differs from the decoder's" in complaints(write(tmp_path, uneven))[0]


def test_two_names_of_one_size_must_agree(tmp_path: Path) -> None:
    config = {**CONFIGS["gpt2-xl"], "hidden_size": 1600}
    assert model_from_config(write(tmp_path, config)).hidden_size == 1600
    (line,) = complaints(write(tmp_path, {**config, "hidden_size": 800}))
    assert "hidden_size: is another name of n_embd" in line


def test_a_key_inside_a_table_is_told_with_its_line(tmp_path: Path) -> None:
    config = {**CONFIGS["mpt-7b"], "attn_config": {"alibi": "yes", "n_kv_heads": 4}}
    lines = complaints(write(tmp_path, config))
    assert lines == [
        ":4: attn_config.alibi: expected true or false, got 'yes'; write true or false",
        ":5: attn_config.n_kv_heads: no such key; did you mean kv_n_heads?",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, LLAMA_3_8B)
    path.chmod(0)
    (line,) = complaints(path)
    assert "cannot be read" in line
