"""The figures of docs/energy.md are those of this version, and those that `perfsim validate energy` scores."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from perfsim.calibration.energy import PoweredRun
from perfsim.calibration.energy_study import study
from perfsim.cli.main import main
from perfsim.estimate import estimate
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.energy_tables import builtin_table, read_energy, read_products
from perfsim.report.energy import study_lines

PAGE = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


@cache
def rows() -> dict[str, PoweredRun]:
    return {row.run.run_id: row for row in read_energy([builtin_table()], catalogue())}


def command(first: str) -> list[str]:
    """The words of a command of the page, without `perfsim`."""
    (found,) = re.findall(rf"^perfsim ({first}(?:\\\n|[^\n])*)", PAGE, re.MULTILINE)
    return [word.strip('"') for word in re.findall(r'"[^"]*"|[^\s\\]+', found)]


def test_the_step_by_hand_is_the_row_that_is_validated() -> None:
    row = rows()["zeus-0417"]
    run = row.run
    assert run.workload and run.system and run.plan and run.software
    found = estimate(run.workload, run.system, run.plan, run.software, catalogue().calibration())
    power, kernels = run.system.gpu.power, found.time.forward_seconds + found.time.backward_seconds
    seconds, watts = float(found.time.total_seconds), float(found.watts_per_gpu)
    rate = run.system.gpu.memory_bandwidth_bytes_per_s * run.system.gpu.calibration.bandwidth_fraction
    by_hand = (
        47.0 * seconds, 79.4 * float(kernels), 3.11e12 * 10.14e-12, 121.9e9 * 45e-12,
        (79.4 + rate * 45e-12) * float(found.time.optimizer_seconds),
    )  # fmt: skip
    assert (power.idle_watts, power.joules_per_byte) == (47.0, 45e-12)
    assert sum(by_hand) == pytest.approx(watts * seconds, rel=2e-3) and found.clock_ratio == 1.0
    for joules in (*by_hand, watts * seconds, row.watts * run.measured_step_seconds):
        assert f" {joules:.1f} " in WORDS
    error = watts * seconds / (row.watts * run.measured_step_seconds) - 1.0
    assert (
        f"{row.watts:.2f} W" in WORDS and f"{watts:.1f} W |" in WORDS and f"{100 * error:.1f} % are too much" in WORDS
    )


def test_errors_are_those_of_validate_energy() -> None:
    known = catalogue()
    found = study(
        list(rows().values()), read_products(known), known.calibration(), known.power_rules.server.watts_per_gpu,
        leaves_out=False,
    )  # fmt: skip
    text = "\n".join(study_lines(found))
    (whole,) = re.findall(r"joules of a whole step by card, in sample\n.*\n.*\n(v100.*)", text)
    assert whole.split()[:3] == ["v100-pcie-32gb", "49", "10.0"]
    assert "49 runs of the V100 whose images are known the joules of a step lie 10.0 % off" in WORDS
    (scores,) = (table for title, table in found.tables.items() if "joules" in title and "server" in title)
    assert f"servers, metered at the wall, {scores[0].mape:.1f} %" in WORDS


def test_the_server_by_hand() -> None:
    row = rows()["mlperf-004"]
    run = row.run
    assert run.workload and run.system and run.plan and run.software
    board = float(estimate(run.workload, run.system, run.plan, run.software, catalogue().calibration()).watts_per_gpu)
    whole = 8 * (board + float(run.system.host_watts_per_gpu))
    assert f"draw {board:.1f} W each" in WORDS and f"= {whole:,.0f} W, {100 * (1 - whole / row.watts):.1f} %" in WORDS
    assert f"the {row.watts:,.1f} W that were metered" in WORDS


def test_the_job_by_hand_is_what_the_command_says() -> None:
    words = [word for word in command("estimate --model resnet-50") if word != "--explain"]
    told = json.loads(CliRunner().invoke(main, [*words, "--json", "-"]).stdout)
    step, watts = told["step_seconds"], told["watts_per_gpu"]
    assert f"says {1e3 * step:.1f} ms" in WORDS and f"{watts:.1f} W a board" in WORDS
    assert f"{told['job_hours']:.3f} h and {told['job_kwh']:.3f} kWh" in WORDS
    steps, waiting = 10_010 * step, told["start_up_seconds"] + told["final_save_seconds"]
    lost = told["checkpoint_seconds"] + told["repeated_seconds"] + told["restart_seconds"]
    assert told["job_hours"] == pytest.approx((steps + waiting + lost) / 3600)
    by_hand = (watts + 150.0) * steps / 3.6e6, (47.0 + 150.0) * 60.0 / 3.6e6
    assert sum(by_hand) == pytest.approx(told["job_kwh"], rel=1e-3)
    for text in (
        f"= {steps:,.0f} s |", f"60 s + {told['final_save_seconds']:.1f} s", f"| {lost:.1f} s |",
        f"{watts + 150:.1f} W × {steps:,.0f} s = {by_hand[0]:.4f} kWh", f"× 60 s = {by_hand[1]:.4f} kWh",
        f"{told['job_kg_co2']:.3f} kg", f"${0.15 * told['job_kwh']:.2f} |",
    ):  # fmt: skip
        assert text in WORDS, text
    assert np.isclose(told["heat_btu_per_h"], 1290, atol=5) and "1,290 BTU/h" in WORDS


def test_the_machine_is_what_the_command_says() -> None:
    answer = CliRunner().invoke(main, command("estimate --model bert-large"), env={"COLUMNS": "100"})
    (shown,) = re.findall(r"```\n(one machine: .*?)```", PAGE, re.DOTALL)
    assert shown in answer.stdout
