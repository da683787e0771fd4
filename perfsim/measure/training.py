"""Measures whole training steps: time, memory, power at sustained clocks; tables for `perfsim validate`."""

import contextlib
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from perfsim.core.model import Model
from perfsim.measure.board import Board, Window
from perfsim.measure.card import Card
from perfsim.measure.session import Row, Save, Table, Work, is_out_of_memory
from perfsim.measure.steps import RUN_COLUMNS, STEP_COLUMNS, Step, run_row
from perfsim.units import GIGA, MILLI

WARM_UP = 3
LEAST_STEPS, MOST_STEPS = 5, 400
SETTLE_SHARE = 0.25  # of the steps, left out: the clock settles
BATCHES = 4
CLIP_NORM = 1.0
EAGER_SECONDS, COMPILED_SECONDS = 5.0, 50.0  # about what building and warming up take


def training_works(
    card: Card, board: Board, steps: list[Step], models: Mapping[str, Model], facts: Row, seconds: float, save: Save
) -> list[Work]:
    """What to work off to measure these steps for `seconds` [s] each, into runs.csv and steps.csv.

    facts: gpu (the card's key), torch_version, day and limit_watts, as `run_row` takes them.
    """
    runs, details = Table("runs.csv", RUN_COLUMNS, save), Table("steps.csv", STEP_COLUMNS, save)

    def measuring(step: Step) -> Callable[[], list[Row]]:
        def measure() -> list[Row]:
            try:
                row = train(card, board, models[step.model], step, seconds)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                row = {"outcome": "oom"}
            runs.add([run_row(step, measured=row, **facts)])
            return [row]

        return measure

    return [
        Work(
            details,
            {"gpu": facts["gpu"], "run_id": f"{facts['gpu']}-{step.label}"},
            seconds + (EAGER_SECONDS if step.fusion == "eager" else COMPILED_SECONDS),
            measuring(step),
        )
        for step in steps
    ]


def train(card: Card, board: Board, model: Model, step: Step, seconds: float, samples: Any = None) -> Row:
    """Train for about `seconds` [s] after a warm-up, and tell what was measured.

    samples: a list that gets the board's readings. Raises: ValueError when the loss is no finite number.
    """
    card.release()
    trainer = Trainer(card, model, step)
    for _ in range(WARM_UP):
        trainer.step()
    card.sync()
    state = card.allocated_bytes()
    card.reset_peaks()
    began = card.now()
    trainer.step()
    card.sync()
    count = max(LEAST_STEPS, min(MOST_STEPS, round(seconds / (card.now() - began))))
    settled = round(SETTLE_SHARE * count)
    with Window(board) as window:
        marks = []
        for i in range(count):
            if i == settled:
                window.mark()
            marks.append(card.mark())
            trainer.step()
        marks.append(card.mark())
        card.sync()
        window.mark()
    if samples is not None:
        samples += window.samples
    if not math.isfinite(trainer.loss):
        raise ValueError(f"the loss is {trainer.loss}")
    times = [card.seconds(a, b) for a, b in zip(marks[settled:], marks[settled + 1 :], strict=False)]
    allocated, reserved = card.peak_bytes()
    card.multiplies("fp32")
    return {
        **window.stretch().row(),
        "step_ms": statistics.median(times) / MILLI,
        "step_ms_min": min(times) / MILLI,
        "step_ms_max": max(times) / MILLI,
        "n_steps": len(times),
        "tokens_per_s": step.tokens / statistics.median(times),
        "allocated_bytes": allocated,
        "allocated_gb": allocated / GIGA,
        "reserved_gb": reserved / GIGA,
        "state_gb": state / GIGA,
        "n_params": trainer.parameters,
        "n_trained": sum(p.numel() for p in trainer.trained),
        "loss": trainer.loss,
        "outcome": "ok",
    }


class Trainer:
    """A model, its optimizer and random tokens; `step` trains once.

    As specs/software/pytorch-2-eager and pytorch-2-compiled say: multi-tensor AdamW in eager code, the fused one
    beside torch.compile; gradients are clipped and freed; loss and gradient norm are read.
    """

    def __init__(self, card: Card, model: Model, step: Step) -> None:
        from perfsim.measure.transformer import CLASSES, build

        torch = card.torch
        self._torch, self._device, self._plan = torch, card.device, step
        card.multiplies(step.precision)
        dtype, recomputes = card.dtype(step.precision), step.recompute != "none"
        made = build(model, card.device, dtype, step.dropout, step.lora_rank, recomputes)
        self.trained = [p for p in made.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in made.parameters())
        is_compiled = step.fusion == "compiled"
        if is_compiled:
            torch._dynamo.reset()
        self._loss_of = torch.compile(made, dynamic=False) if is_compiled else made
        kernels = {"fused": True} if is_compiled else {"foreach": True}
        self._optimizer = torch.optim.AdamW(self.trained, lr=1e-5, **kernels)
        self._amp = {"bf16-mixed": torch.bfloat16, "amp-fp16": torch.float16}.get(step.precision)
        self._scaler = torch.amp.GradScaler(card.device.type, enabled=step.precision == "amp-fp16")
        shape = (step.micro_batch, step.seq_len)
        most, labels = (CLASSES, shape[:1]) if model.kind == "encoder" else (model.vocab_size, shape)
        self._data = [(card.randint(model.vocab_size, *shape), card.randint(most, *labels)) for _ in range(BATCHES)]
        self._count, self.loss = 0, math.nan

    def step(self) -> None:
        """One optimizer step."""
        self._optimizer.zero_grad(set_to_none=True)
        for _ in range(self._plan.grad_accum):
            ids, labels = self._data[self._count % BATCHES]
            self._count += 1
            with self._torch.autocast(self._device.type, self._amp) if self._amp else contextlib.nullcontext():
                loss = self._loss_of(ids, labels) / self._plan.grad_accum
            self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        norm = self._torch.nn.utils.clip_grad_norm_(self.trained, CLIP_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.loss = loss.item() * self._plan.grad_accum
        norm.item()
