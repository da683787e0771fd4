"""Which card a catalogue's accelerator is. What its row does not tell is not guessed: then it is none, or several."""

import re
from dataclasses import dataclass

from perfsim.inputs.catalogue import Catalogue

MEMORY_TOLERANCE = 0.1  # drivers keep some of a card's memory, catalogues round
_FORMS = ("sxm", "nvl", "pcie")


@dataclass(frozen=True)
class Named:
    """What a row of a catalogue tells of its accelerators. memory_mib: as written, of one card or of all."""

    name: str
    gpus: int
    instance: str = ""
    also: str = ""  # another name of the accelerator
    memory_mib: float | None = None


@dataclass(frozen=True)
class Meant:
    """The cards (keys) that a row can mean, or why it means none; system: the listed machine that it is."""

    gpus: tuple[str, ...]
    system: str = ""
    why: str = ""


def meaning(named: Named, catalogue: Catalogue) -> Meant:
    """The card of a row: a listed machine's, else those of its names that fit the form and the memory it tells."""
    cards = catalogue.candidates("gpus", named.name) or (catalogue.candidates("gpus", named.also) if named.also else [])
    system = _listed(named, catalogue)
    if system:
        card = catalogue.system_spec(system).gpu
        return Meant((card,), system) if not cards or card in cards else Meant((), why=f"{system} holds another card")
    if not cards:
        return Meant((), why="no such card")
    fitting = [key for key in cards if _has_memory(key, named, catalogue)]
    if not fitting:
        return Meant((), why="a card of this name has another memory")
    words = re.findall(r"[a-z]+", f"{named.name} {named.also} {named.instance}".lower())
    told = next((form for form in _FORMS if form in words), None)
    formed = [key for key in fitting if told in (None, _form(key, catalogue))]
    return Meant(tuple(formed), why="" if formed else "a card of this name has another form")


def _listed(named: Named, catalogue: Catalogue) -> str:
    """The key of the one listed cloud system that has the row's instance and count: "aws-p4d.24xlarge"."""
    wanted = re.sub(r"^standard_", "", named.instance.lower())
    keys = [key for key in catalogue.names("systems") if wanted and key.partition("-")[2] == wanted]
    specs = {key: catalogue.system_spec(key) for key in keys}
    found = [key for key, spec in specs.items() if spec.kind == "cloud" and spec.gpus_per_node == named.gpus]
    return found[0] if len(found) == 1 else ""


def _has_memory(key: str, named: Named, catalogue: Catalogue) -> bool:
    """Whether the memory that the row tells can be this card's: in MiB or GiB, of one card or of all."""
    if named.memory_mib is None:
        return True
    own = catalogue.gpu_spec(key).memory_gib * 1024
    readings = (named.memory_mib * unit / count for unit in (1, 1024) for count in (1, named.gpus))
    return any(abs(reading / own - 1.0) <= MEMORY_TOLERANCE for reading in readings)


def _form(key: str, catalogue: Catalogue) -> str:
    form = catalogue.gpu_spec(key).form_factor.lower()
    return next((known for known in _FORMS if known in key or known in form), "pcie")
