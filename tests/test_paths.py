from pathlib import Path

import pytest

from perfsim import paths
from perfsim.errors import InputError, UnknownNameError


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(paths.VARIABLE, raising=False)


def test_builtin_folders_exist() -> None:
    assert (paths.builtin("specs") / "gpus").is_dir()
    assert paths.builtin("scenarios").is_dir()


def test_order_is_option_variable_builtin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, pack, plain = tmp_path / "named", tmp_path / "pack", tmp_path / "plain"
    for folder in (named, pack / "specs", plain):
        folder.mkdir(parents=True)
    monkeypatch.setenv(paths.VARIABLE, f"{pack}:{plain}")
    assert paths.spec_folders([named]) == [named, pack / "specs", plain, paths.builtin("specs")]


def test_working_folder_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("specs", "scenarios"):
        (tmp_path / kind).mkdir()
    monkeypatch.chdir(tmp_path)
    assert paths.spec_folders() == [paths.builtin("specs")]
    assert paths.scenario_folders() == [paths.builtin("scenarios")]


def test_missing_folders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such folder"):
        paths.spec_folders([tmp_path / "nothing"])
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"PERFSIM_PATH: .*nothing: no such folder; correct or unset"):
        paths.spec_folders()


def test_scenarios_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenarios").mkdir()
    mine = tmp_path / "scenarios" / "mine.toml"
    mine.write_text("x = 1\n")
    assert paths.find_scenario(str(mine)) == mine
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path))
    for name in ("mine", "mine.toml", "scenarios/mine.toml"):
        assert paths.find_scenario(name) == mine
    with pytest.raises(UnknownNameError, match=r"minne: no such scenario file; .*mine"):
        paths.find_scenario("minne")


@pytest.mark.parametrize(
    "name", ["../../x", "a\0b", "\x1b[31m", "", "/nope.toml", "x" * 300, "a/" + "x" * 300, "x" * 100_000]
)
def test_hostile_scenario_names(name: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        paths.find_scenario(name)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 2000
