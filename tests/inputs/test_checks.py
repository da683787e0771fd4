"""Checking any file, and the schemas that are told."""

import json
from pathlib import Path

import pytest

from perfsim import paths
from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.checks import SCHEMAS, check_file, files_under, schema

BUILTIN = paths.builtin("specs")
CARD = (BUILTIN / "gpus" / "t4.toml").read_text()


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


def test_all_shipped_specs_pass_their_check(specs: Catalogue) -> None:
    kinds = [check_file(path, specs) for path in files_under(BUILTIN)]
    assert {"gpu", "system", "model", "software", "calibration"} <= set(kinds)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas(kind: str) -> None:
    described = schema(kind)
    assert described["additionalProperties"] is False
    assert json.dumps(described)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("gpus/t4.toml", "gpu"),
        ("systems/dgx-h100.toml", "system"),
        ("models/bert-large-uncased.toml", "model"),
        ("software/megatron-core.toml", "software"),
        ("calibration/links.toml", "calibration"),
        ("calibration/collectives.toml", "calibration"),
    ],
)
def test_the_kind_is_seen_from_the_keys(specs: Catalogue, tmp_path: Path, file: str, kind: str) -> None:
    copy = tmp_path / Path(file).name
    copy.write_text((BUILTIN / file).read_text())
    assert check_file(copy, specs) == kind


def test_a_system_may_hold_a_card_of_the_folder_beside_it(specs: Catalogue, tmp_path: Path) -> None:
    for kind in ("gpus", "systems"):
        (tmp_path / kind).mkdir()
    (tmp_path / "gpus" / "mine.toml").write_text(CARD)
    box = tmp_path / "systems" / "box.toml"
    box.write_text((BUILTIN / "systems" / "dgx-h100.toml").read_text().replace("h100-sxm5-80gb", "mine"))
    assert [check_file(path, specs) for path in files_under(tmp_path)] == ["gpu", "system"]
    (tmp_path / "gpus" / "mine.toml").unlink()
    with pytest.raises(InputError, match="mine is not among the GPUs"):
        check_file(box, specs)


def test_a_folder_without_specs_is_told(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds no \.toml file, config\.json or prices/\*\.csv; check"):
        files_under(tmp_path)


def test_a_calibration_file_of_another_name(specs: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "calibration").mkdir()
    path = tmp_path / "calibration" / "mine.toml"
    path.write_text("x = 1\n")
    with pytest.raises(
        InputError,
        match=r"no such calibration file; call it one of cards\.toml, kernels\.toml, collectives\.toml, links\.toml,",
    ):
        check_file(path, specs)
