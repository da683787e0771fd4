"""Measures what a board draws: idle, under single kernels, while it trains; watts against clocks."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from perfsim.core.model import Model
from perfsim.measure.board import Board, Reading, Window
from perfsim.measure.card import Card
from perfsim.measure.cases import AMPERE, Product, Stream
from perfsim.measure.kernels import product_call, stream_call
from perfsim.measure.session import Row, Save, Table, Work
from perfsim.measure.steps import Step
from perfsim.measure.timing import burst, sustained
from perfsim.measure.training import EAGER_SECONDS, train
from perfsim.units import GIGA, TERA

SETTLE_SECONDS = 1.0  # until clock and watts have followed the load
LOAD_COLUMNS = (
    "gpu load dtype time_us tflops_per_s gb_per_s joules sm_mhz sm_mhz_min mem_mhz power_w temp_c throttle window_s "
    "power_limit_w source error"
).split()
SAMPLE_COLUMNS = "gpu load seconds sm_mhz mem_mhz power_w temp_c".split()


def power_works(
    card: Card, board: Board, models: Mapping[str, Model], cells: Row, seconds: float, save: Save, is_quick: bool
) -> list[Work]:
    """What to work off to put loads on the board for `seconds` [s] each, into power.csv and power_samples.csv.

    cells: gpu, source and power_limit_w, the same in every row.
    """
    table, curve = Table("power.csv", LOAD_COLUMNS, save), Table("power_samples.csv", SAMPLE_COLUMNS, save)

    def work(load: str, dtype: str, expected: float, measure: Callable[[Any], Row]) -> Work:
        def measured() -> list[Row]:
            samples: list[tuple[float, Reading]] = []
            row = measure(samples)
            curve.add([_sample_row(cells["gpu"], load, moment, reading) for moment, reading in samples])
            return [row]

        return Work(table, {**cells, "load": load, "dtype": dtype}, expected, measured)

    found = [work("idle", "", seconds, lambda samples: _idle(board, seconds, samples))]
    for case in _loads(card.capability, is_quick):
        what = f"product {case.m}" if isinstance(case, Product) else f"{case.op} {case.bytes / GIGA:.2g} GB"
        found.append(work(f"{case.dtype} {what}", case.dtype, seconds + 2.0, _loading(card, board, case, seconds)))
    for step in training_loads(card.capability, is_quick):
        expected = seconds + EAGER_SECONDS
        found.append(work(step.label, step.precision, expected, _training(card, board, models, step, seconds)))
    return [*found, work("idle after work", "", seconds, lambda samples: _idle(board, seconds, samples))]


def training_loads(capability: tuple[int, int], is_quick: bool) -> list[Step]:
    """The training steps whose power is measured."""
    amp = "bf16-mixed" if capability >= AMPERE else "amp-fp16"
    steps = [Step("bert-large-uncased", 384, 8, amp), Step("gpt2", 1024, 8, amp)]
    return steps[:1] if is_quick else [*steps, Step("bert-base-uncased", 128, 1, amp), Step("gpt2", 1024, 4, "fp32")]


def _loads(capability: tuple[int, int], is_quick: bool) -> list[Product | Stream]:
    half = "bf16" if capability >= AMPERE else "fp16"
    found: list[Product | Stream] = [Product(half, 8192, 8192, 8192), Stream(half, "add", 65536, 4096)]
    found += [Product("fp32", 8192, 8192, 8192), Product(half, 2048, 2048, 2048)]
    if is_quick:
        return found
    found += [Product(half, 1024, 1024, 1024), Stream(half, "add", 1024, 4096), Stream(half, "softmax", 65536, 2048)]
    return [*found, *[Product("tf32", 8192, 8192, 8192)] * (capability >= AMPERE), Product(half, 16, 16384, 4096)]


def _idle(board: Board, seconds: float, samples: list[tuple[float, Reading]]) -> Row:
    with Window(board) as window:
        window.mark()
        time.sleep(seconds)
        window.mark()
    samples += window.samples
    return window.stretch().row()


def _loading(card: Card, board: Board, case: Product | Stream, seconds: float) -> Callable[[Any], Row]:
    def measure(samples: Any) -> Row:
        card.multiplies(case.dtype)
        call, sets = product_call(card, case) if isinstance(case, Product) else stream_call(card, case)
        each = burst(card, board, call, sets).seconds
        timing = sustained(card, board, call, sets, each, seconds, SETTLE_SECONDS, samples)
        card.multiplies("fp32")
        flops = case.flops if isinstance(case, Product) else 0.0
        watts = timing.stretch.watts
        return {
            **timing.row(),
            "tflops_per_s": flops / timing.seconds / TERA,
            "gb_per_s": case.bytes / timing.seconds / GIGA,
            "joules": watts * timing.seconds if watts else None,
        }

    return measure


def _training(
    card: Card, board: Board, models: Mapping[str, Model], step: Step, seconds: float
) -> Callable[[Any], Row]:
    def measure(samples: Any) -> Row:
        row = train(card, board, models[step.model], step, seconds, samples)
        watts = row["power_w"]
        return {**row, "time_us": row["step_ms"] * 1e3, "joules": watts * row["step_ms"] / 1e3 if watts else None}

    return measure


def _sample_row(gpu: str, load: str, moment: float, reading: Reading) -> Row:
    return {
        "gpu": gpu,
        "load": load,
        "seconds": moment,
        "sm_mhz": reading.sm_mhz,
        "mem_mhz": reading.memory_mhz,
        "power_w": reading.watts,
        "temp_c": reading.celsius,
    }
