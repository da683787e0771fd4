"""`perfsim trace`: events that Perfetto can read, and seconds that add up to the estimate's."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import perfsim as ps
from perfsim.cli.main import main
from perfsim.core.plan import Schedule
from perfsim.simulation import simulation

PLAN = ("--model", "llama3-8b", "--gpu", "8x H100 SXM", "--pp", "4", "--mbs", "1", "--gbs", "32", "--seq-len", "512")
SCHEDULES = [
    ("megatron-core", "1f1b", "1"),
    ("megatron-core", "1f1b", "2"),
    ("megatron-core", "zb-h1", "1"),
    ("megatron-core", "zb-v", "2"),
    ("pytorch-2-eager", "gpipe", "1"),
    ("pytorch-2-eager", "dualpipe", "1"),
]


def traced(*options: str) -> Result:
    return CliRunner().invoke(main, ["trace", *PLAN, *options])


@pytest.fixture(scope="module", params=SCHEDULES, ids=lambda choice: "-".join(choice[1:]))
def trace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    software, schedule, virtual = request.param
    file = tmp_path_factory.mktemp("trace") / "step.json"
    recompute = ("--recompute", "full") if software == "pytorch-2-eager" else ()  # else memory is short
    options = ("--software", software, "--schedule", schedule, "--vpp", virtual, *recompute)
    result = traced(*options, "-o", str(file))
    assert result.exit_code in (0, 1) and result.stderr == ""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_events_have_what_the_format_asks_for(trace: dict[str, Any]) -> None:
    keys = {"X": {"ts", "dur", "cat", "args"}, "C": {"ts", "args"}, "M": {"args"}}
    for event in trace["traceEvents"]:
        assert {"ph", "pid", "tid", "name"} | keys[event["ph"]] == set(event)
        assert event.get("ts", 0) >= 0 and event.get("dur", 0) >= 0
    assert trace["displayTimeUnit"] == "ms"
    named = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["ph"] == "X"} <= named


def test_times_rise_and_nothing_overlaps_on_a_thread(trace: dict[str, Any]) -> None:
    timed = [event for event in trace["traceEvents"] if event["ph"] != "M"]
    assert all(one["ts"] <= other["ts"] for one, other in pairwise(timed))
    threads: dict[tuple[int, int], float] = {}
    for event in timed:
        if event["ph"] == "X":
            place = event["pid"], event["tid"]
            assert event["ts"] >= threads.get(place, 0.0) - 1e-6
            threads[place] = event["ts"] + event["dur"]


def test_seconds_add_up_to_the_estimates(trace: dict[str, Any]) -> None:
    """Closed form and simulation differ by what unequal ends do, and the trace says by how much."""
    other = trace["otherData"]
    end = max(event["ts"] + event["dur"] for event in trace["traceEvents"] if event["ph"] == "X")
    assert end == pytest.approx(1e6 * other["simulated_seconds"])
    assert other["simulated_seconds"] - other["difference_seconds"] == pytest.approx(other["step_seconds"])
    assert abs(other["difference_seconds"]) < 0.02 * other["step_seconds"]


def test_every_stage_passes_every_micro_batch_and_counts_memory(trace: dict[str, Any]) -> None:
    for stage in range(4):
        mine = [event for event in trace["traceEvents"] if event["pid"] == stage]
        forward = sum(event["name"].count("forward") for event in mine if event["ph"] == "X")
        backward = sum(event["name"].count("backward") + event["name"].count("input grad") for event in mine)
        assert forward == backward and forward in (16, 32)
        held = [event["args"]["bytes"] for event in mine if event["ph"] == "C"]
        assert held[-1] == min(held) < max(held)


def test_memory_peaks_at_what_the_estimate_says_of_the_backward_pass() -> None:
    workload = ps.workload(ps.model("llama3-8b"), task="pretrain", seq_len=512, global_batch_size=32)
    for schedule, virtual in ((Schedule.ONE_F_ONE_B, 1), (Schedule.ZB_V, 2)):
        plan = ps.Plan(pipeline_parallel=4, schedule=schedule, virtual_stages=virtual)
        node, software = ps.catalogue().box("h100-sxm5-80gb", 4), ps.software("megatron-core")
        found = simulation(workload, node, plan, software, ps.catalogue().calibration())
        memory = found.estimate.memory
        expected = memory.backward.allocated_bytes + memory.context_bytes + memory.collective_bytes
        assert found.held_bytes.max() == pytest.approx(float(expected))


def test_one_gpu_to_the_terminal() -> None:
    result = CliRunner().invoke(main, ["trace", "--model", "bert-large", "--gpu", "RTX 4090", "--mbs", "8", "-o", "-"])
    names = {event["name"] for event in json.loads(result.stdout)["traceEvents"]}
    assert result.exit_code == 0 and {"forward 0", "backward 3", "optimizer", "memory"} <= names


def test_a_schedule_is_drawn_with_or_without_a_trace(tmp_path: Path) -> None:
    picture, file = tmp_path / "step.svg", tmp_path / "step.json"
    assert traced("--software", "megatron-core", "--plot", str(picture), "-o", str(file)).exit_code == 0
    assert "stages wait" in picture.read_text(encoding="utf-8") and json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    assert traced("--software", "megatron-core", "--plot", str(picture)).exit_code == 0 and not file.exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--software", "nemo", "--schedule", "zb-v", "--vpp", "2"), "the software has no such schedule"),
        (("--software", "megatron-core", "--schedule", "zb-v"), "virtual_stages = 2"),
        (("--software", "megatron-core", "--schedule", "zb-h1", "--vpp", "2"), "virtual_stages needs 1f1b"),
        (("--schedule", "dualpipe", "--gbs", "8"), "the schedule cannot run with these stages"),
    ],
)
def test_what_cannot_run_is_told_and_not_written(options: tuple[str, ...], what: str, tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    result = traced(*options, "-o", str(file))
    assert result.exit_code == 1 and what in " ".join(result.stdout.split()) and not file.exists()


def test_options_that_cannot_be_used(tmp_path: Path) -> None:
    assert "no such option" in traced("--explain", "-o", "-").stderr.lower()
    assert "give -o FILE for a trace, --plot FILE for a picture" in traced().stderr
    assert "write a name in .png or .svg" in traced("--plot", "x.pdf").stderr
    assert "is not one of" in traced("--schedule", "zb", "-o", "-").stderr
    many = ("--software", "megatron-core", "--gbs", "65536")
    assert "more than a trace can show" in traced(*many, "-o", "-").stderr
    result = traced("-o", str(tmp_path / "none" / "step.json"))
    assert result.exit_code == 2 and "cannot be written" in result.stderr
