"""Check any file that perfsim reads, of whatever kind, and tell its schema."""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from perfsim.errors import InputError
from perfsim.inputs.calibration import CalibrationSpec, CardRules
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.collectives import CollectivesSpec
from perfsim.inputs.files import Document, Sourced, check, problem, read_toml
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.power import PowerRules
from perfsim.inputs.price_tables import read_prices
from perfsim.inputs.run_numbers import RunNumbers
from perfsim.inputs.software import SoftwareSpec, to_software
from perfsim.inputs.support import SupportSpec
from perfsim.inputs.system import SystemSpec, load_system

SCHEMAS = ("gpu", "system", "model", "convnet", "software", "support", "scenario")
_FOLDERS = {
    "gpus": "gpu",
    "systems": "system",
    "models": "model",
    "software": "software",
    "support": "support",
    "calibration": "calibration",
    "scenarios": "scenario",
}
_SIGNS = {  # keys that only one kind of file has
    "scenario": {"workload", "search", "site"},
    "gpu": {"multiprocessors", "peak_tflops", "memory_bandwidth_gb_per_s", "compute_capability"},
    "system": {"gpus_per_node", "topology", "nics", "gpu"},
    "model": {"hidden_size", "num_hidden_layers", "num_attention_heads", "net", "generator"},
    "software": {"framework", "fusion", "host_seconds"},
    "support": {"works", "build"},
    "calibration": {"rule", "streaming", "preset", "network", "process", "kinds"},
}
_CALIBRATIONS: dict[str, type[Sourced]] = {
    "cards": CardRules,
    "kernels": CardRules,
    "collectives": CollectivesSpec,
    "links": CollectivesSpec,
    "power": PowerRules,
    "runs": RunNumbers,
    "shared": CalibrationSpec,
}


def files_under(path: Path) -> list[Path]:
    """The file itself, or the TOML files, config.json and price tables (prices/*.csv) of a folder and its subfolders.

    Raises: InputError for a folder without any.
    """
    if not os.path.isdir(path):
        return [path]
    files = sorted(file for file in path.rglob("*") if _is_spec(file))
    if not files:
        raise InputError(problem(path, None, "holds no .toml file, config.json or prices/*.csv", "check the path"))
    return files


def _is_spec(file: Path) -> bool:
    is_table = file.suffix == ".csv" and file.parent.name == "prices"
    return file.suffix == ".toml" or file.name == "config.json" or is_table


def check_file(path: Path, catalogue: Catalogue) -> str:
    """The kind of the file at `path`, when nothing is wrong with it.

    Raises: InputError that lists every problem of the file.
    """
    if path.suffix == ".json":
        from perfsim.inputs.huggingface import model_from_config

        model_from_config(path)
        return "model"
    if path.suffix == ".csv":
        read_prices(path, catalogue)
        return "prices"
    document = read_toml(path)
    kind = _kind(document)
    if kind == "gpu":
        check(document, GpuSpec)
    elif kind == "system":
        beside = {file.stem for file in (path.absolute().parent.parent / "gpus").glob("*.toml")}
        load_system(path, {*catalogue.names("gpus"), *beside})
    elif kind == "model":
        from perfsim.inputs.model import load_model

        load_model(path)
    elif kind == "software":
        to_software(path.stem, document)
    elif kind == "support":
        check(document, SupportSpec)
    elif kind == "calibration":
        check(document, _calibration_kind(path))
    else:
        from perfsim.inputs.scenario import scenarios

        scenarios(path, catalogue)
    return kind


def schema(kind: str) -> dict[str, Any]:
    """The JSON schema of a kind of file, one of SCHEMAS."""
    from perfsim.inputs.convnet import ConvnetSpec
    from perfsim.inputs.model import ModelSpec
    from perfsim.inputs.scenario_file import ScenarioFile

    kinds: dict[str, type[BaseModel]] = {
        "gpu": GpuSpec,
        "system": SystemSpec,
        "model": ModelSpec,
        "convnet": ConvnetSpec,
        "software": SoftwareSpec,
        "support": SupportSpec,
        "scenario": ScenarioFile,
    }
    return kinds[kind].model_json_schema()


def _kind(document: Document) -> str:
    """What a file is: by its folder's name, else by the keys that only one kind has."""
    if folder := _FOLDERS.get(document.path.absolute().parent.name):
        return folder
    signs = {kind: len(keys & document.data.keys()) for kind, keys in _SIGNS.items()}
    kind = max(signs, key=lambda name: signs[name])
    if not signs[kind]:
        folders = ", ".join(_FOLDERS)
        raise InputError(
            problem(document.path, 1, "cannot tell what this describes", f"put it in a folder called {folders}")
        )
    return kind


def _calibration_kind(path: Path) -> type[Sourced]:
    if path.stem not in _CALIBRATIONS:
        names = ", ".join(f"{name}.toml" for name in _CALIBRATIONS)
        raise InputError(problem(path, 1, "no such calibration file", f"call it one of {names}"))
    return _CALIBRATIONS[path.stem]
