"""Logs of training runs: golden figures of each format, what is told of broken ones, and the way into a run table."""

import gzip
import json
import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfsim.calibration.readings import Reading, Span, combined, spans_between, steady, timed
from perfsim.errors import InputError
from perfsim.inputs.logs import read_log, read_logs

LOGS = Path(__file__).parent / "logs"
GIB, MIB = 2.0**30, 2.0**20
SAMPLES = sorted(LOGS.iterdir())


def written(tmp_path: Path, text: str, name: str = "a.log") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_log(path)
    return str(error.value).replace(f"{path.parent}/", "")


def edited(tmp_path: Path, name: str, old: str, new: str) -> Path:
    text = (LOGS / name).read_text()
    assert old in text
    return written(tmp_path, text.replace(old, new), name)


# golden figures


def test_a_trainer_state() -> None:
    """24 s, of which 4 s of evaluation before the end, and not the evaluation after it, for 100 steps."""
    read = read_log(LOGS / "trainer_state.json")
    assert (read.format, read.software_text) == ("Hugging Face Trainer", "Hugging Face Trainer")
    assert read.step_seconds == pytest.approx(0.2)
    assert (read.steps, read.warm_up_steps, read.is_rough) == (100, 0, True)
    assert read.global_batch_size == pytest.approx(32, rel=1e-3)
    assert 0.02 < read.batch_tolerance < 0.04  # a short last batch in an epoch of 100 steps, and rounding
    assert read.missing == ("tokens/s", "peak memory", "power")


def test_a_trainer_state_with_stamps(tmp_path: Path) -> None:
    """With include_num_input_tokens_seen every entry has the seconds since the start, and steps are told apart."""
    data = json.loads((LOGS / "trainer_state.json").read_text())
    for entry in data["log_history"]:
        if "loss" in entry:
            entry |= {"train_runtime": 10.0 + 0.15 * entry["step"], "num_input_tokens_seen": 4096 * entry["step"]}
    read = read_log(written(tmp_path, json.dumps(data)))
    assert read.step_seconds == pytest.approx(0.15)
    assert (read.warm_up_steps, read.is_rough) == (10, False)


def test_all_results_have_no_steps_but_their_rate(tmp_path: Path) -> None:
    results = {"epoch": 1.0, "train_runtime": 56.9, "train_samples_per_second": 8.153, "train_steps_per_second": 0.51}
    read = read_log(written(tmp_path, json.dumps(results)))
    assert (read.steps, read.step_seconds) == (29, pytest.approx(56.9 / 29))
    assert read.global_batch_size == pytest.approx(16, rel=read.batch_tolerance)


def test_megatron() -> None:
    read = read_log(LOGS / "megatron.log")
    assert read.step_seconds == pytest.approx(0.6406)
    assert (read.steps, read.warm_up_steps, read.is_rough) == (7, 5, False)
    assert read.shortest_seconds < read.step_seconds < read.longest_seconds < 0.7025
    assert (read.peak_memory_bytes, read.memory_kind) == (40960.5 * MIB, "allocated")
    assert (read.global_batch_size, read.watts_per_gpu) == (64, 612.3)
    assert read.stated == {
        "gpus": 8, "seq_len": 2048, "micro_batch_size": 4, "tensor_parallel": 1, "pipeline_parallel": 1,
    }  # fmt: skip


def test_megatron_while_the_batch_ramps_up(tmp_path: Path) -> None:
    lines = (LOGS / "megatron.log").read_text().splitlines()
    ramped = [
        line.replace("global batch size:    64", "global batch size:    16")
        if f"iteration        {i}/" in line
        else line
        for i, line in enumerate(lines)
    ]
    text = "\n".join(ramped).replace("global batch size:    64", "global batch size:    16", 3)
    read = read_log(written(tmp_path, text))
    assert read.global_batch_size == 64
    assert any("another batch" in remark for remark in read.remarks)


def test_nemo() -> None:
    read = read_log(LOGS / "nemo.log")
    assert (read.step_seconds, read.steps, read.global_batch_size) == (1.508, 7, 8)


def test_nemo_progress_bars(tmp_path: Path) -> None:
    """tqdm redraws its line after a carriage return; the last figure of a step counts."""
    bar = "Epoch 0: : {0}%|#| {0}/100 [10:48<00:00, global_step={0}.00, train_step_timing in s={1}]"
    text = "\r".join(bar.format(step, 9.0 if step < 5 else 3.13) for step in range(20)) + "\n"
    assert read_log(written(tmp_path, text)).step_seconds == 3.13


def test_torchtitan() -> None:
    read = read_log(LOGS / "torchtitan.log")
    assert read.tokens_per_s_per_gpu == 7190
    assert read.step_seconds == pytest.approx(8192 / 7190, rel=1e-3)
    assert (read.steps, read.warm_up_steps) == (50, 9)
    assert (read.peak_memory_bytes, read.memory_kind) == (57.28 * GIB, "reserved")
    assert (read.global_batch_size, read.stated["gpus"], read.stated["seq_len"]) == (8, 8, 8192)
    assert read.gpu_text == "NVIDIA H100 80GB HBM3"


def test_older_torchtitan_and_ranks_beside_each_other(tmp_path: Path) -> None:
    line = "[rank{}]:2024-06-12 08:31:0{},500 - root - INFO - step: {}  memory: {}.00GiB(9.9%)  wps: 1,000  mfu: 9%"
    text = "\n".join(line.format(rank, s, 10 * (s + 1), 40 + rank) for s in range(6) for rank in (0, 1)) + "\n"
    read = read_log(written(tmp_path, text))
    assert (read.step_seconds, read.tokens_per_s_per_gpu) == (pytest.approx(0.1), 1000)
    assert read.peak_memory_bytes == 41 * GIB  # the fullest rank


def test_lightning() -> None:
    read = read_log(LOGS / "metrics.csv")
    assert read.step_seconds == pytest.approx(0.25)
    assert (read.peak_memory_bytes, read.memory_kind) == (9 * GIB, "allocated")


def test_lightning_with_a_column_of_step_times(tmp_path: Path) -> None:
    rows = "".join(f"{step},{0.5 if step > 5 else 3.0}\n" for step in range(1, 21))
    assert read_log(written(tmp_path, f"step,train_step_timing in s\n{rows}")).step_seconds == 0.5


def test_nvidia_smi() -> None:
    """Of three GPUs two work, for 9 of 12 samples; they draw 290 and 300 W, and 0, 1 or 2 W more."""
    read = read_log(LOGS / "nvidia-smi.csv")
    assert read.watts_per_gpu == pytest.approx(296)
    assert (read.peak_memory_bytes, read.memory_kind) == (20580 * MIB, "nvidia-smi")
    assert read.clock_hz == pytest.approx(1700e6)
    assert read.busy_share == pytest.approx(0.75)
    assert read.gpu_text == "NVIDIA GeForce RTX 3090"


def test_nvidia_smi_without_units_utilization_and_index(tmp_path: Path) -> None:
    text = "power.draw [W], memory.used [MiB], clocks.sm [MHz]\n30, 1, [N/A]\n200, 1000, [N/A]\n"
    text += "power.draw [W], memory.used [MiB], clocks.sm [MHz]\n220, 2000, [N/A]\n21"  # asked anew, then cut off
    read = read_log(written(tmp_path, text))
    assert (read.watts_per_gpu, read.peak_memory_bytes, read.clock_hz) == (210, 2000 * MIB, 0)


def test_a_trace() -> None:
    """In 80 of 100 ms a product runs, for 4 ms more an all-reduce alone; memory of the host does not count."""
    read = read_log(LOGS / "profiler.json")
    assert read.step_seconds == pytest.approx(0.1)
    assert (read.steps, read.warm_up_steps, read.is_rough) == (3, 3, True)
    assert read.busy_share == pytest.approx(0.84)
    assert (read.peak_memory_bytes, read.memory_kind) == (12884901897, "allocated")
    assert (read.gpu_text, read.stated) == ("NVIDIA A100-SXM4-80GB", {"gpus": 2})


# steady steps


def test_warm_up_is_left_out_after_each_start() -> None:
    spans = [Span(step, 10, float(step)) for step in (10, 20, 30, 40, 10, 20, 30, 40)]
    kept, left_out = steady(spans)
    assert [span.step for span in kept] == [20, 30, 40] * 2
    assert left_out == 20


def test_one_span_has_its_warm_up_in_it() -> None:
    read = timed(Reading("x", "x"), [Span(100, 100, 0.5)])
    assert (read.step_seconds, read.is_rough) == (0.5, True)
    assert read.remarks == ("the first steps are in the step time",)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e9)), max_size=40))
def test_spans_are_positive_and_at_least_half_of_them_stay(stamps: list[tuple[int, float]]) -> None:
    spans = spans_between(stamps)
    assert all(span.seconds > 0 and span.count > 0 for span in spans)
    kept, left_out = steady(spans)
    assert 2 * len(kept) >= len(spans)
    assert left_out + sum(span.count for span in kept) == sum(span.count for span in spans)


# several logs


def test_logs_of_one_run_complete_each_other() -> None:
    read = read_logs([LOGS / "trainer_state.json", LOGS / "nvidia-smi.csv"])
    assert (read.step_seconds, read.watts_per_gpu) == (pytest.approx(0.2), pytest.approx(296))
    assert (read.format, read.source) == ("Hugging Face Trainer + nvidia-smi", "trainer_state.json + nvidia-smi.csv")
    assert read.memory_kind == "nvidia-smi"
    assert read == read_logs([LOGS / "trainer_state.json", LOGS / "nvidia-smi.csv"])


def test_the_better_figure_counts_whatever_the_order() -> None:
    rough = Reading("trace", "t", step_seconds=1.1, is_rough=True, peak_memory_bytes=9.0, memory_kind="nvidia-smi")
    steady_one = Reading("log", "l", step_seconds=1.0, peak_memory_bytes=7.0, memory_kind="allocated")
    for pair in ([rough, steady_one], [steady_one, rough]):
        read = combined(pair)
        assert (read.step_seconds, read.is_rough, read.peak_memory_bytes) == (1.0, False, 7.0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Reading("b", "b", step_seconds=2.1, is_rough=True), "a step takes 1 s in a and 2.1 s in b"),
        (Reading("b", "b", step_seconds=1.3), "a step takes 1 s in a and 1.3 s in b"),
        (Reading("b", "b", global_batch_size=65), "the global batch is 64 in a and 65 in b"),
        (Reading("b", "b", stated={"gpus": 4}), "gpus is 8 in one log and 4 in b"),
    ],
)
def test_logs_of_two_runs_are_refused(other: Reading, words: str) -> None:
    one = Reading("a", "a", step_seconds=1.0, global_batch_size=64, stated={"gpus": 8})
    with pytest.raises(ValueError, match=words):
        combined([one, other])


def test_every_broken_log_is_told(tmp_path: Path) -> None:
    paths = [written(tmp_path, "hello\n", "one.log"), LOGS / "nemo.log", tmp_path / "none.log"]
    with pytest.raises(InputError) as error:
        read_logs(paths)
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [str(paths[0]), str(paths[2])]


# broken logs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("hello\n", "has no known format; known are trainer_state.json"),
        ("#" + " " * 10**6, "has no known format"),  # in no time
        ("step: 1 " * 10**4, "has no known format"),
        ("# nThread 1 nGpus 2 minBytes 1024\n", "nccl-tests, not of a training run; fit it with `perfsim calibrate"),
        ("{}", "a.log:1: is JSON, but neither"),
        ("[]", "no ProfilerStep; profile with a schedule"),
        ('{\n"log_history": [,]}', "a.log:2: not valid JSON: Expecting value (column 17); give the whole file"),
        ('{"log_history": []}', "holds no train_runtime: a checkpoint's state has no seconds; call trainer"),
        ('{"train_runtime": 3.0}', "does not say how many steps it took"),
        ('{"log_history": [{"train_runtime": NaN}]}', "holds no train_runtime"),
        ('{"log_history": ' + "[" * 100_000, "not valid JSON"),
        ('{"traceEvents": [' + "9" * 5000 + "]}", "not valid JSON: Exceeds the limit"),
        ('{"traceEvents": [{"name": "aten::mm"}]}', "no ProfilerStep"),
        (" iteration        1/     100 | consumed\n elapsed time per iteration (ms):", "a.log:1: an iteration"),
        ("elapsed time per iteration (ms): 12.0 |\n", "no whole line of an iteration; give the program's whole output"),
        ("step,loss\n1,2\n", "a.log:1: has no column of seconds; log train/time (callback ThroughputMonitor)"),
        ("step,time\n1,2,3\n4,5\n", "a.log:2: 3 fields under 2 columns"),
        ("step,time\n1,2\nx,5\n", "a.log:3: step: expected a number, got 'x'"),
        ("power.draw [W]\nnone\n", "a.log:2: power.draw [W]: expected a number, got 'none'"),
        ("power.draw [W], index\n", "holds no rows; let nvidia-smi run beside the training"),
        ("312.45 W, 98 %, 40000 MiB\n", "a.log:1: rows of nvidia-smi without the names of their columns; leave"),
        ("step,time\n\0\n", "holds a NUL character"),
        ('step,time\n1,"2\n', "not valid CSV"),
    ],
)  # fmt: skip
def test_a_broken_log_is_told_with_its_line_and_a_way_out(tmp_path: Path, text: str, words: str) -> None:
    told = complaint(written(tmp_path, text))
    assert words in told
    assert told.startswith("a.log:") and ";" in told and "\x1b" not in told


def test_two_formats_in_one_log(tmp_path: Path) -> None:
    both = (LOGS / "nemo.log").read_text() + (LOGS / "megatron.log").read_text()
    assert "holds lines of Megatron-LM and of NeMo; give each run a log" in complaint(written(tmp_path, both))


def test_a_packed_log(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(b"{}"))
    assert complaint(path) == "trace.json.gz: is compressed; unpack it with gunzip"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_log_that_was_cut_off_anywhere_is_read_or_refused(tmp_path: Path, path: Path) -> None:
    whole = path.read_text()
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        sound(written(tmp_path, whole[:end]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SAMPLES), st.data())
def test_a_log_with_foreign_text_in_it_is_read_or_refused(tmp_path: Path, path: Path, data: st.DataObject) -> None:
    text = path.read_text()
    begin = data.draw(st.integers(0, len(text)))
    end = begin + data.draw(st.integers(0, 30))
    foreign = data.draw(
        st.one_of(st.text(max_size=20), st.sampled_from(["-1", "1e999", "nan", "0", "9" * 30, '"', "\n"]))
    )
    with suppress(UnicodeEncodeError):  # a lone surrogate is in no file
        sound(written(tmp_path, text[:begin] + foreign + text[end:]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    sound(written(tmp_path, text))


def sound(path: Path) -> None:
    """What is read is finite and not negative; what cannot be is refused in words."""
    try:
        read = read_log(path)
    except InputError as error:
        assert str(error).isprintable() or "\n" in str(error)
        return
    numbers = [value for value in vars(read).values() if isinstance(value, int | float)]
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert bool(read.peak_memory_bytes) == bool(read.memory_kind)
