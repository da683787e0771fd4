"""A scenario with one plan says what the logs do not; the run's row replays as the run."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from perfsim.calibration.readings import Reading
from perfsim.calibration.runs import MeasuredRun
from perfsim.calibration.validate import replay_one
from perfsim.errors import InputError
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.logs import read_logs
from perfsim.inputs.logs_run import measured_run, runs_table, stated_run
from perfsim.inputs.runs import read_runs
from perfsim.inputs.scenario import scenario

LOGS = Path(__file__).parent / "logs"
KNOWN = catalogue()

BERT = """software = "huggingface-trainer"
[workload]
model = "bert-large"
seq_len = 128
steps = 100
global_batch_size = 32
precision = "amp-fp16"
[search]
gpus = ["RTX 3090"]
counts = [2]
micro_batch_size = 16
"""
LLAMA = """software = "torchtitan"
[workload]
model = "llama3-8b"
task = "pretrain"
seq_len = 8192
steps = 1
global_batch_size = 8
[search]
systems = ["dgx-h100"]
counts = [8]
micro_batch_size = 1
zero_stage = 3
recompute = "selective"
"""
QLORA = """software = "huggingface-trainer"
[workload]
model = "llama3-8b"
task = "qlora"
seq_len = 1024
steps = 1
global_batch_size = 32
dropout = 0.05
optimizer = "paged-adamw8bit"
[search]
gpus = ["RTX 3090"]
counts = [1]
micro_batch_size = 2
recompute = "full"
power_limit_watts = 300
"""
GPT = """software = "megatron-core"
[workload]
model = "gpt3-175b"
task = "pretrain"
seq_len = 2048
steps = 1
global_batch_size = 1536
precision = "bf16-mixed"
optimizer = "adam"
[search]
systems = ["dgx-a100-80gb"]
counts = [1024]
tensor_parallel = 8
pipeline_parallel = 16
virtual_stages = 2
micro_batch_size = 1
zero_stage = 1
recompute = "full"
"""
T5 = """[workload]
model = "t5-base"
seq_len = 512
decoder_seq_len = 128
steps = 1
global_batch_size = 32
precision = "fp32"
optimizer = "adafactor"
[search]
gpus = "V100 SXM2 32GB"
counts = 1
micro_batch_size = 8
"""
PLAIN = Reading("any", "any.log", step_seconds=1.0, steps=9, peak_memory_bytes=1e10, memory_kind="allocated")


def logged(tmp_path: Path, text: str, reading: Reading = PLAIN, name: str = "") -> tuple[MeasuredRun, str]:
    """The run of a scenario's text, and the text of a new table with it."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    stated = stated_run(scenario(path, KNOWN))
    run = measured_run(reading, stated, path, name)
    return run, runs_table(tmp_path / "runs.csv", run, stated, reading, KNOWN)


def told(tmp_path: Path, text: str, reading: Reading = PLAIN) -> str:
    with pytest.raises(InputError) as error:
        logged(tmp_path, text, reading)
    return str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("text", [BERT, LLAMA, QLORA, GPT, T5], ids=["bert", "llama", "qlora", "gpt", "t5"])
def test_the_row_replays_as_the_run(tmp_path: Path, text: str) -> None:
    run, table = logged(tmp_path, text)
    (tmp_path / "runs.csv").write_text(table)
    (again,) = read_runs([tmp_path / "runs.csv"], KNOWN)
    assert (again.problem, again.assumptions, again.software_note) == ("", (), "")
    assert (again.run_id, again.source, again.quality) == ("mine", "any.log", "a")
    assert (again.measured_step_seconds, again.measured_peak_memory_bytes) == (1.0, 1e10)
    assert (again.plan, again.software) == (run.plan, run.software)
    here, there = (replay_one(one, KNOWN.calibration()) for one in (run, again))
    assert here.problem == there.problem == ""
    assert there.predicted_step_seconds == pytest.approx(here.predicted_step_seconds, rel=1e-6)
    assert there.predicted_peak_memory_bytes == pytest.approx(here.predicted_peak_memory_bytes, rel=1e-3)


def test_a_table_grows_and_a_run_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    other = "gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s,attention\nt4,1,gpt2,8,1,fp32,1,naive\n"
    table.write_text(other)
    for name, seconds in (("one", 1.0), ("two", 2.0), ("one", 3.0)):
        table.write_text(logged(tmp_path, BERT, replace(PLAIN, step_seconds=seconds), name)[1])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run_id"], row["step_time_s"]) for row in rows] == [("", "1"), ("two", "2"), ("one", "3")]
    assert rows[0]["attention"] == "naive"
    assert len(read_runs([table], KNOWN)) == 3


def test_logs_and_scenario_together(tmp_path: Path) -> None:
    run, table = logged(tmp_path, BERT, read_logs([LOGS / "trainer_state.json", LOGS / "nvidia-smi.csv"]))
    assert run.measured_step_seconds == pytest.approx(0.2)
    assert (run.memory_kind, run.quality, run.stack) == ("nvidia-smi", "b", "Hugging Face Trainer")
    assert (run.gpu_key, run.model_key, run.plan.data_parallel) == ("rtx-3090", "bert-large-uncased", 2)
    assert "296 W a GPU" in table


def test_tokens_a_second_alone_tell_the_step(tmp_path: Path) -> None:
    run, _ = logged(tmp_path, LLAMA, Reading("torchtitan", "t.log", tokens_per_s_per_gpu=8192.0))
    assert run.measured_step_seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (replace(PLAIN, global_batch_size=16), "mine.toml: global_batch_size is 8, but 16 in any.log; correct it"),
        (
            replace(PLAIN, global_batch_size=9, batch_tolerance=0.05),
            "global_batch_size is 8, but about 9 in any.log; correct it",
        ),
        (
            replace(PLAIN, stated={"gpus": 4, "seq_len": 4096}),
            "counts is 8, but 4 in any.log; correct it\nmine.toml: s",
        ),
        (replace(PLAIN, stated={"tensor_parallel": 2}), "tensor_parallel is 1, but 2 in any.log"),
        (
            replace(PLAIN, tokens_per_s_per_gpu=4096),
            "its 4,096 tokens/s a GPU mean 2 s for 8 sequences of 8,192, but a step takes 1 s; correct",
        ),
        (Reading("nvidia-smi", "g.csv", watts_per_gpu=300.0), "tells neither a step's time nor memory; add a log that"),
    ],
)
def test_a_scenario_that_the_log_contradicts_is_refused(tmp_path: Path, reading: Reading, words: str) -> None:
    assert words in told(tmp_path, LLAMA, reading)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("counts = [2]", "counts = [1, 2]", "mine.toml:10: search.counts: names 2 values, but a run has one"),
        ('gpus = ["RTX 3090"]', 'gpus = "RTX 30"', "mine.toml:9: search.gpus: means "),
        ("micro_batch_size = 16", "", "mine.toml:8: search: micro_batch_size is missing; add the sequences"),
        ("micro_batch_size = 16", "micro_batch_size = 32", "mine.toml:6: workload.global_batch_size: 32 sequences"),
        ("counts = [2]", "counts = [2]\npipeline_parallel = 3", "search.counts: the degrees multiply to 3, not 2"),
        ('"bert-large"\nseq_len = 128', '"resnet-50"', "runs.csv: has no columns for models of images; leave out"),
        ("counts = [2]", 'counts = [2]\nzero_stage = 2\noffload = "parameters"', "runs.csv: cannot hold the run: "),
    ],
)  # fmt: skip
def test_a_scenario_that_is_no_run_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert words in told(tmp_path, BERT.replace(old, new))


def test_what_a_row_cannot_say_is_named(tmp_path: Path) -> None:
    packed = LLAMA.replace("[search]", "packed = true\nsample_tokens = 300\n[search]")
    words = "runs.csv: has no columns for what the scenario says: sample_tokens, is_packed; leave out the table"
    assert words in told(tmp_path, packed)


def test_names_of_files_are_no_formulas(tmp_path: Path) -> None:
    run, table = logged(tmp_path, BERT, replace(PLAIN, source="=cmd|'/c calc'!A0\x1b[31m.log"))
    assert run.source.startswith("./=cmd")
    assert "\x1b" not in table and ",=" not in table


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("dgx-h100", "system: dgx-h100 holds h100-sxm5-80gb; correct system or gpu"),
        ("dgx-a1000", "system: dgx-a1000: not among the systems; nearest: "),
        ("dgx-1-p100", "holds p100"),
    ],
)
def test_a_row_whose_system_is_another_is_refused(tmp_path: Path, system: str, words: str) -> None:
    path = tmp_path / "runs.csv"
    header = "gpu,n_gpus,system,model,seq_len,micro_batch,precision,step_time_s"
    path.write_text(f"{header}\na100-sxm4-80gb,8,{system},gpt2,1024,8,bf16,0.1\n")
    with pytest.raises(InputError, match=words):
        read_runs([path], KNOWN)
