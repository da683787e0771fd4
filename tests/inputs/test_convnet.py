"""Lists of layers: what they mean, and what is said about lines that mean nothing."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import perfsim as ps
from perfsim.cli.main import main
from perfsim.errors import InputError
from perfsim.formulas.parameters import count
from perfsim.inputs.layer_lines import read_line
from perfsim.inputs.model import load_model

HEAD = 'name = "Mine"\nfamily = "mine"\nkind = "convolutional"\nimage_size = 64\n'
TAIL = '\n[sources]\n"*" = "made up"\n'
GAN = (
    HEAD.replace("convolutional", "gan")
    + """
[generator]
input_channels = 8
input_size = 4
layers = ["deconv 4x4/16 3"]

[discriminator]
input_channels = 3
layers = ["conv 4x4/64 1"]
"""
)


def net(*layers: str, more: str = "", blocks: str = "") -> str:
    listed = ", ".join(f'"{layer}"' for layer in layers)
    return f"{HEAD}[net]\ninput_channels = 3\n{more}layers = [{listed}]\n{blocks}{TAIL}"


def load(tmp_path: Path, text: str) -> ps.Model:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_model(path)


def test_a_line_in_full() -> None:
    line = read_line("12 conv 3x3/s 4c nobias groups=2")
    assert (line.repeats, line.word, line.kernel, line.stride, line.amount) == (12, "conv", 3, "s", "4c")
    assert line.value(16, "channels") == 64 and line.steps_over(2) == 2
    assert line.groups(64) == 2 and not line.has_bias(True)


def test_a_convolution_before_a_batch_norm_has_no_bias_unless_it_says_so(tmp_path: Path) -> None:
    assert count(load(tmp_path, net("conv 3x3 8", "batchnorm"))).total == 3 * 8 * 9 + 16
    assert count(load(tmp_path, net("conv 3x3 8 bias", "batchnorm"))).total == 3 * 8 * 9 + 8 + 16
    assert count(load(tmp_path, net("conv 3x3 8", "relu"))).total == 3 * 8 * 9 + 8
    assert count(load(tmp_path, net("conv 3x3 8 nobias", "relu"))).total == 3 * 8 * 9


def test_repeats_are_units_and_only_the_first_has_the_stride(tmp_path: Path) -> None:
    block = '[block.b]\nis_residual = true\nlayers = ["conv 3x3/s c", "relu"]\nshortcut = ["conv 1x1/s c"]\n'
    (found,) = load(tmp_path, net("conv 1x1 8", "3 b/2 16", "mean", "linear 10", blocks=block)).nets
    assert [(unit.name, unit.count) for unit in found.units] == [
        ("01-conv", 1), ("02-b", 1), ("03-b", 2), ("04-mean", 1)
    ]  # fmt: skip
    assert [step.action for step in found.units[1].steps] == ["fork", "conv", "relu", "shortcut", "conv", "add"]
    assert [step.stride for step in found.units[1].steps] == [1, 2, 1, 1, 2, 1]
    assert [step.action for step in found.units[2].steps] == ["fork", "conv", "relu", "shortcut", "add"]


def test_attention_reads_the_image_or_its_text(tmp_path: Path) -> None:
    more = "context_tokens = 7\ncontext_channels = 5\n"
    model = load(tmp_path, net("conv 1x1 8 nobias", "attention 2", "cross-attention 2", "linear 4 nobias", more=more))
    assert count(model).total == 3 * 8 + 3 * 8 * 8 + (8 + 2 * 5) * 8 + 8 * 4
    assert count(model).tensors == 1 + 3 + 3 + 1


BAD = [
    (("conv 3x3",), "conv lacks its channels; write it like"),
    (("Conv 3x3 64",), "is no layer; write it like"),
    (("conv 3x5 64",), "a window of 3x5; perfsim knows square windows only"),
    (("conv 3x3/0 64",), "a window or stride of 0"),
    (("konv 3x3 64",), "konv is no layer and no block; did you mean conv?"),
    (("2 conv 3x3 64",), "only blocks can be repeated; make a [block] of it"),
    (("conv 3x3 c",), "c outside a block"),
    (("conv 3x3 9999999",), "9999999 channels; write at most 1,048,576"),
    (("conv 3x3 64 groups=2",), "2 groups do not divide 3 and 64 channels; choose a divisor"),
    (("groupnorm 2",), "2 groups do not divide 3 channels; choose a divisor"),
    (("attention 2",), "2 heads do not divide 3 channels; choose a divisor"),
    (("cross-attention 3",), "cross-attention without a context; add context_tokens"),
    (("embed",), "embed without an embedding; add embedding_channels"),
    (("join",), "join without a keep before it; add the keep, or remove the join"),
    (("keep", "maxpool 2x2/2", "join"), "what was kept has another size; let as many upsamples"),
    (("geglu",), "geglu halves 3 channels; make them even"),
    ((), "is empty; write the net's layers"),
]


@pytest.mark.parametrize(("layers", "expected"), BAD)
def test_a_line_that_does_not_fit_says_what_to_do(layers: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path, net(*layers))
    assert f"net.layers{f'[{len(layers) - 1}]' if layers else ''}: {expected}" in str(refused.value)
    assert "mine.toml:7: " in str(refused.value)


BAD_BLOCKS = [
    ("[block.b]\nlayers = []", "block.b.layers: is empty; write the block's layers"),
    ('[block.b]\nlayers = ["b"]', "blocks within blocks, more than 8 deep; let no block hold itself"),
    (
        '[block.b]\nis_residual = true\nlayers = ["conv 3x3 8"]',
        "both ways of b end in different shapes (8 and 3 channels); see to its shortcut",
    ),
    ('[block.b]\nlayers = ["c"]\n[block.c]\nlayers = ["1000 d"]\n[block.d]\nlayers = ["1000 e"]\n'
     '[block.e]\nlayers = ["relu"]', "more than 20,000 layers; repeat less"),
]  # fmt: skip


@pytest.mark.parametrize(("blocks", "expected"), BAD_BLOCKS)
def test_blocks_that_do_not_end_or_fit_are_refused_at_once(blocks: str, expected: str, tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match="mine") as refused:
        load(tmp_path, net("b", blocks=blocks))
    assert expected in str(refused.value) and time.process_time() - start < 1.0


BAD_GANS = [
    ("input_channels = 3", "input_channels = 4", "discriminator.input_channels: 4, but the generator makes 3 of 8"),
    ("image_size = 64", "image_size = 32", "image_size: 32, but the generator makes 64 pixels a side; write 64"),
    ("input_size = 4\n", "", "image_size: 64, but the generator makes 1024 pixels a side; write 1024"),
    ("[discriminator]", "[net]", "a model of kind gan consists of generator and discriminator"),
]


@pytest.mark.parametrize(("right", "wrong", "expected"), BAD_GANS)
def test_a_gan_whose_nets_do_not_fit(right: str, wrong: str, expected: str, tmp_path: Path) -> None:
    assert load(tmp_path, GAN + TAIL).kind == "gan" and right in GAN
    with pytest.raises(InputError) as refused:
        load(tmp_path, GAN.replace(right, wrong) + TAIL)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("resnet-50", {"seq_len": 128}, "seq_len: resnet-50 reads images, no sequences; write image_size instead"),
        ("resnet-50", {"tokens": 10}, "tokens: resnet-50 reads images, no tokens; write samples or steps"),
        ("resnet-50", {"task": "lora"}, "resnet-50 is trained whole; write pretrain or finetune"),
        ("resnet-50", {"head": "span"}, "head: resnet-50 has its own; remove it"),
        ("unet", {"image_size": 100}, "100 pixels a side cannot be halved evenly; write a multiple of 16"),
        ("dcgan", {"image_size": 128}, "dcgan makes images of 64 pixels a side alone; remove it"),
        ("bert-large", {"image_size": 128}, "bert-large-uncased is no convolutional model; remove it"),
    ],
)
def test_a_workload_that_a_net_cannot_do(name: str, keys: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError) as refused:
        ps.workload(name, **keys)
    assert expected in str(refused.value)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", ["resnet-50", "sd-1.5-unet", "dcgan"])
def test_commands_take_nets(name: str, tmp_path: Path) -> None:
    code, out, _ = run("specs", "show", name)
    assert code == 0 and "layers" in out
    code, out, _ = run("graph", name)
    assert code == 0 and "conv" in out and max(map(len, out.splitlines())) <= 100
    code, out, _ = run("estimate", "--model", name, "--gpu", "h100-sxm5-80gb", "-n", "8", "--explain")
    assert code == 0 and "samples/s" in out and " px" in out and "tokens" not in out
    code, out, _ = run("roofline", "rtx-4090", name)
    assert code == 0 and " px" in out
    size = ps.model(name).image_size
    scenario = tmp_path / "mine.toml"
    scenario.write_text(
        f'[workload]\nmodel = "{name}"\nimage_size = {size}\nglobal_batch_size = 64\nsamples = 50000\n'
        '[search]\ngpus = ["RTX 4090", "A100 SXM4 80GB"]\ncounts = [1, 2, 4]\n'
    )
    code, out, _ = run("sweep", str(scenario))
    assert code == 0 and f"{size} px" in out


def test_nothing_but_the_batch_is_split() -> None:
    code, _, err = run("estimate", "--model", "resnet-50", "--gpu", "2x RTX 4090", "--tp", "2")
    assert (
        code == 2 and "--tensor-parallel: 2 cannot split resnet-50, of which ranks share nothing but the batch" in err
    )
