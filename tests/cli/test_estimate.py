"""`perfsim estimate`: one plan; what cannot be is refused with what can."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main


def estimated(*options: str) -> Result:
    return CliRunner().invoke(main, ["estimate", "--model", "bert-large", *options])


def test_verdict_and_parts() -> None:
    result = estimated("--gpu", "RTX 4090", "-n", "2", "--seq-len", "128", "--explain")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and lines[0].startswith("Fits: 2x RTX 4090, DDP2 mb")
    assert "memory of the fullest GPU" in result.stdout and "one layer, one micro-batch" in result.stdout


@pytest.mark.parametrize("card", ["2x RTX 4090", "4090:2", "rtx-4090:2"])
def test_cards_as_people_write_them(card: str) -> None:
    record = json.loads(estimated("--gpu", card, "--json", "-").stdout)
    assert (record["gpu"], record["gpus"], record["data_parallel"]) == ("rtx-4090", 2, 2)


def test_micro_batch_is_the_fastest_that_fits() -> None:
    chosen = json.loads(estimated("--gpu", "RTX 4090", "--json", "-").stdout)
    others = [
        json.loads(estimated("--gpu", "RTX 4090", "--mbs", size, "--json", "-").stdout) for size in ("1", "2", "8")
    ]
    assert chosen["problems"] == []
    assert all(other["problems"] or chosen["step_seconds"] <= other["step_seconds"] for other in others)


def test_hybrid_plan_of_a_named_system() -> None:
    options = ("--tp", "2", "--pp", "2", "--zero", "1", "--mbs", "4", "--gbs", "64", "--seq-len", "128", "--json", "-")
    record = json.loads(estimated("--system", "dgx-a100-80gb", *options).stdout)
    assert (record["gpus"], record["data_parallel"], record["microbatches"]) == (8, 2, 8)


def test_the_power_limit_decides_clock_watts_and_time() -> None:
    options = ("--gpu", "H100 SXM", "--mbs", "8", "--seq-len", "512", "--json", "-")
    own, low = (json.loads(estimated(*options, *more).stdout) for more in ((), ("--power-limit", "400")))
    assert (own["power_limit_watts"], low["power_limit_watts"], low["board_limit_watts"]) == (700, 400, 700)
    assert low["clock_ratio"] < own["clock_ratio"] <= 1 and low["watts_per_gpu"] < own["watts_per_gpu"]
    assert low["step_seconds"] > own["step_seconds"] and low["watts_per_gpu"] <= 400
    lines = estimated(*options[:-2], "--power-limit", "400").stdout.splitlines()
    assert lines[0].startswith("Fits: 1x H100 SXM5 80GB at 400 W, mb8: ")
    assert lines[3] == f"{low['watts_per_gpu']:.0f} W a GPU, clock {low['clock_ratio']:.2f} of full under 400 W"


def test_what_lies_in_host_memory_is_told() -> None:
    options = (
        "--gpu",
        "A100 80GB SXM",
        "--mbs",
        "4",
        "--precision",
        "bf16-mixed",
        "--software",
        "deepspeed-zero3-2021",
    )
    result = estimated(*options, "--offload", "optimizer")
    assert result.exit_code == 0 and "offload-optimizer" in result.stdout
    assert "4.38 GiB of host memory a GPU" in result.stdout and "offload " in result.stdout
    refused = estimated(*options, "--offload", "parameters")
    assert refused.exit_code == 1 and "zero_stage = 3" in " ".join(refused.stdout.split())


def test_optimizers_and_losses_are_options() -> None:
    options = ("--gpu", "RTX 4090", "--task", "pretrain", "--mbs", "32", "--precision", "bf16", "--json", "-")
    usual = json.loads(estimated(*options).stdout)
    changed = ("--optimizer", "adamw8bit", "--optimizer-in-backward", "--loss-chunks", "8")
    less = json.loads(estimated(*options, *changed).stdout)
    assert less["optimizer_bytes"] < 0.6 * usual["optimizer_bytes"] and less["passing_bytes"] < usual["passing_bytes"]


def test_every_figure_has_its_interval_and_its_basis() -> None:
    options = ("--gpu", "RTX 5090", "--mbs", "8", "--steps", "100", "--software", "pytorch-2-compiled")
    text, record = estimated(*options).stdout, json.loads(estimated(*options, "--json", "-").stdout)
    for figure in ("step_seconds", "tokens_per_s", "job_hours", "job_kwh", "watts_per_gpu", "memory_bytes"):
        assert record[f"{figure}_low"] < record[figure] < record[f"{figure}_high"]
    assert record["job_usd"] is record["job_usd_low"] is None and record["basis"] == "extrapolated"
    assert "no measured run on GeForce RTX 5090, products by the rule for Blackwell" in record["basis_reason"]
    assert "time extrapolated: no measured run on GeForce RTX 5090" in text and "one step, ms" in text
    assert 0.9 < sum(cause["share"] for cause in record["interval_causes"]) <= 1.0
    shown = estimated("--gpu", "A100 80GB SXM", "--mbs", "8", "--software", "pytorch-2.0-compiled").stdout
    assert "time extrapolated" not in shown and "time fitted" not in shown and "measured" in shown


def test_a_job_is_explained_with_what_it_loses_and_its_machine() -> None:
    options = ("--gpu", "4x RTX 3090", "--seq-len", "128", "--mbs", "8", "--explain")
    text = " ".join(estimated(*options, "--steps", "1000").stdout.split())
    assert "start up" in text and "goodput 100.0 %" in text and "1,000 steps of " in text
    assert "4x RTX 3090 need up to 1,930 W: two circuits" in text and "BTU/h of heat" in text
    one_step = " ".join(estimated(*options).stdout.split())
    assert "goodput" not in one_step and "two circuits" in one_step
    told, alone = (json.loads(estimated(*options, *more, "--json", "-").stdout) for more in (("--steps", "1000"), ()))
    parts = ("start_up", "useful", "checkpoint", "repeated", "restart", "final_save")
    assert sum(told[f"{part}_seconds"] for part in parts) == pytest.approx(3600 * told["job_hours"])
    assert (told["circuits"], told["gpus_per_machine"]) == (2, 4) and 0.99 < told["goodput"] < 1.0
    assert alone["job_hours"] == pytest.approx(alone["step_seconds"] / 3600)  # a job whose length is not told


def test_cards_of_several_kinds_say_that_they_have_none() -> None:
    assert "No intervals: " in estimated("--gpu", "RTX 4090 + RTX 3090", "--seq-len", "128").stdout


def test_what_cannot_run_is_exit_1() -> None:
    result = estimated("--gpu", "GTX 1060", "--mbs", "64", "--gbs", "64", "--precision", "fp32")
    assert result.exit_code == 1 and result.stdout.startswith("Cannot run: 1x GTX 1060")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((), "--gpu: name a card"),
        (("--gpu", "T4", "--system", "dgx-h100"), "not both"),
        (("--gpu", "T5"), "T5: not among the gpus"),
        (("--gpu", "A100"), "A100: can mean "),
        (("--gpu", "2x T4", "-n", "4"), "--gpus: 4 here and 2 in --gpu"),
        (("--gpu", "T4", "-n", "0"), "--gpus: 0 is not allowed"),
        (("--gpu", "T4", "-n", "9999999"), "--gpus: 9999999 is not allowed"),
        (("--gpu", "GTX 1070", "-n", "64"), "64 GPUs are more than"),
        (
            ("--gpu", "T4", "-n", "7", "--tp", "7", "--gbs", "7"),
            "7 does not divide the 16 attention heads; write 1, 2,",
        ),
        (("--gpu", "T4", "-n", "8", "--tp", "16"), "the degrees multiply to 16"),
        (("--gpu", "T4", "-n", "4", "--dp", "2"), "the degrees multiply to 1 x 2"),
        (("--gpu", "T4", "-n", "3"), "32 cannot be split over 3 data-parallel ranks"),
        (("--gpu", "T4", "--mbs", "5"), "choose a global batch that is a multiple of 5"),
        (("--gpu", "T4", "--mbs", "0"), "--global-batch-size: 32 cannot be split"),
        (("--gpu", "T4", "--seq-len", "-1"), "seq_len: -1 is not allowed"),
        (("--gpu", "T4", "--seq-len", "1024"), "learned positions for 512 tokens"),
        (("--gpu", "T4", "--precision", "fp17"), "'fp17' is none of"),
        (("--gpu", "T4", "--task", "fine-tune"), "did you mean finetune?"),
        (("--gpu", "T4", "--software", "pytorch-9"), "pytorch-9: not among the software"),
        (("--gpu", "L4", "--power-limit", "90"), "90 W is not a limit that L4 can hold; write 35 to 72 W"),
        (("--gpu", "L4", "--power-limit", "5"), "5 W is not a limit that L4 can hold; write 35 to 72 W"),
        (("--gpu", "L4", "--power-limit", "nan"), "nan W is not a limit"),
        (("--gpu", "L4", "--power-limit", "-inf"), "-inf W is not a limit"),
        (("--gpu", "L4", "--power-limit", "x"), "'x' is not a valid float"),
        (("--gpu", "T4", "--tp", "0"), "--tensor-parallel: 0 is not allowed"),
    ],
)
def test_options_that_cannot_be_used(options: tuple[str, ...], what: str) -> None:
    result = estimated(*options)
    assert result.exit_code == 2 and what in result.stderr and "Traceback" not in result.output
    assert result.stdout == "" and all(line.isprintable() for line in result.stderr.splitlines())


def test_memory_and_step_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    assert estimated("--gpu", "RTX 4090", "--plot", str(file)).exit_code == 0
    assert {"the card has", "90 % interval", "total"} <= set(re.findall(r">([^<>]+)</text>", file.read_text()))
    assert "write a name in .png or .svg" in estimated("--gpu", "RTX 4090", "--plot", "x.pdf").stderr
    mixed = estimated("--gpu", "RTX 4090 + RTX 3090", "--plot", str(file))
    assert mixed.exit_code == 2 and "--plot: not there for cards of several kinds" in mixed.stderr


def test_markdown_holds_the_command_that_gives_it_again(tmp_path: Path) -> None:
    options = ("--gpu", "2x RTX 4090", "--steps", "500", "--packed", "--sample-tokens", "64")
    told = estimated(*options, "--md", "-").stdout
    command = told.splitlines()[-1].strip()
    assert command == (
        "perfsim estimate --model bert-large --gpu '2x RTX 4090' --sample-tokens 64.0 --packed --steps 500"
    )
    again = CliRunner().invoke(main, [*shlex.split(command)[1:], "--md", "-"])
    assert again.stdout == told and told.startswith("# bert-large-uncased finetune on 2x RTX 4090")
    both = estimated(*options, "--md", "-", "--json", "-")
    assert both.exit_code == 2 and "Only one of --json and --md" in both.stderr
    file = tmp_path / "plan.md"
    beside = estimated(*options, "--md", str(file))
    assert file.read_text(encoding="utf-8") == told and beside.stdout.startswith("Fits: ")


def test_markdown_of_a_plan_that_cannot_run_says_so() -> None:
    result = estimated("--gpu", "T4", "--mbs", "32", "--precision", "fp32", "--md", "-")
    assert result.exit_code == 1 and "It cannot run: " in result.stdout
