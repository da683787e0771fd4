"""Steps are rows that `perfsim validate` replays on the software they ran on; models are those of the specs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfsim as ps
from perfsim.core.model import Model
from perfsim.formulas.parameters import adapter_parameters, count
from perfsim.inputs.runs import read_runs
from perfsim.measure import training
from perfsim.measure.session import Row, Save, work_off
from perfsim.measure.steps import Step, training_steps
from tests.measure.conftest import PretendedBoard

ALL = training_steps(False, (9, 0))
FACTS = {"gpu": "l4", "torch_version": "2.9.1+cu128", "day": "2026-01-31", "limit_watts": None}


def small(key: str) -> Model:
    model = ps.catalogue().model(key)
    sizes = {"layers": 2, "hidden_size": 64, "heads": 4, "head_dim": 16, "ffn_hidden_size": 128, "vocab_size": 211}
    return replace(model, kv_heads=4 if model.kv_heads == model.heads else 2, **sizes)


def measured(step: Step) -> Row:
    return {"outcome": "ok", "step_ms": 250.0, "tokens_per_s": step.tokens / 0.25, "allocated_bytes": 10**10}


@pytest.mark.parametrize("limit", [None, 60.0])
@pytest.mark.parametrize("capability", [(9, 0), (7, 5)])
def test_validate_replays_every_row(
    monkeypatch: pytest.MonkeyPatch,
    board: PretendedBoard,
    save: Save,
    tmp_path: Path,
    capability: tuple[int, int],
    limit: float | None,
) -> None:
    def trained(card: Any, board: Any, model: Model, step: Step, seconds: float) -> Row:
        if step.seq_len * step.micro_batch > 20_000:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if step.grad_accum > 1:
            raise ValueError("the loss is nan")
        return measured(step)

    monkeypatch.setattr(training, "train", trained)
    steps = training_steps(False, capability)
    models = {step.model: ps.catalogue().model(step.model) for step in steps}
    facts = FACTS | {"limit_watts": limit}
    works = training.training_works(None, board, steps, models, facts, 1.0, save)  # type: ignore[arg-type]
    assert work_off(works, 1e9) == 0
    runs = read_runs([tmp_path], ps.catalogue())
    assert len(runs) == sum(step.grad_accum == 1 for step in steps)
    assert {run.problem for run in runs} == {""}
    assert {run.software.key for run in runs if run.software} == {"pytorch-2-eager", "pytorch-2-compiled"}
    assert {run.software_note for run in runs} == {""}
    assert {run.outcome for run in runs} == {"ok", "oom"}
    assert {run.assumptions for run in runs} == {()}
    if limit:
        assert {float(run.system.gpu.power_limit_watts) for run in runs if run.system} == {limit}
    assert works[0].table.failures == sum(step.grad_accum > 1 for step in steps)


def test_precisions_replay_as_they_ran() -> None:
    assert {step.precision for step in ALL} == {"bf16", "bf16-mixed", "fp32", "tf32"}
    assert {step.precision for step in training_steps(False, (7, 0))} == {"amp-fp16", "fp32"}


def test_steps_are_different_and_a_quick_run_does_the_first() -> None:
    assert len({step.label for step in ALL}) == len(ALL)
    quick = training_steps(True, (9, 0))
    assert ALL[: len(quick)] == quick
    assert sum(training.EAGER_SECONDS for step in quick) < 60


@pytest.mark.parametrize("key", sorted({step.model for step in ALL}))
def test_models_have_the_parameters_of_the_specs(key: str) -> None:
    torch = pytest.importorskip("torch")
    from perfsim.measure.transformer import Transformer

    model = ps.catalogue().model(key)
    with torch.device("meta"):
        made = Transformer(model)
    head = sum(p.numel() for p in made.classifier.parameters()) if model.kind == "encoder" else 0
    assert sum(p.numel() for p in made.parameters()) - head == count(model).total


@pytest.mark.parametrize(
    "step",
    [
        Step("bert-base-uncased", 16, 2, "bf16-mixed"),
        Step("gpt2", 16, 2, "fp32", recompute="full", grad_accum=2),
        Step("llama3.2-1b", 16, 2, "bf16"),
        Step("llama3.2-1b", 16, 2, "bf16", lora_rank=4, recompute="full"),
    ],
    ids=lambda step: step.label,
)
def test_small_models_train(cpu: Any, board: PretendedBoard, step: Step) -> None:
    row = training.train(cpu, board, small(step.model), step, 0.05)
    assert 0 < row["loss"] < 10
    assert row["n_steps"] >= 3
    adapters = adapter_parameters(small(step.model), step.lora_rank)
    assert row["n_trained"] == (adapters if step.lora_rank else row["n_params"])


def test_products_are_those_of_the_graph(cpu: Any) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    model, step = small("gpt2"), Step("gpt2", 16, 2, "fp32")
    trainer = training.Trainer(cpu, model, step)
    with Recorder():
        trainer.step()
    products = sum(name in ("mm", "addmm", "bmm") for name in seen)
    layers = 6 * model.layers  # query, key, value, output, up, down
    assert products == 3 * (layers + 1)  # the head; forward and twice backward
    assert not {"_scaled_dot_product_attention_math", "_safe_softmax"} & set(seen)
    assert torch.isfinite(torch.tensor(trainer.loss))
