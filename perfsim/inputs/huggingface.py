"""A Hugging Face config.json as a model: plain JSON, no code of the model's folder, no guess for what shapes it."""

from dataclasses import dataclass, replace
from pathlib import Path

from perfsim.core.model import Model
from perfsim.errors import InputError
from perfsim.inputs import explain
from perfsim.inputs.config_keys import Keys
from perfsim.inputs.families_gated import GATED
from perfsim.inputs.families_plain import PLAIN
from perfsim.inputs.files import Document, read_json
from perfsim.units import printable

CONFIG = "config.json"
MAX_NAME = 100
FAMILIES = dict(sorted((PLAIN | GATED).items()))
NOTES = {
    "auto_map": "auto_map is ignored: perfsim runs no code of a model's folder",
    "num_nextn_predict_layers": "num_nextn_predict_layers is ignored: multi-token prediction layers are not counted",
    "quantization_config": "quantization_config is ignored: the precision is the scenario's to say",
}


@dataclass(frozen=True)
class ConfigFile:
    """What a config.json says: the model, and notes on keys that were left aside."""

    model: Model
    notes: tuple[str, ...]


def model_from_config(path: Path) -> Model:
    """The model that a config.json, or a folder holding one, describes.

    Raises: InputError that lists every problem of the file.
    """
    return read_config(path).model


def read_config(path: Path) -> ConfigFile:
    """The model of a config.json, or of a folder holding one, with notes on what perfsim leaves aside.

    Raises: InputError that lists every problem of the file.
    """
    document = read_json(path / CONFIG if path.is_dir() else path)
    keys = Keys(document)
    family = _family(document)
    model = FAMILIES[family](keys)
    keys.finish()
    folder = document.path.parent.name if document.path.name == CONFIG else document.path.stem
    given = document.data.get("_name_or_path")
    name = given if isinstance(given, str) and given else folder or family
    key = printable(folder or family)[:MAX_NAME]
    notes = tuple(note for setting, note in NOTES.items() if document.data.get(setting))
    return ConfigFile(replace(model, key=key, name=printable(name)[:MAX_NAME]), notes)


def _family(document: Document) -> str:
    """The model_type of a config.json, one that perfsim knows."""
    family = document.data.get("model_type")
    if isinstance(family, str) and family in FAMILIES:
        return family
    supported = f"the supported families are {', '.join(FAMILIES)}"
    if family is None:
        close = explain.nearest("model_type", list(document.data))
        line = document.problem((close[0],), "no such key", "did you mean model_type?") if close else ""
        raise InputError(line or document.problem(("model_type",), "is missing", f"add it; {supported}"))
    if isinstance(document.data.get("text_config"), dict):
        supported += "; save the table text_config as a config.json of its own where its model_type is one of them"
    raise InputError(document.problem(("model_type",), f"{explain.shown(family)} is not supported", supported))
