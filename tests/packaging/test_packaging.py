"""What an installed perfsim holds, and what it costs to import."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import perfsim

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "networkx", "pydantic", "rich", "scipy", "pandas", "matplotlib", "jinja2", "torch")


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["options"]["packages"].split()
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "perfsim").rglob("__init__.py")}
    assert sorted(listed) == sorted(found | {"perfsim._specs", "perfsim._scenarios"})


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for file in (ROOT / "perfsim").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_wheel_holds_all_code_specs_and_scenarios(tmp_path: Path) -> None:
    tree = copy_of_tree(tmp_path)
    homes = {"perfsim": "perfsim", "specs": "perfsim/_specs", "scenarios": "perfsim/_scenarios"}
    expected = {
        f"{home}/{file.relative_to(tree / folder).as_posix()}"
        for folder, home in homes.items()
        for file in (tree / folder).rglob("*.*")
    }
    built = python(
        "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(tree)
    )  # with the extra dev's setuptools: no package index is asked
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("perfsim-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert sorted(expected - names) == []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"perfsim"}


def copy_of_tree(folder: Path) -> Path:
    """A copy to build in: a build leaves folders beside setup.cfg."""
    copy = folder / "tree"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("perfsim", "specs", "scenarios"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def modules_after(statement: str) -> set[str]:
    ran = python("-c", f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import perfsim",
        "from perfsim.cli.main import main\nmain(['--help'], standalone_mode=False)",
        "from perfsim.cli.main import main\nmain(['--version'], standalone_mode=False)",
    ],
)
def test_start_imports_nothing_heavy(statement: str) -> None:
    assert modules_after(statement).isdisjoint(HEAVY)


def test_formulas_and_core_import_numpy_alone() -> None:
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for folder in ("core", "formulas")
        for file in sorted((ROOT / "perfsim" / folder).glob("[!_]*.py"))
    ]
    assert modules_after("import " + ", ".join(names)).isdisjoint(set(HEAVY) - {"numpy"})


def test_every_public_name_exists_and_says_what_it_is() -> None:
    for name in perfsim.__all__:
        assert getattr(perfsim, name).__doc__, name
    assert set(perfsim.__all__) <= set(dir(perfsim))


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'estimat'"):
        perfsim.__getattr__("estimat")


def test_estimate_stays_the_function_when_its_module_is_imported() -> None:
    ran = python("-c", "import perfsim, perfsim.estimate\nassert perfsim.estimate.__module__ == 'perfsim'")
    assert ran.returncode == 0, ran.stderr
