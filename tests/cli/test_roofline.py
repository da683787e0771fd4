"""`perfsim roofline`: the text, the files, the picture, and what cannot be asked."""

import builtins
import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main

pytest.importorskip("matplotlib")


def drawn(*options: str) -> Result:
    return CliRunner().invoke(main, ["roofline", *options])


def test_verdict_roofs_and_kernels_on_one_screen() -> None:
    result = drawn("rtx-3090", "bert-large")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith("BERT large uncased pre-training on RTX 3090: 8 x 512 tokens, amp-bf16")
    assert lines[1].startswith("What bounds the kernels' time: compute")
    assert "of the bf16 peak" in lines[2]
    assert max(map(len, lines)) <= 100 and len(lines) <= 45
    assert any(line.startswith("DRAM ") and "936 GB/s" in line for line in lines)
    assert "attention_query/key/value" in result.stdout and "more, " in result.stdout


def test_all_shows_every_kernel() -> None:
    some, every = drawn("rtx-3090", "bert-large").stdout, drawn("rtx-3090", "bert-large", "--all").stdout
    assert "--all" not in every and len(every.splitlines()) > len(some.splitlines())


def test_a_card_alone_shows_every_format() -> None:
    text = drawn("h100-sxm5-80gb").stdout
    assert text.startswith("Roofline of H100 SXM5 80GB")
    assert [
        name for name in ("fp8", "bf16, fp16", "tf32", "fp32", "DRAM", "SM traffic") if f"\n{name} " not in text
    ] == []


def test_narrow_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, drawn("h100-sxm5-80gb", "gpt2").stdout.splitlines())) <= 80


@pytest.mark.parametrize(("card", "precision"), [("gtx-1080-ti", "amp-fp16"), ("v100-sxm2-16gb", "amp-fp16")])
def test_cards_without_bf16_get_a_precision_they_have(card: str, precision: str) -> None:
    assert json.loads(drawn(card, "gpt2", "--json", "-").stdout)["precision"] == precision


def test_json_adds_up() -> None:
    answer = json.loads(drawn("b200", "mixtral-8x7b", "--precision", "fp8", "--tp", "2", "--json", "-").stdout)
    kernels = answer["kernels"]
    assert sum(kernel["time_share"] for kernel in kernels) == pytest.approx(1.0)
    assert sum(k["count"] * k["seconds"] for k in kernels) == pytest.approx(answer["kernel_seconds"])
    assert {kernel["pass"] for kernel in kernels} == {"forward", "backward"}
    assert {kernel["bound"] for kernel in kernels} <= {"compute", "memory", "launch", "latency"}
    assert all(roof["source"] and roof["basis"] for roof in answer["roofs"])
    assert [roof["roof"] for roof in answer["roofs"] if not roof["datasheet_source"]] == ["SM traffic"]


@pytest.mark.parametrize(("options", "column"), [(["t4", "gpt2"], "operation"), (["t4"], "roof")])
def test_csv_holds_kernels_or_roofs(options: list[str], column: str) -> None:
    rows = list(csv.DictReader(io.StringIO(drawn(*options, "--csv", "-").stdout)))
    assert rows and all(row[column] for row in rows)


@pytest.mark.parametrize(
    "options", [["rtx-3090"], ["rtx-3090", "gpt2"], ["b200", "t5-base", "--decoder-seq-len", "99"]]
)
def test_pictures(tmp_path: Path, options: list[str]) -> None:
    png, svg = tmp_path / "a.png", tmp_path / "a.SVG"
    assert drawn(*options, "--plot", str(png)).exit_code == drawn(*options, "--plot", str(svg)).exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and len(png.read_bytes()) > 20_000
    tree = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    texts = {"".join(node.itertext()).strip() for node in tree.iter() if node.tag.endswith("}text")}
    labels = {"FLOP per byte of memory traffic", "TFLOP/s", "datasheet"}
    if len(options) > 1:
        labels |= {"MB moved by a launch", "GB/s", "product", "forward (full)", "backward (hollow)"}
    assert labels <= texts and any(text.startswith("reached in training") for text in texts)


def test_the_same_question_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        assert drawn("rtx-3090", "gpt2", "--plot", str(tmp_path / name)).exit_code == 0
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_user_s_own_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    drawn("t4", "--plot", str(tmp_path / "a.svg"))
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        drawn("t4", "--plot", str(tmp_path / "b.svg"))
        assert matplotlib.rcParams["font.size"] == 30.0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_without_matplotlib_the_text_still_comes_and_the_picture_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **others: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    assert drawn("t4", "gpt2").exit_code == 0
    result = drawn("t4", "gpt2", "--plot", str(tmp_path / "a.png"))
    assert result.exit_code == 2 and "pip install 'perfsim[report]'" in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["rtx-3099"], "nearest: "),
        (["rtx-3090", "bert-larg"], "nearest: "),
        (["rtx-3090", "gpt2", "--plot", "a.pdf"], "write a name in .png or .svg"),
        (["rtx-3090", "gpt2", "--plot", "-"], "write a name in .png or .svg"),
        (["rtx-3090", "gpt2", "--plot", "/no/such/folder/a.png"], "cannot be written"),
        (["rtx-3090", "gpt2", "--json", "/no/such/folder/a.json"], "cannot be written"),
        (["gtx-1080-ti", "gpt2", "--precision", "amp-bf16"], "has no units for bf16; write one of fp32, amp-fp16"),
        (["rtx-3090", "gpt2", "--precision", "fp8"], "GeForce RTX 3090 has no units for fp8"),
        (["rtx-3090", "gpt2", "--precision", "bf61"], "precision"),
        (["gtx-1080-ti", "gpt2", "--software", "megatron-core"], "needs cudnn-attention"),
        (["rtx-3090", "gpt2", "--software", "pytorch"], "pytorch"),
        (["rtx-3090", "gpt2", "--mbs", "0"], "--micro-batch-size: 0 is not allowed"),
        (["rtx-3090", "gpt2", "--tp", "5"], "5 does not divide the 12 attention heads"),
        (["rtx-3090", "t5-base"], "decoder_seq_len is missing"),
        (["rtx-3090", "--mbs", "4"], "name a MODEL"),
        (["rtx-3090", "gpt2", "--json", "-", "--csv", "-"], "Only one of"),
    ],
)
def test_options_that_cannot_be_used(options: list[str], what: str) -> None:
    result = drawn(*options)
    assert result.exit_code == 2 and what in result.stderr and result.stdout == ""
    assert "Traceback" not in result.stderr
