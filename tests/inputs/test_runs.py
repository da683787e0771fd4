"""Tables of measured runs: what a row becomes, what it assumes, and every way in which a table can be wrong."""

from pathlib import Path

import pytest

from perfsim.calibration.runs import MeasuredRun
from perfsim.core.plan import Recompute
from perfsim.core.workload import Head
from perfsim.errors import InputError
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.runs import read_runs
from perfsim.paths import builtin

SHIPPED = builtin("scenarios") / "validation" / "runs.csv"
HEADER = "run_id,gpu,n_gpus,model,seq_len,micro_batch,precision,step_time_s"
ROW = "mine,a100-sxm4-80gb,1,gpt2,1024,8,bf16-mixed,0.5"


def _read(tmp_path: Path, *lines: str) -> list[MeasuredRun]:
    table = tmp_path / "runs.csv"
    table.write_text("\n".join(lines) + "\n")
    return read_runs([table], catalogue())


def _one(tmp_path: Path, columns: str = "", cells: str = "", row: str = ROW) -> MeasuredRun:
    return _read(tmp_path, HEADER + columns, row + cells)[0]


def _refusal(tmp_path: Path, *lines: str) -> list[str]:
    with pytest.raises(InputError) as refused:
        _read(tmp_path, *lines)
    return str(refused.value).split("\n")


def test_the_required_columns_are_enough(tmp_path: Path) -> None:
    run = _one(tmp_path)
    assert run.problem == ""
    assert run.workload is not None and run.plan is not None
    assert (run.workload.global_batch_size, run.workload.head_positions, run.workload.steps) == (8, 1024, 1.0)
    assert (run.plan.gpus, run.plan.zero_stage, run.measured_step_seconds) == (1, 0, 0.5)


def test_a_rate_stands_for_the_step(tmp_path: Path) -> None:
    header = HEADER.replace("step_time_s", "tokens_per_s_per_gpu")
    run = _read(tmp_path, header, ROW.replace("0.5", "16384"))[0]
    assert run.measured_step_seconds == pytest.approx(8 * 1024 / 16384)


def test_a_plan_is_what_the_row_says(tmp_path: Path) -> None:
    columns = ",gpus_per_node,dp,tp,pp,sharding,recompute,sequence_parallel"
    row = ROW.replace(",1,gpt2", ",16,gpt2")
    run = _one(tmp_path, columns, ",8,4,2,2,zero1,selective,y", row)
    assert run.plan is not None and run.system is not None
    assert (run.plan.data_parallel, run.plan.tensor_parallel, run.plan.pipeline_parallel) == (4, 2, 2)
    assert (run.plan.zero_stage, run.plan.recompute, bool(run.plan.sequence_parallel)) == (1, Recompute.SELECTIVE, True)
    assert (run.system.gpus_per_node, run.system.max_gpus) == (8, 16)


@pytest.mark.parametrize(
    ("precision", "extras", "expected"),
    [("bf16-mixed", "params=fp32", "amp-bf16"), ("bf16-mixed", "params=bf16", "bf16-mixed"), ("bf16", "", "bf16")],
)
def test_where_the_weights_are_kept(tmp_path: Path, precision: str, extras: str, expected: str) -> None:
    run = _one(tmp_path, ",extras", f",{extras}", ROW.replace("bf16-mixed", precision))
    assert run.workload is not None and run.workload.precision.key == expected


def test_ranks_that_never_exchange_gradients_are_one_rank(tmp_path: Path) -> None:
    run = _one(tmp_path, ",extras", ",grad_sync=n", ROW.replace(",1,gpt2", ",4,gpt2"))
    assert run.plan is not None and run.workload is not None
    assert (run.plan.gpus, run.workload.global_batch_size) == (1, 8)
    assert any("exchanged" in text for text in run.assumptions)


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("extras", "var_len=y", "shorter"),
        ("extras", "generator=12x256x4", "second network"),
        ("offload", "optimizer", "offload"),
        ("optimizer", "badam", "badam"),
    ],
)
def test_what_cannot_be_said_is_a_problem_and_no_prediction(
    tmp_path: Path, column: str, cell: str, reason: str
) -> None:
    run = _one(tmp_path, f",{column}", f",{cell}")
    assert reason in run.problem
    assert (run.workload, run.system, run.plan, run.software) == (None, None, None, None)


def test_software_that_an_entry_describes_needs_no_note(tmp_path: Path) -> None:
    text = ',"DeepLearningExamples, NGC container, torch 1.13.0, 2022-10-15",fused,naive'
    run = _one(tmp_path, ",software,fusion,attention", text)
    assert run.software is not None
    assert (run.software.key, run.software_note) == ("pytorch-1.11-apex", "")


def test_unknown_software_is_mapped_with_a_note(tmp_path: Path) -> None:
    run = _one(tmp_path, ",software", ",my own trainer")
    assert run.software is not None and "my own trainer" in run.software_note


def test_every_problem_of_a_table_is_told_with_its_line(tmp_path: Path) -> None:
    lines = _refusal(
        tmp_path,
        HEADER,
        ROW.replace("bf16-mixed", "fp17"),
        ROW.replace("mine", "two").replace("1024", "-3"),
        ROW.replace("mine", "three").replace("0.5", "nan"),
        ROW.replace("mine", "four").replace("gpt2", "gpt22"),
        ROW.replace("mine", "five").replace("a100-sxm4-80gb", "a1000"),
    )
    for number, words in ((2, "precision: 'fp17'"), (3, "seq_len"), (4, "step_time_s"), (5, "gpt22"), (6, "a1000")):
        assert any(f"runs.csv:{number}: " in line and words in line for line in lines), words


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([HEADER, ROW, ROW], "stands in"),
        ([HEADER, ROW + ",1"], "9 fields under 8 columns"),
        ([HEADER, '"' + ROW], "quote"),
        ([HEADER.replace("precision", "precison"), ROW], "did you mean precision?"),
        ([HEADER + ",gpu", ROW + ",x"], "twice"),
        ([HEADER.replace(",seq_len", ""), ROW.replace(",1024", "")], "seq_len: the column is missing"),
        ([HEADER, ROW.replace("0.5", "")], "nothing is measured"),
        ([HEADER, ROW.replace("mine", "x" * 5000)], "characters"),
        ([HEADER, ROW.replace("mine", "a\0b")], "NUL"),
        ([HEADER + ",dp,tp", ROW + ",2,2"], "not n_gpus"),
        ([""], "empty"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, lines: list[str], words: str) -> None:
    assert words in "\n".join(_refusal(tmp_path, *lines))


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    lines = _refusal(tmp_path, HEADER, *(f"r{i}" + ROW.replace("mine", "").replace("0.5", "-1") for i in range(80)))
    assert len(lines) == 51
    assert "30 more" in lines[-1]


def test_control_characters_of_a_table_never_reach_the_terminal(tmp_path: Path) -> None:
    assert all(line.isprintable() for line in _refusal(tmp_path, HEADER, ROW.replace("gpt2", "\x1b[31mred")))


def test_a_model_beside_the_table_counts_before_the_specs(tmp_path: Path) -> None:
    (tmp_path / "run_models.csv").write_text(
        "key,kind,n_layers,hidden,heads,kv_heads,head_dim,ffn,gated,act,vocab,tied,positions,max_positions,norm,"
        "norms_per_layer\ngpt2,decoder,3,768,12,12,64,3072,n,gelu,50257,y,learned,1024,layernorm,2\n"
    )
    run = _one(tmp_path)
    assert run.workload is not None and run.workload.model.layers == 3


def test_the_shipped_table_replays_and_spreads_over_cards_and_sources() -> None:
    runs = read_runs([SHIPPED], catalogue())
    assert len(runs) >= 300
    assert len({run.gpu_key for run in runs}) >= 15
    assert {run.quality for run in runs} <= {"a", "b"}
    assert sum(not run.problem for run in runs) >= 0.8 * len(runs)
    assert sum(run.role == "anchor" for run in runs) == 30
    assert all(run.source for run in runs)
    heads = {run.workload.head for run in runs if run.workload}
    assert {Head.SPAN, Head.LANGUAGE_MODEL} <= heads
