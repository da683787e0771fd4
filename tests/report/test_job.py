"""What an answer says of a job's lost time, and of a machine's circuits and heat."""

import io

from rich.console import Console

from perfsim.core.site import Site
from perfsim.report.job import circuits_text, goodput_text, job_table, machine_text

ROW = {
    "start_up_seconds": 60.0, "useful_seconds": 36_000.0, "checkpoint_seconds": 40.0, "repeated_seconds": 50.0,
    "restart_seconds": 30.0, "final_save_seconds": 4.0, "goodput": 36_000.0 / 36_120.0, "step_seconds": 0.5,
    "gpus": 16, "gpu_name": "GeForce RTX 3090", "gpus_per_machine": 8, "machine_watts": 2_500.0,
    "machine_most_watts": 3_456.0, "heat_btu_per_h": 8_530.0, "circuits": 3, "circuit_watts": 1440.0,
    "supply_watts": 4_000.0,
}  # fmt: skip


def table_text(site: Site) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=120).print(job_table(ROW, 72_000.0, site))
    return buffer.getvalue()


def test_the_line_tells_what_is_lost_and_whose_failures_they_are() -> None:
    shown = "hours with 1 min 00 s start-up, 4.00 s saving; goodput 99.7 %, a failure in 50,700 GPU-h (Llama 3)"
    assert goodput_text(ROW, Site()) == shown and len(shown) <= 100
    spot = Site(failures_per_gpu_hour=0.0, preemptions_per_hour=0.1)
    assert goodput_text(ROW, spot).endswith("no failures, a machine taken back every 10.0 h")
    none = {**ROW, "start_up_seconds": 0.0, "final_save_seconds": 0.0}
    assert goodput_text(none, Site(failures_per_gpu_hour=1e-3)).startswith("hours with no start-up; ")
    assert goodput_text(none, Site(failures_per_gpu_hour=1e-3)).endswith("a failure in 1,000 GPU-h")


def test_the_table_adds_up_and_says_what_parts_are_made_of() -> None:
    text = table_text(Site())
    assert "72,000 steps of 500 ms" in text and "goodput 99.7 %" in text and "10 h 03 min" in text
    assert "4.00 s every 1 h 00 min" in text  # ten saves of 4 s in ten hours
    assert "5 min 00 s after each interruption" in text and "1.00 GB/s a machine" in text


def test_one_machine_of_two_is_told() -> None:
    assert circuits_text(ROW) == "8x RTX 3090 need up to 3,460 W: three circuits of 1,440 W"
    one = {**ROW, "gpus": 1, "gpus_per_machine": 1, "circuits": 1, "machine_most_watts": 750.0}
    assert circuits_text(one) == "1x RTX 3090 needs up to 750 W: one circuit of 1,440 W"
    many = circuits_text({**ROW, "circuits": 12})
    assert many.endswith("12 circuits of 1,440 W")
    assert machine_text(ROW).startswith("one machine: 2,500 W at the wall, 8,530 BTU/h of heat; ")
