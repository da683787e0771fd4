"""Facts that published rows leave blank, filled in from their projects' own scripts."""

from perfsim.inputs.run_row import run_row
from perfsim.inputs.run_unstated import completed
from perfsim.inputs.tables import Complaints, read_table
from perfsim.paths import builtin


def test_blanks_are_filled_and_what_is_stated_stays() -> None:
    row = {"run_id": "megatron2021-0006", "micro_batch": "", "vpp": "1", "tp": "8"}
    assert completed(row) == row | {"micro_batch": "2", "vpp": "3"}
    assert completed(row | {"micro_batch": "4"})["micro_batch"] == "4"
    assert completed({"run_id": "mine", "vpp": "1"}) == {"run_id": "mine", "vpp": "1"}


def test_facts_join_the_options_that_are_there_and_yield_to_them() -> None:
    filled = completed({"run_id": "dgxc-0145", "extras": "params=bf16;ce_fusion=y"})["extras"].split(";")
    assert filled == ["params=bf16", "ce_fusion=y", "packed_tokens=190", "lora_targets=linear_qkv"]


def test_every_fact_is_of_a_column_and_has_a_source() -> None:
    path = builtin("scenarios") / "validation" / "unstated.csv"
    columns = ("run_id", "column", "value", "source")
    for line, fact in read_table(path, columns, columns):
        assert ":" in fact["source"], line
        cells = {"gpu": "a100-sxm4-80gb", "n_gpus": "8", "model": "m", "precision": "bf16-mixed"}
        cells |= {"seq_len": "2048", "micro_batch": "1", "step_time_s": "1"}
        complaints = Complaints(path)
        assert run_row(line, cells | {"tp": "8", fact["column"]: fact["value"]}, complaints), fact
