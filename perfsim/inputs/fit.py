"""What a person asks of a fit matrix: a model, cards, and how it is to be trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from perfsim.core.model import Model
from perfsim.core.plan import Plan, Recompute
from perfsim.core.workload import Head, Task
from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.choice import ALL, cards_named
from perfsim.inputs.misfits import most_tokens
from perfsim.inputs.options import MAX_DEGREE
from perfsim.inputs.scenario import Scenario
from perfsim.inputs.scenario_file import DEFAULT_SOFTWARE
from perfsim.inputs.workload import make_workload
from perfsim.search.fit import MOST_SAMPLES, MOST_TOKENS, FitQuestion, Method

FORMATS = ("amp-bf16", "amp-fp16")  # the first that a card has units for, where no format is asked for
METHODS = {"full": Task.FINETUNE, "lora": Task.LORA, "qlora": Task.QLORA}
RecomputeChoice = Literal["auto", "none", "full"]
_RECOMPUTE: dict[str, tuple[Recompute, ...]] = {
    "auto": (Recompute.NONE, Recompute.FULL), "none": (Recompute.NONE,), "full": (Recompute.FULL,),
}  # fmt: skip


def fit_question(
    model: Model | str | Path, known: Catalogue, gpus: Sequence[str] = (), count: int = 1, micro_batch_size: int = 1,
    zero_stage: int | None = None, recompute: RecomputeChoice = "auto", software: str = DEFAULT_SOFTWARE,
    precision: str | None = None, lora_rank: int | None = None, **keys: Any,
) -> FitQuestion:  # fmt: skip
    """The question of what fits.

    gpus: names of cards or series, () for all. count: GPUs that share the work as replicas, under ZeRO-3 where they
    are several and `zero_stage` does not say otherwise. keys: of a scenario's [workload]; an adapter's rank is 16
    unless told.

    Raises: InputError for what cannot be used; UnknownNameError for names that the specs lack.
    """
    named = known.model(model) if isinstance(model, str | Path) else model
    for name, value, most in (("gpus", count, MAX_DEGREE), ("micro_batch_size", micro_batch_size, MOST_SAMPLES)):
        if not 1 <= value <= most:
            raise InputError(f"{name}: {value} is not allowed; write a number from 1 to {most:,}")
    cards = {gpu.key: gpu for name in gpus or (ALL,) for gpu in cards_named(name, known)}
    methods = tuple(
        Method(name, tuple(
            make_workload(
                named, task=task, precision=one, lora_rank=lora_rank if task is not Task.FINETUNE else None,
                global_batch_size=micro_batch_size * count, **keys,
            )
            for one in ((precision,) if precision else FORMATS)
        ))
        for name, task in METHODS.items()
        if task is Task.FINETUNE or not named.nets
    )  # fmt: skip
    tokens = sum(tower.sequence_tokens for tower in named.towers)
    longest = 1 if named.nets else min(most_tokens(named), MOST_TOKENS)
    return FitQuestion(
        methods=methods,
        cards=tuple(cards.values()),
        software=known.software(software),
        calibration=known.calibration(),
        system=known.box(next(iter(cards.values())), 1),
        plan=Plan(
            data_parallel=count, zero_stage=(3 if count > 1 else 0) if zero_stage is None else zero_stage,
            micro_batch_size=micro_batch_size,
        ),
        recompute=_RECOMPUTE[recompute],
        least_tokens=longest if named.encoder_tokens else tokens + 1,
        most_tokens=longest,
    )  # fmt: skip


def question_of(scenario: Scenario, known: Catalogue) -> FitQuestion:
    """What of a scenario's model fits on its cards, one of each, at a micro-batch of one."""
    job = scenario.workload
    asked: dict[str, Any] = {"seq_len": int(job.seq_len)} if not job.model.nets else {"image_size": int(job.image_size)}
    if job.decoder_seq_len:
        asked["decoder_seq_len"] = int(job.decoder_seq_len)
    cards = [*dict.fromkeys(system.gpu.key for system in scenario.systems)]
    return fit_question(
        job.model, known, cards, software=scenario.software.key, precision=job.precision.key,
        head=None if job.head is Head.NONE else job.head,
        lora_rank=job.lora_rank or None, optimizer=job.optimizer, dropout=job.dropout, loss_chunks=job.loss_chunks,
        fused_linear_loss=job.fused_linear_loss, **asked,
    )  # fmt: skip
