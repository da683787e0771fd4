"""The fit matrix on a page: the texts of `perfsim fit`, and looks that follow the chance to fit."""

import perfsim as ps
from perfsim.inputs.fit import question_of
from perfsim.report.fit import full_rows
from perfsim.report.page_fit import fit_grid


def test_cells_are_those_of_the_command_and_looks_follow_the_chance() -> None:
    found = ps.fit("llama3-8b", gpus=["GTX 1080", "RTX 3060 12GB", "RTX 3090", "B300"])
    grid = fit_grid(found)
    assert {row[0]: set(row[1:]) for row in grid.rows} == {row[1]: {row[0], *row[2:]} for row in full_rows(found)}
    looks = {row[0]: kinds for row, kinds in zip(grid.rows, grid.kinds, strict=True)}
    assert all(len(kinds) == len(grid.header) - 1 for kinds in grid.kinds)
    assert looks["B300"] == ("none", "none", *["good"] * 9)
    assert looks["GTX 1080"][2:8] == ("none",) * 6 and looks["RTX 3090"][-1] == "good"


def test_a_scenario_asks_for_its_own_model_cards_and_job() -> None:
    said = ps.scenario("bert")
    question = question_of(said, ps.catalogue())
    jobs = [method.workloads for method in question.methods]
    assert [len(formats) for formats in jobs] == [1, 1, 1]  # the scenario's number format alone
    assert {(job.seq_len, job.precision.key, job.head) for (job,) in jobs} == {(128, "amp-fp16", said.workload.head)}
    assert len(question.cards) == len({system.gpu.key for system in said.systems})
