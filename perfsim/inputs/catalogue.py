"""Everything in the spec folders by name. Listing reads folder names only; a file is read when it is asked for."""

import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

from perfsim import paths
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu, System
from perfsim.core.model import Model
from perfsim.core.offers import Offer
from perfsim.core.software import Software
from perfsim.core.spreads import Spreads
from perfsim.errors import InputError, UnsupportedError
from perfsim.inputs.calibration import CalibrationSpec, CardRules, Rule, card_calibration, to_calibration
from perfsim.inputs.collectives import CollectivesSpec, Presets
from perfsim.inputs.files import Sourced, load, problem, raise_problems, read_toml
from perfsim.inputs.gpu import GpuSpec, to_gpu
from perfsim.inputs.power import PowerRules
from perfsim.inputs.run_numbers import SoftwareNumbers, read_run_numbers, spec_with_numbers, with_numbers
from perfsim.inputs.shelf import Shelf
from perfsim.inputs.software import SoftwareSpec, to_software
from perfsim.inputs.system import SystemSpec, box_spec, load_system, offer_of, to_system

MAX_BOX_GPUS = 8


class Catalogue(Shelf):
    """The specs of some folders as the records that formulas take."""

    def __init__(self, folders: Sequence[Path], has_runs: bool = True) -> None:
        super().__init__(folders)
        self._has_runs = has_runs

    def before_runs(self) -> "Catalogue":
        """The same folders as they are without what whole runs were fitted to say."""
        return Catalogue(self._folders, has_runs=False)

    def overrides(self) -> list[Path]:
        """The files that were used so far and are not perfsim's own, price tables among them."""
        own = paths.builtin("specs")
        tables = shipped_tables(self._folders) if "offers" in vars(self) else []
        return sorted({*super().overrides(), *(path for path in tables if not path.is_relative_to(own))})

    def gpu(self, name: str) -> Gpu:
        """The card that a name means, e.g. "RTX 4090" or "a100 sxm 80gb".

        Raises: UnknownNameError, InputError.
        """
        return self._gpu(self.find("gpus", name))

    def system(self, name: str) -> System:
        """The listed system that a name means.

        Raises: UnknownNameError, InputError.
        """
        key = self.find("systems", name)
        return self._once("systems", key, lambda: self._system(key, self.system_spec(key)))

    def system_spec(self, key: str) -> SystemSpec:
        """The system's file as it is written; of a `box` that was built, what was assumed."""
        return self._once("system file", key, lambda: load_system(self.path("systems", key), self._table("gpus")))

    def systems_with(self, gpu_key: str) -> list[str]:
        """Keys of the listed systems that hold this card."""
        return [key for key in self.names("systems") if self.system_spec(key).gpu == gpu_key]

    def templates(self, gpu_key: str) -> list[System]:
        """The listed nodes and machines with this card that are nobody's offer: all but the cloud's."""
        return [self.system(key) for key in self.systems_with(gpu_key) if self.system_spec(key).kind != "cloud"]

    def box(self, gpu: str | Gpu, count: int) -> System:
        """A plain machine with `count` cards [1..8] of a kind, for cards that no listed system has.

        Raises: UnsupportedError beyond 8 cards.
        """
        key = gpu.key if isinstance(gpu, Gpu) else self.find("gpus", gpu)
        if not 1 <= count <= MAX_BOX_GPUS:
            raise UnsupportedError(
                f"{count} GPUs in one machine; a plain machine holds 1 to {MAX_BOX_GPUS}: name a system instead"
            )
        box_key = f"box-{count}x-{key}"
        spec = self._once("system file", box_key, lambda: box_spec(key, self.gpu_spec(key), count))
        return self._once("box", box_key, lambda: self._system(box_key, spec))

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        """What the listed systems and the price tables of the spec folders (prices/*.csv) cost.

        Raises: InputError with the problems of a table.
        """
        from perfsim.inputs.price_tables import read_prices

        listed = [offer_of(key, self.system_spec(key)) for key in self.names("systems")]
        own = paths.builtin("specs")
        tables = shipped_tables(self._folders)
        told = (read_prices(path, self, is_shipped=path.is_relative_to(own)).offers for path in tables)
        return (*filter(None, listed), *chain.from_iterable(told))

    def is_cloud(self, system_key: str) -> bool:
        """Whether a system is a cloud's instance, which nobody else rents out."""
        return system_key in self._table("systems") and self.system_spec(system_key).kind == "cloud"

    def model(self, name: str | Path) -> Model:
        """The model that a name means, or the one in a file: a spec (.toml), a Hugging Face config.json or its folder.

        Raises: UnknownNameError, InputError.
        """
        from perfsim.inputs.huggingface import model_from_config
        from perfsim.inputs.model import load_model

        if isinstance(name, str):
            known = self.candidates("models", name)
            is_path = "/" in name or "\\" in name or name.endswith((".json", ".toml"))
            if known or not is_path or not os.path.exists(name):
                key = self.find("models", name)
                return self._once("models", key, lambda: load_model(self.path("models", key)))
        path = Path(name)
        return load_model(path) if path.suffix == ".toml" else model_from_config(path)

    def software(self, name: str) -> Software:
        """The software entry of a key.

        Raises: UnknownNameError, InputError.
        """
        key = self.find("software", name)
        return self._once("software", key, lambda: self._software(key))

    def _software(self, key: str) -> Software:
        return with_numbers(to_software(key, read_toml(self.path("software", key))), self.fitted_numbers(key))

    def software_spec(self, key: str) -> Sourced:
        """The software's file with the basis of each number; what runs were fitted to say stands in for its own."""
        return self._once("software file", key, lambda: self._software_spec(key))

    def _software_spec(self, key: str) -> Sourced:
        return spec_with_numbers(load(self.path("software", key), SoftwareSpec), self.fitted_numbers(key))

    def fitted_numbers(self, key: str) -> SoftwareNumbers | None:
        """What whole runs were fitted to say of a software, in place of its file; None where they say nothing."""
        return self._run_numbers[1].get(key)

    @property
    def spreads(self) -> Spreads:
        """How well numbers are known, as whole runs show."""
        return self._run_numbers[0]

    @cached_property
    def _run_numbers(self) -> tuple[Spreads, dict[str, SoftwareNumbers]]:
        files = self._calibration_files("runs") if self._has_runs else []
        return read_run_numbers([read_toml(path) for path in files])

    def calibration(self) -> Calibration:
        """The measured numbers that all cards share."""
        return self._once(
            "calibration", "shared", lambda: to_calibration(self._shared("shared"), self.power_rules.to_control())
        )

    def calibration_spec(self) -> Sourced:
        """The file of those numbers as it is written, with the basis and the source of each."""
        return self._once("calibration file", "shared", lambda: load(self._shared("shared"), CalibrationSpec))

    @cached_property
    def collectives(self) -> Presets:
        """What NCCL reaches on links, networks and measured machines."""
        return Presets([load(path, CollectivesSpec) for path in self._collective_files()])

    def _collective_files(self) -> list[Path]:
        """The earlier folder first, in each what was fitted before the rules."""
        files = (
            folder / "calibration" / f"{kind}.toml" for folder in self._folders for kind in ("collectives", "links")
        )
        return [path for path in files if path.is_file()]

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """What cards reach of their datasheets: the earlier folder first, in each the fitted cards before classes."""
        kinds = ("kernels", "cards")
        files = [folder / "calibration" / f"{kind}.toml" for folder in self._folders for kind in kinds]
        return tuple(rule for path in files if path.is_file() for rule in load(path, CardRules).rule)

    @cached_property
    def power_rules(self) -> PowerRules:
        """What boards draw."""
        return load(self._shared("power"), PowerRules)

    def gpu_of(self, key: str, spec: GpuSpec) -> Gpu:
        """A card from its file's values, with what the rules say about it."""
        power = self.power_rules
        rules = card_calibration(key, spec, self.rules)
        return to_gpu(key, spec, rules, power.card(key, spec), power.server_watts(spec), self.support_of(key, spec))

    def _gpu(self, key: str) -> Gpu:
        return self._once("gpus", key, lambda: self.gpu_of(key, self.gpu_spec(key)))

    def _system(self, key: str, spec: SystemSpec) -> System:
        if spec.collectives and spec.collectives not in self.collectives:
            what = f"{spec.collectives} is no preset of the folders in use"
            todo = self.collectives.nearest(spec.collectives)
            raise_problems(read_toml(self.path("systems", key)), [(("collectives",), what, todo)])
        return to_system(key, spec, self._gpu(spec.gpu), self.gpu_spec(spec.gpu), self.collectives)

    def _shared(self, name: str) -> Path:
        files = self._calibration_files(name)
        if not files:
            raise InputError(f"calibration/{name}.toml: in none of the spec folders; reinstall perfsim")
        return files[0]


def shipped_tables(folders: Sequence[Path]) -> list[Path]:
    """The files prices/*.csv of spec folders, the earlier folder first; of one name the first counts.

    Raises: InputError for a link that leads out of its folder.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / "prices").glob("*.csv")):
            if not path.resolve().is_relative_to(path.parent.resolve()):
                raise InputError(problem(path, None, "is a link out of its folder", "copy the file there"))
            found.setdefault(path.name, path)
    return list(found.values())


def catalogue(extra_folders: Sequence[Path] = ()) -> Catalogue:
    """The catalogue of the user's folders (`extra_folders`, then $PERFSIM_PATH) and perfsim's own; one a process."""
    return _catalogue(tuple(paths.spec_folders(extra_folders)))


@lru_cache(maxsize=8)
def _catalogue(folders: tuple[Path, ...]) -> Catalogue:
    return Catalogue(folders)
