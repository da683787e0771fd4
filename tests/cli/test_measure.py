"""`perfsim measure`: what is missing is said in a line; a run leaves tables that the other commands read."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import perfsim as ps
from perfsim.cli.main import main
from perfsim.errors import InputError
from perfsim.inputs.installed import installed_gpu
from perfsim.measure import board, card, cases, steps
from perfsim.units import GIB

PARTS = ("kernels", "collectives", "training", "power")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def pretend_torch(monkeypatch: pytest.MonkeyPatch, cards: int) -> None:
    cuda = SimpleNamespace(is_available=lambda: cards > 0, device_count=lambda: cards)
    version = SimpleNamespace(cuda="13.0", hip=None)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, version=version))  # type: ignore[arg-type]


@pytest.mark.parametrize("part", PARTS)
def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, part: str, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    result = run("measure", part, "-o", str(tmp_path / "new"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "measuring needs PyTorch; install it with: pip install 'perfsim[measure]'\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", PARTS)
def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    pretend_torch(monkeypatch, cards=0)
    result = run("measure", part)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("no Nvidia GPU found; ")


def test_collectives_tell_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_torch(monkeypatch, cards=8)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    result = run("measure", "collectives")
    assert result.exit_code == 2
    assert "torchrun --nproc-per-node 8 -m perfsim measure collectives" in result.stderr


def test_several_machines_must_name_their_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_torch(monkeypatch, cards=8)
    for name, value in {"RANK": 0, "WORLD_SIZE": 16, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 8}.items():
        monkeypatch.setenv(name, str(value))
    result = run("measure", "collectives")
    assert result.exit_code == 2
    assert "--fabric and --network-gb-per-s" in result.stderr


@pytest.mark.parametrize(
    "name, gib, multiprocessors, key",
    [
        ("NVIDIA H100 80GB HBM3", 79.6, 132, "h100-sxm5-80gb"),
        ("NVIDIA GeForce RTX 3080", 9.9, 68, "rtx-3080-10gb"),
        ("NVIDIA GeForce RTX 3080", 11.9, 70, "rtx-3080-12gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 7.9, 34, "rtx-4060-ti-8gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 15.9, 34, "rtx-4060-ti-16gb"),
        ("Tesla T4", 14.7, 40, "t4"),
        ("NVIDIA A100-SXM4-80GB", 79.3, 108, "a100-sxm4-80gb"),
    ],
)
def test_installed_cards_are_found(name: str, gib: float, multiprocessors: int, key: str) -> None:
    assert installed_gpu(ps.catalogue(), name, gib * GIB, multiprocessors) == key


@pytest.mark.parametrize(
    "name, multiprocessors, said",
    [
        ("NVIDIA RTX 9000 Rubin", 300, "is not among the cards of the specs"),
        ("NVIDIA A100-SXM4-80GB", 42, "is not quite a100-sxm4-80gb"),
    ],
)
def test_other_cards_are_refused_with_how_to_add_them(name: str, multiprocessors: int, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        installed_gpu(ps.catalogue(), name, 79 * GIB, multiprocessors)
    assert f'aliases = ["{name}"]' in str(caught.value)
    assert "--specs FOLDER" in str(caught.value)


@pytest.fixture
def l4(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The CPU, small cases and a pretended board, in the place of an L4."""
    pytest.importorskip("torch")
    from tests.measure.conftest import CpuCard, PretendedBoard
    from tests.measure.test_training import small

    model = small("gpt2")
    shapes = [(16 + i, 8, 8) for i in range(16)]
    chosen: list[Any] = [cases.Product("fp32", *shape) for shape in shapes]
    chosen += [cases.Stream("fp32", "add", rows, columns) for rows, columns, _ in shapes]
    monkeypatch.setattr(card, "open_card", CpuCard)
    monkeypatch.setattr(board, "open_board", lambda uuid: PretendedBoard())
    monkeypatch.setattr(cases, "kernel_cases", lambda *_: chosen)
    monkeypatch.setattr(steps, "training_steps", lambda *_: [steps.Step("gpt2", 16, 2, "fp32")])
    monkeypatch.setattr("perfsim.inputs.catalogue.Catalogue.model", lambda self, key: model)


def test_kernels_end_to_end(l4: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    result = run("measure", "kernels", "--quick", "-o", str(folder))
    assert result.exit_code == 0, result.output
    assert f"{folder / 'products.csv'}: 16 rows of l4" in result.stdout
    assert f"next: perfsim validate kernels {folder}" in result.stdout
    facts = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert (facts["gpu"], facts["driver"], facts["sm_mhz_at_start"]) == ("l4", "1", 1700.0)
    assert {file.name for file in folder.iterdir()} == {"environment.json", "products.csv", "streams.csv"}


def test_training_end_to_end(l4: Any, tmp_path: Path) -> None:
    result = run("measure", "training", "--quick", "-o", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert {"runs.csv", "steps.csv"} <= {file.name for file in tmp_path.iterdir()}
    assert run("validate", "runs", str(tmp_path)).exit_code == 0
