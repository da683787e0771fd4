"""Tables of measured runs: what a row means, what is refused and how, which software a stack is mapped to."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim import paths
from perfsim.calibration.runs import MeasuredRun
from perfsim.core.plan import Recompute
from perfsim.core.workload import Head, Task
from perfsim.errors import InputError
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.run_row import CHOICES, COLUMNS, RunRow
from perfsim.inputs.run_software import release_date, software_of
from perfsim.inputs.runs import read_runs

ROW = {
    "run_id": "mine-1", "gpu": "a100-sxm4-80gb", "n_gpus": "1", "model": "bert-large-uncased", "seq_len": "128",
    "micro_batch": "32", "precision": "amp-fp16", "step_time_s": "0.1",
}  # fmt: skip


def write(folder: Path, *rows: dict[str, str], name: str = "runs.csv") -> Path:
    path = folder / name
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(folder: Path, **changes: str) -> MeasuredRun:
    return read_runs([write(folder, ROW | changes)], catalogue())[0]


def complaints(folder: Path, *rows: dict[str, str]) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_runs([write(folder, *rows)], catalogue())
    return str(caught.value).replace(f"{folder}/", "").split("\n")


@pytest.fixture(scope="module")
def shipped() -> list[MeasuredRun]:
    return read_runs([paths.builtin("scenarios") / "validation" / "runs.csv"], catalogue())


def test_the_shipped_table_holds_what_the_readme_promises(shipped):
    assert sum(run.role == "anchor" for run in shipped) == 33
    assert len(shipped) >= 1600
    assert len({run.gpu_key for run in shipped}) >= 15
    assert {run.quality for run in shipped if run.role != "anchor"} <= {"a", "b"}
    assert all(run.source for run in shipped)


def test_most_of_the_shipped_runs_can_be_replayed_and_the_others_say_why(shipped):
    able = [run for run in shipped if not run.problem]
    assert len(able) > 0.95 * len(shipped)
    assert all(run.workload and run.system and run.plan and run.software for run in able)
    assert not any(run.workload for run in shipped if run.problem)


def test_degrees_multiply_to_the_gpus_of_the_row(shipped):
    path = paths.builtin("scenarios") / "validation" / "runs.csv"
    with path.open(newline="") as file:
        gpus = {row["run_id"]: int(row["n_gpus"]) for row in csv.DictReader(file)}
    assert all(run.plan.gpus == gpus[run.run_id] for run in shipped if run.plan)
    assert all(run.system.max_gpus >= gpus[run.run_id] for run in shipped if run.system)


def test_a_minimal_row_takes_the_stated_defaults(tmp_path):
    run = read(tmp_path)
    assert run.problem == ""
    assert (run.workload.task, run.workload.head, run.workload.seq_len) == (Task.PRETRAIN, Head.LANGUAGE_MODEL, 128)
    assert (run.workload.global_batch_size, run.plan.gpus, run.plan.micro_batch_size) == (32, 1, 32)
    assert run.measured_step_seconds == 0.1
    assert (run.measured_peak_memory_bytes, run.memory_kind, run.outcome) == (0.0, "", "ok")
    assert "no software stated" in run.software_note
    assert run.assumptions == ("no recomputation", "AdamW")


def test_a_token_rate_is_a_step_time(tmp_path):
    run = read(tmp_path, step_time_s="", tokens_per_s_per_gpu="40960")
    assert run.measured_step_seconds == pytest.approx(32 * 128 / 40960)


def test_a_plan_is_read(tmp_path):
    run = read(
        tmp_path, n_gpus="64", model="llama3-8b", seq_len="8192", micro_batch="1", grad_accum="4", tp="4", pp="2",
        cp="2", sharding="zero1", sequence_parallel="y", recompute="selective", fabric="nvswitch", internode="ib-hdr",
        precision="bf16-mixed", software="Megatron-Core 2025", optimizer="adam",
    )  # fmt: skip
    plan = run.plan
    assert (plan.tensor_parallel, plan.pipeline_parallel, plan.context_parallel, plan.data_parallel) == (4, 2, 2, 4)
    assert (plan.zero_stage, plan.sequence_parallel, plan.recompute) == (1, True, Recompute.SELECTIVE)
    assert run.workload.global_batch_size == 16
    assert (run.system.gpus_per_node, run.system.max_gpus) == (8, 64)
    assert run.system.between.bytes_per_s == 25e9
    assert run.system.within.at(8, 1).ring_bytes_per_s == 240e9
    assert (run.assumptions, run.software_note) == ((), "")


def test_hybrid_sharding_keeps_its_group(tmp_path):
    run = read(tmp_path, n_gpus="16", sharding="hsdp", fabric="nvswitch", internode="ib-ndr", recompute="none")
    assert (run.plan.zero_stage, run.plan.hybrid_shard) == (3, 8)
    assert "sharded within a node" in run.assumptions


@pytest.mark.parametrize(
    ("precision", "extras", "software", "key", "weight_bytes"),
    [
        ("bf16-mixed", "params=fp32", "PyTorch 2.0", "amp-bf16", 4),
        ("bf16-mixed", "params=bf16", "PyTorch 2.0", "bf16-mixed", 2),
        ("bf16-mixed", "", "Megatron-LM 2022-05", "bf16-mixed", 2),
        ("bf16-mixed", "", "PyTorch 2.0", "amp-bf16", 4),
        ("fp8", "params=fp32", "torchtitan (FSDP2)", "fp8", 4),
        ("fp8", "", "NeMo 25.02", "fp8", 2),
        ("fp16-o2", "", "torch 1.4", "fp16-o2", 2),
    ],
)
def test_formats_follow_what_the_weights_are_kept_in(tmp_path, precision, extras, software, key, weight_bytes):
    run = read(tmp_path, precision=precision, extras=extras, software=software)
    assert (run.workload.precision.key, run.workload.precision.weight_bytes) == (key, weight_bytes)


def test_adapters_know_their_base(tmp_path):
    adapter = {
        "model": "llama3-8b",
        "task": "qlora",
        "lora_rank": "16",
        "precision": "bf16-mixed",
        "optimizer": "adamw",
    }
    run = read(tmp_path, **adapter, extras="double_quant=y")
    assert (run.workload.task, run.workload.lora_rank) == (Task.QLORA, 16)
    packed = 6.98 / 8.03  # billions of parameters: products inside the layers of all
    assert run.workload.base_bytes == pytest.approx(4.127 / 8 * packed + 2 * (1 - packed), rel=1e-3)
    assert read(tmp_path, **adapter).workload.base_bytes == pytest.approx(4.5 / 8 * packed + 2 * (1 - packed), rel=1e-3)


def test_ranks_that_never_exchange_are_one_gpu(tmp_path):
    run = read(tmp_path, n_gpus="4", fabric="pcie", extras="grad_sync=n")
    assert (run.plan.gpus, run.workload.global_batch_size) == (1, 32)
    assert any("never exchanged" in assumption for assumption in run.assumptions)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extras": "generator=12x256x4"}, "second network"),
        ({"extras": "var_len=y"}, "shorter than seq_len"),
        ({"offload": "params", "extras": "activation_offload=y"}, "together"),
        ({"optimizer": "badam"}, "badam"),
        ({"optimizer": "badam"}, "badam"),
        ({"extras": "power_limited=y"}, "power limit was lowered"),
        ({"extras": "power_limit_w=30"}, "power_limit_w: 30 W is not a limit that A100 SXM4 80 GB can hold"),
        ({"extras": "power_limit_w=500"}, "power_limit_w: 500 W is not"),
        ({"gpu": "rtx-4090", "n_gpus": "2", "fabric": "nvlink-bridge"}, "no NVLink"),
        ({"peak_memory_gb": "20"}, "optimizer is not stated"),
        ({"seq_len": ""}, "seq_len is not stated"),
    ],
)
def test_what_cannot_be_expressed_is_said(tmp_path, changes, words):
    run = read(tmp_path, **changes)
    assert words in run.problem
    assert run.workload is None


@pytest.mark.parametrize("extras", ["optimizer_timed=y", "uneven=n", "power_limited=n"])
def test_an_option_that_is_off_stops_nothing(tmp_path, extras):
    assert read(tmp_path, extras=extras).problem == ""


def test_a_lowered_power_limit_is_replayed(tmp_path):
    run = read(tmp_path, extras="power_limit_w=300")
    assert (run.problem, run.system.gpu.power_limit_watts, run.system.gpu.board_limit_watts) == ("", 300, 400)


def test_models_and_cards_beside_the_table(tmp_path):
    columns = {
        "key": "tiny", "kind": "decoder", "n_layers": "2", "hidden": "64", "heads": "4", "kv_heads": "2",
        "head_dim": "16", "ffn": "128", "gated": "y", "act": "silu", "vocab": "1000", "tied": "n", "positions": "rope",
        "norm": "rmsnorm", "norms_per_layer": "2", "final_norm": "y", "causal": "y",
    }  # fmt: skip
    write(tmp_path, columns, name="run_models.csv")
    card = {
        "key": "rtx-9999", "name": "GeForce RTX 9999", "series": "RTX 50", "architecture": "blackwell",
        "compute_capability": "12.0", "sms": "100", "boost_mhz": "2400", "l2_mb": "64", "mem_gb": "48",
        "mem_type": "GDDR7", "mem_bw_gbs": "1500", "fp32_tflops": "90", "tdp_w": "450", "form_factor": "PCIe",
        "pcie_gen": "5", "pcie_lanes": "16", "p2p_pcie": "no", "fp16_tensor_fp32acc_tflops": "180",
        "bf16_tensor_tflops": "180", "tf32_tensor_tflops": "90",
    }  # fmt: skip
    write(tmp_path, card, name="missing_gpus.csv")
    run = read(tmp_path, model="tiny", gpu="rtx-9999")
    assert (run.workload.model.hidden_size, run.workload.model.is_causal) == (64, True)
    assert run.system.gpu.peak_flops_per_s["fp16"] == 180e12
    assert run.system.gpu.memory_bytes == 48 * 2**30


def test_problems_of_the_tables_beside_are_told_with_their_column(tmp_path):
    write(tmp_path, {"key": "tiny", "kind": "decoder", "n_layers": "two"}, name="run_models.csv")
    lines = complaints(tmp_path, ROW)
    assert "run_models.csv:1: hidden: the column is missing; add it" in lines


def test_all_problems_of_a_table_come_at_once(tmp_path):
    lines = complaints(
        tmp_path,
        ROW | {"precision": "fp17"},
        ROW | {"run_id": "mine-2", "seq_len": "-5", "step_time_s": "nan"},
        ROW | {"run_id": "mine-3", "gpu": "rtx-4091"},
        ROW | {"run_id": "mine-4", "model": "bert-hughe-uncased"},
        ROW | {"run_id": "mine-5", "n_gpus": "3", "dp": "2"},
        ROW | {"run_id": "mine-6", "step_time_s": ""},
        ROW | {"run_id": "mine-7"},
        ROW | {"run_id": "mine-7"},
    )
    assert "did you mean fp" in lines[0]
    assert lines[0].startswith("runs.csv:2: precision: 'fp17' is none of fp32,")
    assert lines[1] == "runs.csv:3: seq_len: expected a whole number, got '-5'; write digits only, or leave it empty"
    assert lines[2].startswith("runs.csv:3: step_time_s: expected a number, got 'nan'")
    assert lines[3].startswith("runs.csv:4: gpu: rtx-4091: not among the gpus; nearest: rtx-4090")
    assert lines[4].startswith("runs.csv:5: model: bert-hughe-uncased: not among the models; nearest: bert-")
    assert "runs.csv:6: dp x tp x pp x cp is 2, not n_gpus = 3; correct one of them" in lines
    assert any(line.startswith("runs.csv:7: nothing is measured") for line in lines)
    assert lines[-1].startswith("runs.csv:9: run_id: mine-7 stands in ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("gpu,n_gpus\n", "runs.csv:1: model: the column is missing; add it"),
        ("gpus,n_gpus,model,seq_len,micro_batch,precision,step_time_s\n", "gpus: no such column; did you mean gpu?"),
        ("gpu,gpu\n", "gpu: stands twice"),
        ('gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s\n"a,1,b,1,1,fp32,1\n', "2: a quote is opened"),
        ("gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s\na,1\n", "runs.csv:2: 2 fields under 7 columns"),
        ("gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s\n" + "a" * 5000 + ",1,b,1,1,fp32,1\n", "4,096"),
        ("gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s\n", "holds no runs"),
        ("gpu,n_gpus,model,seq_len,micro_batch,precision\nt4,1,gpt2,8,1,fp32\n", "no column of measurements"),
        ("gpu\0,n_gpus\n", "NUL"),
    ],
)
def test_broken_tables_are_refused_with_their_line(tmp_path, text, words):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"runs\.csv") as caught:
        read_runs([path], catalogue())
    assert words in str(caught.value)


def test_a_long_list_of_problems_is_cut_and_counted(tmp_path):
    lines = complaints(tmp_path, *(ROW | {"run_id": f"mine-{i}", "n_gpus": "none"} for i in range(80)))
    assert len(lines) == 51
    assert lines[-1].endswith("and 30 more")


def test_the_same_run_in_two_tables_is_refused(tmp_path):
    first, second = write(tmp_path, ROW), write(tmp_path, ROW, name="more.csv")
    with pytest.raises(InputError, match=r"more\.csv:2: run_id: mine-1 stands in .*runs\.csv:2"):
        read_runs([first, second], catalogue())


def test_escape_codes_do_not_reach_the_terminal(tmp_path):
    assert "\x1b" not in "".join(complaints(tmp_path, ROW | {"gpu": "a\x1b[31m", "precision": "\x1b[2Jfp32"}))


@given(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=12), max_size=6))
def test_any_cells_are_read_or_refused_as_input_errors(tmp_path_factory, changes):
    path = write(tmp_path_factory.mktemp("runs"), ROW | changes)
    try:
        runs = read_runs([path], catalogue())
    except InputError as error:
        assert all(line.startswith(str(path)) for line in str(error).split("\n"))
    else:
        assert len(runs) == 1


@given(st.sampled_from(sorted(CHOICES)), st.text(min_size=1, max_size=8))
def test_choices_are_strict(tmp_path_factory, column, value):
    value = value.strip()
    if value in ("", *CHOICES[column]) or not value.isprintable():
        return
    path = write(tmp_path_factory.mktemp("runs"), ROW | {column: value})
    with pytest.raises(InputError, match=f":2: {column}: "):
        read_runs([path], catalogue())


def mapped(**columns: str) -> tuple[str, str]:
    row = RunRow(line=2, gpu="t4", n_gpus=1, model="gpt2", seq_len=8, micro_batch=1, precision="fp32", **columns)
    known = catalogue()
    software, note = software_of(row, [known.software(key) for key in known.names("software")])
    return software.key, note


@pytest.mark.parametrize(
    ("software", "fusion", "attention", "key"),
    [
        (
            "DeepLearningExamples, NGC container, torch 1.4.0a0+a5b4d78, 2020-03-03",
            "fused",
            "naive",
            "pytorch-1.4-apex",
        ),
        ("DeepLearningExamples, NGC container, torch 1.4.0a0+a5b4d78, 2020-03-03", "eager", "naive", "pytorch-1.4"),
        ("DeepLearningExamples, NGC container, torch 1.13.0a0+d0d6b1f, 2022-10-16", "eager", "naive", "pytorch-1.11"),
        ("PyTorch 2.0 torch.compile", "compiled", "naive", "pytorch-2.0-compiled"),
        ("nanochat 2025-10", "compiled", "sdpa", "pytorch-2-compiled"),
        ("NeMo (Megatron-Core), dgxc-benchmarking tags v25.05..v25.05.05", "fused", "flash", "nemo"),
        ("NeMo (Megatron-Core), dgxc-benchmarking tags v24.11.1..v25.01.1", "fused", "flash", "nemo-1"),
        ("MLPerf Training v3.1, NVIDIA NeMo Framework Release 23.09", "fused", "flash", "nemo-1"),
        ("MLPerf Training v5.0, NGC Pytorch 25.04, NVIDIA Nemo 25.04", "fused", "flash", "nemo"),
        ("Paxml (JAX), dgxc-benchmarking tags v24.11.1..v25.01.1", "compiled", "flash", "paxml"),
        ("Megatron-LM 23e00ed09, TE 2.11.0, torch 2.10", "fused", "flash", "megatron-core"),
        ("Megatron-LM 2022-05", "fused", "naive", "megatron-2022"),
        ("Megatron-LM PTD-P 2021-04", "fused", "naive", "megatron-2021"),
        ("DeepSpeed ZeRO-3 2021-04", "fused", "naive", "deepspeed-zero3-2021"),
        ("llm-foundry/Composer FSDP, README of 2024-04-22", "eager", "flash", "llm-foundry"),
        ("MaxText (JAX), dgxc-benchmarking tags v25.02..v25.03", "compiled", "flash", "jax"),
        ("TensorFlow2 NGC 21.02", "compiled", "naive", "tensorflow-2"),
        ("TensorFlow NGC 20.06", "compiled", "naive", "tensorflow-1"),
    ],
)
def test_stacks_that_the_specs_describe_are_found_without_a_note(software, fusion, attention, key):
    assert mapped(software=software, fusion=fusion, attention=attention) == (key, "")


def test_fp16_weights_with_fp32_masters_are_apex_s(tmp_path):
    run = read(tmp_path, precision="fp16-o2", software="PyTorch NGC 20.06", fusion="eager", attention="naive")
    assert (run.software.key, run.software_note) == ("pytorch-1.7-apex", "")  # the container's PyTorch is 1.6


@pytest.mark.parametrize(
    "row,key",
    [
        ({"stack": "dle-bert-pt-21.11", "task": "pretrain", "fusion": "fused"}, "pytorch-nvfuser"),
        ({"stack": "dle-bert-pt-21.11", "task": "finetune", "fusion": "fused"}, "pytorch-1.7-apex"),
        ({"stack": "dle-bart-pt-22.08", "task": "pretrain", "fusion": "eager"}, "pytorch-1.11-apex"),
    ],
)
def test_projects_that_run_their_tasks_in_different_ways(tmp_path, row, key):
    assert read(tmp_path, software="PyTorch NGC 21.11", precision="amp-fp16", **row).software.key == key


@pytest.mark.parametrize(
    ("software", "stack", "precision", "key"),
    [
        ("PyTorch NGC 21.11", "dle-bert-pt-21.11", "tf32", "pytorch-1.7"),  # BertAdam
        ("TensorFlow2 NGC 21.02", "dle-bert-tf2-21.02", "fp32", "tensorflow-2-no-xla"),
        ("TensorFlow2 NGC 21.02", "dle-bert-tf2-21.02", "amp-fp16", "tensorflow-2"),
        ("TensorFlow NGC 20.06", "dle-bert-tf1-20.06", "fp32", "tensorflow-1-2019"),
        ("TensorFlow NGC 20.06", "dle-bert-tf1-20.06", "tf32", "tensorflow-1"),
    ],
)
def test_fine_tuning_in_fp32_runs_on_what_its_script_runs_it_on(tmp_path, software, stack, precision, key):
    row = {"task": "finetune", "attention": "naive", "fusion": "compiled"}
    assert read(tmp_path, software=software, stack=stack, precision=precision, **row).software.key == key


def test_a_row_tells_its_host(tmp_path):
    """Four cards below one switch of one socket share 16 lanes; Intel's sockets cost nothing, AMD's do."""
    row = {"gpu": "rtx-2080-ti", "n_gpus": "8", "fabric": "pcie-nop2p"}
    below = read(tmp_path, **row, extras="cpu=Intel Xeon;gpus_per_pcie_switch=4;sockets=1").system.within.at(8, 1)
    intel = read(tmp_path, **row, extras="cpu=Intel(R) Xeon(R) Gold 6230").system.within.at(8, 1)
    amd = read(tmp_path, **row, extras="cpu=AMD EPYC 7502").system.within.at(8, 1)
    assert below.ring_bytes_per_s == pytest.approx(15.75e9 / 4)
    assert intel.ring_bytes_per_s > below.ring_bytes_per_s > amd.ring_bytes_per_s


def test_a_stack_is_mapped_to_the_nearest_and_the_note_says_so():
    key, note = mapped(software="my own trainer", fusion="eager", attention="naive")
    assert key.startswith("pytorch-2")
    assert note.startswith(f"mapped to {key}: my own trainer is not among specs/software")
    key, note = mapped(software="HF Trainer run_clm, torch 2.3", fusion="eager", attention="sdpa")
    assert key == "huggingface-trainer"
    assert "2024-04-24 lies outside" in note
    assert "attention sdpa as in the table, not naive" in note


def test_dates_of_software():
    assert Counter(map(release_date, ("torch 1.9.0a0", "NGC 21.06", "torch 99.9", "2021", ""))) == {
        "2021-06-15": 1, "2021-06-01": 1, "": 2, "2021-07-01": 1,
    }  # fmt: skip


def test_an_attention_kernel_that_is_not_told_widens_the_interval(tmp_path):
    told, untold = read(tmp_path, attention="flash"), read(tmp_path, attention="unknown")
    extra = {knob.name for knob in untold.knobs} - {knob.name for knob in told.knobs}
    assert extra == {"which attention kernel ran"}
    assert {knob.name for knob in told.knobs} < {knob.name for knob in untold.knobs}
