"""`perfsim launch`: the file on standard output or in a file, what to do on stderr, refusals as one line each."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.launch import TOOLS
from perfsim.cli.main import main
from perfsim.launch.tools import TOOLS as THEIR_TOOLS

GOLDEN = Path(__file__).parents[1] / "golden"
LLAMA = ("--model", "llama3-8b", "--gpu", "16x H100 SXM", "--mbs", "1", "--gbs", "64", "--seq-len", "4096")
LLAMA += ("--task", "pretrain", "--steps", "1000")
BERT = ("--model", "bert-large", "--gpu", "2x RTX 3090", "--mbs", "16", "--task", "finetune", "--steps", "1000")
PLANS = {  # the golden file's name: tool and plan
    "launch-torchrun.sh": ("torchrun", BERT),
    "launch-accelerate.yaml": ("accelerate", (*LLAMA, "--zero", "3", "--hybrid-shard", "8", "--recompute", "full")),
    "launch-deepspeed.json": ("deepspeed", (*LLAMA, "--zero", "2", "--precision", "bf16-mixed")),
    "launch-megatron.sh": (
        "megatron",
        (*LLAMA, "--tp", "2", "--pp", "4", "--vpp", "2", "--zero", "1", "--precision", "bf16-mixed",
         "--software", "megatron-core"),
    ),
    "launch-torchtitan.toml": (
        "torchtitan",
        (*LLAMA, "--tp", "2", "--pp", "2", "--zero", "3", "--recompute", "selective", "--software", "torchtitan"),
    ),
}  # fmt: skip


def launched(*options: str) -> Result:
    return CliRunner().invoke(main, ["launch", *options])


@pytest.mark.parametrize("name", PLANS)
def test_what_people_see(name: str) -> None:
    """To renew: perfsim launch with these options > tests/golden/NAME."""
    tool, plan = PLANS[name]
    result = launched(*plan, "--for", tool)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (GOLDEN / name).read_text(encoding="utf-8")
    assert result.stderr != ""


def test_the_commands_tools_are_those_that_there_are() -> None:
    assert tuple(THEIR_TOOLS) == TOOLS


def test_a_file_and_what_to_do_besides(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    result = launched(*LLAMA, "--zero", "3", "--for", "deepspeed", "-o", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text(encoding="utf-8").startswith('{\n  "train_batch_size": 64,')
    assert "run on every node: deepspeed" in result.stderr or "run: deepspeed --num_nodes 2" in result.stderr


def test_refusals_are_a_line_each() -> None:
    result = launched(
        *LLAMA, "--pp", "4", "--schedule", "gpipe", "--zero", "3", "--for", "deepspeed", "--recompute", "full"
    )
    assert result.exit_code == 2 and result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first == (
        "--for deepspeed: DeepSpeed has no zero_stage like this: ZeRO-3 in a pipeline: stage 1 at most;"
        " Megatron-LM and torchtitan can"
    )
    assert second.endswith("the schedule gpipe: its pipelines run 1f1b; torchtitan can")


def test_software_without_a_tool_asks_for_one() -> None:
    result = launched(*LLAMA, "--software", "torchtune")
    assert result.exit_code == 2 and "name one with --for" in result.stderr


def test_a_plan_without_memory_is_written_and_said() -> None:
    result = launched("--model", "gpt2-xl", "--gpu", "RTX 3090", "--mbs", "8", "--for", "torchrun")
    assert result.exit_code == 1
    assert "torchrun" in result.stdout and "Cannot run: " in result.stderr


def test_a_plan_that_cannot_run_is_not_written() -> None:
    result = launched("--model", "bert-large", "--gpu", "GTX 1080 Ti", "--precision", "amp-bf16", "--mbs", "1")
    assert result.exit_code == 1 and result.stdout == "" and "Cannot run: " in result.stderr


def test_a_row_of_a_scenario() -> None:
    rows = json.loads(CliRunner().invoke(main, ["sweep", "bert", "--json", "-"]).stdout)["rows"]
    number = next(i for i, row in enumerate(rows, 1) if row["zero_stage"] == 3 and row["gpus"] > 1)
    result = launched("bert", "--row", str(number))
    assert result.exit_code == 0 and f"{rows[number - 1]['gpus']}x " in result.stdout
    assert "BERT large uncased" in result.stdout and 'distributed_type: "FSDP"' in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("bert", "--tp", "2"), "--tensor-parallel: the scenario says"),
        (("--row", "2", "--model", "bert-large"), "--row: is a row of a scenario's table"),
        ((), "--model: name a model, or a scenario"),
        (("bert", "--row", "1000"), "--row: 1000, but the scenario's table has"),
        (("berd",), "berd"),
    ],
)
def test_what_cannot_be_asked(options: tuple[str, ...], said: str) -> None:
    result = launched(*options)
    assert result.exit_code == 2 and said in result.stderr and "Traceback" not in result.stderr
