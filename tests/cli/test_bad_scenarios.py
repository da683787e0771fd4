"""What people get wrong in a scenario, through the command line: lines that say where and what to do, exit code 2."""

import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim import paths
from perfsim.cli.main import main

BERT = (paths.builtin("scenarios") / "bert.toml").read_text(encoding="utf-8")
LLAMA = (paths.builtin("scenarios") / "llama3-70b-pretrain.toml").read_text(encoding="utf-8")


def changed(text: str, *changes: tuple[str, str]) -> str:
    """The text with each first line that starts with `old` replaced by `new`."""
    for old, new in changes:
        pattern = re.compile(rf"^{re.escape(old)}.*$", re.MULTILINE)
        assert pattern.search(text), f"{old} is not in the shipped scenario"
        text = pattern.sub(lambda _, new=new: new, text, count=1)
    return text


def line_of(text: str, start: str) -> int:
    return next(i for i, line in enumerate(text.split("\n"), 1) if line.startswith(start))


def swept(folder: Path, text: str | bytes, *options: str) -> Result:
    path = folder / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return CliRunner().invoke(main, ["sweep", str(path), *options])


def refusals(result: Result) -> list[str]:
    """The lines of a refusal, without the file's name; nothing may stand on standard output, no traceback anywhere."""
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr
    lines = result.stderr.rstrip("\n").split("\n")
    assert all(re.match(r".*mine\.toml(:\d+)?: .+; .+", line) for line in lines), result.stderr
    return [line.partition("mine.toml:")[2].strip() for line in lines]


ONE_LINE = {
    "misspelt key": ("seq_len", "seq_lem = 128", "workload.seq_lem: no such key; did you mean seq_len?"),
    "another tool's key": (
        "micro_batch_size",
        "per_device_train_batch_size = 8",
        "search.per_device_train_batch_size: no such key; did you mean micro_batch_size?",
    ),
    "wrong unit": ("usd_per_kwh", 'usd_per_kwh = "0.15 EUR"', "site.usd_per_kwh: expected a number, got '0.15 EUR'"),
    "negative number": (
        "global_batch_size",
        "global_batch_size = -128",
        "workload.global_batch_size: -128 is not allowed; write a number of at least 1",
    ),
    "NaN": ("dropout", "dropout = nan", "workload.dropout: nan is not a finite number; write a plain number"),
    "infinity": ("pue", "pue = inf", "site.pue: inf is not a finite number"),
    "unknown model": ("model", 'model = "bert-lareg"', "bert-lareg: not among the models; nearest: bert-large-uncased"),
    "unknown software": ("software", 'software = "pytorch-3"', "software: pytorch-3: not among the software; nearest:"),
    "list for a number": ("samples", "samples = [120_000]", "workload.samples: expected a whole number, got a list"),
    "text in a list": ("counts", 'counts = [1, "2"]', "search.counts[1]: expected a whole number, got '2'"),
    "heads that TP does not divide": (
        "tensor_parallel",
        "tensor_parallel = [3, 7]",
        "search.tensor_parallel: none of 3, 7 divides the 16 attention heads; write 1, 2, 4, 8 or 16",
    ),
    "not TOML": ("counts", "counts = [1, 2", "not valid TOML"),
}


@pytest.mark.parametrize("case", ONE_LINE)
def test_one_line_with_its_place_and_what_to_do(tmp_path: Path, case: str) -> None:
    old, new, expected = ONE_LINE[case]
    text = changed(BERT, (old, new))
    (line,) = refusals(swept(tmp_path, text))
    assert expected in line
    if case != "not TOML":
        assert line.startswith(f"{line_of(text, new)}: ")


def test_unknown_cards_each_with_the_nearest_names(tmp_path: Path) -> None:
    text = BERT.replace('"GTX 10"', '"RTX 4091", "GTX 10", "RTX 49"')
    first, second = refusals(swept(tmp_path, text))
    assert "search.gpus[0]: RTX 4091: not among the gpus; nearest: rtx-4090" in first
    assert "search.gpus[2]: RTX 49: not among the gpus; nearest:" in second and "`perfsim specs list gpus`" in second


def test_gpus_that_a_named_system_cannot_hold(tmp_path: Path) -> None:
    text = changed(
        LLAMA, ("systems", 'systems = ["pcie-2x-rtx-4090", "pcie-8x-rtx-4090"]'), ("counts", "counts = [8, 16]")
    )
    small, many = refusals(swept(tmp_path, text))
    assert "search.systems[0]: holds at most 2 GPUs, fewer than any of counts; add a smaller count" in small
    assert "search.counts[1]: 16 GPUs are more than the systems named can hold; write at most 8" in many


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    wrong = [
        ("model", 'model = "bert-lareg"'),
        ("seq_len", "sequence_length = 128"),
        ("samples", 'samples = "many"'),
        ("global_batch_size", "global_batch_size = [128]"),
        ("counts", "counts = [0, 1]"),
        ("zero_stage", "zero_stage = 4"),
        ("usd_per_kwh", "usd_per_kwh = -1"),
    ]
    text = changed(BERT, *wrong)
    lines = refusals(swept(tmp_path, text))
    assert [int(line.partition(":")[0]) for line in lines] == [line_of(text, new) for _, new in wrong]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    (line,) = refusals(swept(tmp_path, text))
    assert line.startswith("1: is empty; ")


def test_a_file_of_remarks(tmp_path: Path) -> None:
    assert refusals(swept(tmp_path, "# nothing\n")) == [
        "1: workload: is missing; add it",
        "1: search: is missing; add it",
    ]


def test_fifty_megabytes_are_refused_without_being_read(tmp_path: Path) -> None:
    began = time.process_time()
    (line,) = refusals(swept(tmp_path, b"#" * 50_000_000))
    assert "is larger than 256 KiB" in line and time.process_time() - began < 2.0


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x00" * 100, b"\x1f\x8b\x08\x00", b"a = 1\n\xc3\x28"])
def test_bytes_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    assert refusals(swept(tmp_path, data))


def test_a_missing_file_names_those_that_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sweep", str(tmp_path / "mine.toml")])
    assert result.exit_code == 2 and result.stdout == ""
    assert "mine.toml: no such scenario file; " in result.stderr and "bert" in result.stderr


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sweep", str(tmp_path)])
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_hostile_names_reach_the_terminal_as_text(tmp_path: Path) -> None:
    text = changed(BERT, ("model", 'model = "[red]\\u001b]52;c;x\\u0007\\u202e"'))
    (line,) = refusals(swept(tmp_path, text))
    assert "[red]" in line and line.isprintable()


def test_answers_that_cannot_be_written(tmp_path: Path) -> None:
    result = swept(tmp_path, BERT, "--json", str(tmp_path))
    assert result.exit_code == 2 and "cannot be written" in result.stderr
    result = swept(tmp_path, BERT, "--csv", str(tmp_path / "none" / "a.csv"))
    assert result.exit_code == 2 and "name a file in a folder you may write to" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--gpu", "RTX 4090", "--tp", "7"],
            "--tensor-parallel: 7 does not divide the 16 attention heads; write 1, 2,",
        ),
        (["--gpu", "RTX 4090", "--gpus", "0"], "--gpus: 0 is not allowed; write a number from 1 to 1,000,000"),
        (["--gpu", "RTX 4091"], "RTX 4091: not among the gpus; nearest: rtx-4090"),
        (["--gpu", "A100"], "A100: can mean a100-pcie-40gb"),
        (["--gpu", "2x RTX 4090", "-n", "4"], "--gpus: 4 here and 2 in --gpu; keep one of them"),
        (["--system", "pcie-2x-rtx-4090", "-n", "4"], "--gpus: 4 GPUs are more than 2x RTX 4090, PCIe can hold; "),
        (["--gpu", "RTX 4090", "--dropout", "nan"], "dropout: should be a finite number, got nan"),
        (["--gpu", "RTX 4090", "--precision", "fp17", "--seq-len", "-3"], "precision: 'fp17' is none of fp32,"),
        (
            ["--gpu", "RTX 4090", "--mbs", "7"],
            "--global-batch-size: 32 cannot be split over 1 data-parallel ranks of 7",
        ),
        (
            ["--gpu", "RTX 4090", "-n", "2", "--tp", "4"],
            "--gpus: the degrees multiply to 4, which does not make 2 GPUs",
        ),
        (["--gpu", "RTX 4090", "--software", "pytorch-3"], "pytorch-3: not among the software"),
        ([], "--gpu: name a card, or a system with --system, not both; "),
    ],
)
def test_options_of_an_estimate(options: list[str], expected: str) -> None:
    result = CliRunner().invoke(main, ["estimate", "--model", "bert-large", *options])
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr
    assert expected in result.stderr and "; " in result.stderr


def test_a_nan_does_not_hide_the_other_mistakes(tmp_path: Path) -> None:
    text = changed(BERT, ("global_batch_size", "global_batch_size = -8"), ("seq_len", "seq_len = nan"))
    lines = refusals(swept(tmp_path, text))
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        "workload.seq_len",
        "workload.global_batch_size",
    ]
