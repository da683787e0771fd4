"""The schema of transformers in specs/models: name, shape, towers and the count that others published."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from perfsim.core.model import Model
from perfsim.inputs.architecture import ArchitectureSpec, Problem, TowerSpec
from perfsim.inputs.convnet import CONVOLUTIONAL_KINDS, ConvnetSpec
from perfsim.inputs.files import Line, Name, Sourced, Texts, check, read_toml
from perfsim.inputs.published import Published


class ModelSpec(Sourced, ArchitectureSpec):
    """One file of specs/models: a transformer.

    towers: other models that every sample goes through besides; explain says why the count differs from the published
    one.
    """

    name: Line
    family: Line
    aliases: Texts = ()
    towers: Annotated[dict[Name, TowerSpec], Field(max_length=4)] = Field(default_factory=dict)
    explain: Line | None = None
    published: Published | None = None

    def problems(self) -> Iterator[Problem]:
        """Those of the shape and of each tower."""
        yield from super().problems()
        for name, tower in self.towers.items():
            for loc, what, todo in tower.problems():
                yield ("towers", name, *loc), what, todo
        if any(tower.role == "contrast" for tower in self.towers.values()) and not self.projection:
            yield ("projection",), "is missing: what the model is compared by with its tower", "add [[projection]]"

    def model(self, key: str) -> Model:
        """The core record of this file, under the name `key`."""
        towers = tuple(tower.tower(name) for name, tower in self.towers.items())
        return replace(self.architecture(key, self.name), towers=towers)


def load_model(path: Path) -> Model:
    """The model in a TOML file of specs/models, its key being the file's stem.

    Raises: InputError that lists every problem of the file.
    """
    return model_spec(path).model(path.stem)


def model_spec(path: Path) -> ModelSpec | ConvnetSpec:
    """The checked file of a model, a transformer or, as its kind says, a convolutional one.

    Raises: InputError that lists every problem of the file.
    """
    document = read_toml(path)
    is_convolutional = document.data.get("kind") in CONVOLUTIONAL_KINDS
    return check(document, ConvnetSpec) if is_convolutional else check(document, ModelSpec)
