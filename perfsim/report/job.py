"""A job beside its steps, in words: what of its hours is lost to what, and what a machine asks of a room."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from rich.table import Table
from rich.text import Text

from perfsim.core.results import JobTime
from perfsim.core.site import LLAMA_FAILURES_PER_GPU_HOUR, Site
from perfsim.report.text import cards_text
from perfsim.units import GIGA, number_text, percent_text, seconds_text

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PARTS = tuple(f.name for f in fields(JobTime))


def goodput_text(row: Mapping[str, Any], site: Site) -> str:
    """What a row's hours hold beside its steps, and what that rests on, in a line."""
    fixed = [
        f"{seconds_text(row[name])} {what}"
        for name, what in (("start_up_seconds", "start-up"), ("final_save_seconds", "saving"))
        if row[name]
    ]
    goodput = f"goodput {percent_text(row['goodput'])}, {interruptions_text(site)}"
    return f"hours with {', '.join(fixed) or 'no start-up'}; {goodput}"


def interruptions_text(site: Site) -> str:
    """How often jobs at the site are interrupted, and whose rate that is.

    >>> interruptions_text(Site()), interruptions_text(Site(failures_per_gpu_hour=0.0))
    ('a failure in 50,700 GPU-h (Llama 3)', 'no failures')
    """
    failures = "no failures"
    if site.failures_per_gpu_hour:
        whose = " (Llama 3)" if site.failures_per_gpu_hour == LLAMA_FAILURES_PER_GPU_HOUR else ""
        failures = f"a failure in {number_text(1.0 / site.failures_per_gpu_hour)} GPU-h{whose}"
    if site.preemptions_per_hour:
        failures += f", a machine taken back every {number_text(1.0 / site.preemptions_per_hour)} h"
    return failures


def job_table(row: Mapping[str, Any], steps: float, site: Site) -> Table:
    """The parts of the job's time, each with what it is made of."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header, justify in (("the job", "left"), ("time", "right"), ("share", "right"), ("made of", "left")):
        table.add_column(header, justify=justify, no_wrap=header != "made of")  # type: ignore[arg-type]
    total = sum(row[name] for name in PARTS)
    words = dict(_words(row, steps, site))
    for name in PARTS:
        if row[name]:
            title = name.removesuffix("_seconds").replace("_", " ")
            table.add_row(title, seconds_text(row[name]), percent_text(row[name] / total), words[name])
    table.add_row(Text("total", style="bold"), seconds_text(total), "", f"goodput {percent_text(row['goodput'])}")
    return table


def _words(row: Mapping[str, Any], steps: float, site: Site) -> Iterator[tuple[str, str]]:
    save, useful = row["final_save_seconds"], row["useful_seconds"]
    yield "start_up_seconds", "until the first step; start_up_seconds of a scenario's [site]"
    yield "useful_seconds", f"{steps:,.0f} steps of {seconds_text(row['step_seconds'])}"
    if row["checkpoint_seconds"]:
        often = seconds_text(useful * save / row["checkpoint_seconds"])
        yield "checkpoint_seconds", f"{seconds_text(save)} every {often}, the best interval for these failures"
    yield "repeated_seconds", f"steps since the last checkpoint, done again; {interruptions_text(site)}"
    yield "restart_seconds", f"{seconds_text(site.restart_seconds)} after each interruption"
    rate = number_text(site.checkpoint_bytes_per_s / GIGA)
    yield "final_save_seconds", f"weights and optimizer, {rate} GB/s a machine"


def circuits_text(row: Mapping[str, Any]) -> str:
    """What the machine of a row asks of a room's circuits, in a sentence.

    >>> row = {"gpus": 4, "gpu_name": "GeForce RTX 3090", "machine_most_watts": 1935.0, "circuits": 2}
    >>> circuits_text(row | {"circuit_watts": 1440.0, "gpus_per_machine": 4})
    '4x RTX 3090 need up to 1,940 W: two circuits of 1,440 W'
    """
    number = int(row["circuits"])
    many = f"{_NUMBERS[number] if number < len(_NUMBERS) else format(number, ',')} circuit{'s' if number > 1 else ''}"
    cards = cards_text({**row, "gpus": row["gpus_per_machine"]})
    most, each = (number_text(row[name]) for name in ("machine_most_watts", "circuit_watts"))
    verb = "need" if row["gpus_per_machine"] > 1 else "needs"
    return f"{cards} {verb} up to {most} W: {many} of {each} W"


def machine_text(row: Mapping[str, Any]) -> str:
    """What one machine draws, needs and gives off, in a line."""
    drawn, supply = (number_text(row[name]) for name in ("machine_watts", "supply_watts"))
    heat = f"{number_text(row['heat_btu_per_h'])} BTU/h of heat"
    return f"one machine: {drawn} W at the wall, {heat}; {circuits_text(row)}, power supplies of {supply} W in all"
