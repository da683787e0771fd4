"""calibration/runs.toml: its numbers stand in for the software's, the user's before perfsim's."""

from pathlib import Path

import pytest

from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.knobs import SOFTWARE_NUMBERS
from perfsim.inputs.run_numbers import PRIOR, SoftwareNumbers
from perfsim.paths import builtin

TEXT = """runs = 12
source_spread = 0.05
noise = 0.04
energy_noise = 0.1
reach = 1.7
[kinds]
"efficiency of products, software" = 0.07
[numbers]
"nemo gemm_efficiency" = 0.011
[software."nemo"]
runs = 12
gemm_efficiency = 0.77
[sources]
"*" = "mine"
"""


def with_file(folder: Path, text: str) -> Catalogue:
    (folder / "calibration").mkdir()
    (folder / "calibration" / "runs.toml").write_text(text)
    return Catalogue([folder, builtin("specs")])


def test_the_users_numbers_count_before_perfsims_and_the_rest_stays(tmp_path):
    known, shipped = with_file(tmp_path, TEXT), catalogue()
    assert known.software("nemo").gemm_efficiency == 0.77
    assert known.software("llm-foundry") == shipped.software("llm-foundry")
    assert (known.spreads.source, known.spreads.runs) == (0.05, 12)
    assert known.spreads.numbers["nemo gemm_efficiency"] == 0.011
    assert known.spreads.kinds.keys() == shipped.spreads.kinds.keys()
    assert known.overrides() == [tmp_path / "calibration" / "runs.toml"]


def test_a_fitted_number_says_so_in_the_softwares_file():
    spec = catalogue().software_spec("nemo")
    assert spec.basis["gemm_efficiency"] == "fitted"
    assert spec.sources["gemm_efficiency"].startswith("perfsim calibrate runs, ")
    assert spec.gemm_efficiency == catalogue().software("nemo").gemm_efficiency


def test_every_number_that_runs_move_has_a_place_in_the_file():
    moved = {name for quantity, _, _, others in SOFTWARE_NUMBERS for name in (quantity, *others)}
    assert SoftwareNumbers.model_fields.keys() == moved | {"runs", "memory_spread"}


def test_without_runs_everything_is_as_its_file_says():
    before = catalogue().before_runs()
    assert before.spreads == PRIOR
    assert before.software("nemo").gemm_efficiency == 1.0


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("reach = 1.7", "reach = nan", 5, "not a finite number"),
        ("gemm_efficiency = 0.77", "gemm_efficiency = -1.0", 12, "gemm_efficiency"),
        ("gemm_efficiency = 0.77", "gem_efficiency = 0.7", 12, "gem_efficiency: no such key"),
        ("noise = 0.04\n", "", 1, "noise"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, old, new, line, what):
    known = with_file(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=what) as error:
        known.spreads  # noqa: B018
    assert f"runs.toml:{line}:" in str(error.value)
