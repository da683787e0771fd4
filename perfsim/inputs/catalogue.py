"""Everything in the spec folders by name. Listing reads folder names only; a file is read when it is asked for."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from perfsim import paths
from perfsim.core.calibration import Calibration
from perfsim.core.hardware import Gpu, System
from perfsim.core.model import Model
from perfsim.core.offers import Offer
from perfsim.core.software import Software
from perfsim.core.spreads import Spreads
from perfsim.core.support import Support
from perfsim.errors import InputError, UnknownNameError, UnsupportedError
from perfsim.inputs.calibration import CalibrationSpec, CardRules, Rule, card_calibration, to_calibration
from perfsim.inputs.collectives import CollectivesSpec, Presets
from perfsim.inputs.explain import nearest
from perfsim.inputs.files import NAME, Sourced, load, problem, raise_problems, read_toml
from perfsim.inputs.gpu import GpuSpec, to_gpu
from perfsim.inputs.names import matching
from perfsim.inputs.power import PowerRules
from perfsim.inputs.run_numbers import SoftwareNumbers, read_run_numbers, spec_with_numbers, with_numbers
from perfsim.inputs.software import SoftwareSpec, to_software
from perfsim.inputs.support import SupportSpec, to_support
from perfsim.inputs.system import SystemSpec, box_spec, load_system, offer_of, to_system
from perfsim.units import printable

KINDS = ("gpus", "systems", "models", "software", "support")
MAX_BOX_GPUS = 8
T = TypeVar("T")


class Catalogue:
    """The specs of some folders; of two files with the same name, the one in the earlier folder counts."""

    def __init__(self, folders: Sequence[Path], has_runs: bool = True) -> None:
        self._folders, self._has_runs = tuple(folders), has_runs
        self._tables: dict[str, dict[str, Path]] = {}
        self._loaded: dict[tuple[str, str], Any] = {}

    def before_runs(self) -> "Catalogue":
        """The same folders as they are without what whole runs were fitted to say."""
        return Catalogue(self._folders, has_runs=False)

    def names(self, kind: str) -> list[str]:
        """The keys of a kind, one of KINDS."""
        return list(self._table(kind))

    def path(self, kind: str, key: str) -> Path:
        """The file of a key.

        Raises: UnknownNameError; InputError for a link that leads out of its folder.
        """
        if key not in self._table(kind):
            raise self._unknown(kind, key)
        path = self._table(kind)[key]
        is_own = path.is_relative_to(paths.builtin("specs"))
        if not is_own and not path.resolve().is_relative_to(path.parent.resolve()):
            raise InputError(problem(path, None, "is a link out of its folder", "copy the file there"))
        return path

    def overrides(self) -> list[Path]:
        """The files that were used so far and are not perfsim's own: an answer must name them."""
        own = paths.builtin("specs")
        used = {self._table(kind)[key] for kind, key in self._loaded if kind in KINDS and key in self._table(kind)}
        shared = {
            path
            for name in ("cards", "kernels", "collectives", "links", "power", "shared", "runs")
            for path in self._calibration_files(name)
        }
        tables = set(shipped_tables(self._folders) if "offers" in vars(self) else ())
        return sorted(path for path in used | shared | tables if not path.is_relative_to(own))

    def candidates(self, kind: str, name: str) -> list[str]:
        """The keys that a person's name can mean; a file's own name or alias decides between several."""
        table = self._table(kind)
        if name in table:
            return [name]
        meant = matching(name, table) if kind == "gpus" else []
        return meant if len(meant) == 1 else self._by_alias(kind, name) or meant

    def find(self, kind: str, name: str) -> str:
        """The key that a person's name means.

        Raises: UnknownNameError with the candidates when it is ambiguous, with the nearest names when unknown.
        """
        candidates = self.candidates(kind, name)
        if len(candidates) > 1:
            listed = ", ".join(sorted(candidates))
            raise UnknownNameError(f"{printable(name)}: can mean {listed}; write one of these")
        if not candidates:
            raise self._unknown(kind, name)
        return candidates[0]

    def nearest(self, name: str, kinds: Sequence[str] = KINDS) -> list[str]:
        """The three keys whose own names or aliases look most like a name."""
        known = {title: key for kind in kinds for key in self.names(kind) for title in self._aliases(kind, key)}
        known |= {key: key for kind in kinds for key in self.names(kind)}
        return list(dict.fromkeys(known[title] for title in nearest(_plain(name), list(known), 6, 0.45)))[:3]

    def gpu(self, name: str) -> Gpu:
        """The card that a name means, e.g. "RTX 4090" or "a100 sxm 80gb".

        Raises: UnknownNameError, InputError.
        """
        return self._gpu(self.find("gpus", name))

    def gpu_spec(self, key: str) -> GpuSpec:
        """The card's file as it is written."""
        return self._once("gpu file", key, lambda: load(self.path("gpus", key), GpuSpec))

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

    def support(self, name: str) -> Support:
        """What is known of the software of the card that a name means.

        Raises: UnknownNameError, InputError.
        """
        key = self.find("gpus", name)
        return self._support(key, self.gpu_spec(key))

    def _support(self, key: str, spec: GpuSpec) -> Support:
        return to_support(key, spec, {name: self.support_spec(name) for name in self.names("support")})

    def support_spec(self, key: str) -> SupportSpec:
        """The file about a library, a format or a driver."""
        return self._once("support", key, lambda: load(self.path("support", key), SupportSpec))

    def gpu_of(self, key: str, spec: GpuSpec) -> Gpu:
        """A card from its file's values, with what the rules say about it."""
        power = self.power_rules
        rules = card_calibration(key, spec, self.rules)
        return to_gpu(key, spec, rules, power.card(key, spec), power.server_watts(spec), self._support(key, spec))

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

    def _calibration_files(self, name: str) -> list[Path]:
        files = (folder / "calibration" / f"{name}.toml" for folder in self._folders)
        return [path for path in files if path.is_file()]

    def _table(self, kind: str) -> dict[str, Path]:
        """The files of a kind by key. Names are only looked up in here, never joined to a path."""
        if kind not in self._tables:
            found: dict[str, Path] = {}
            for folder in self._folders:
                for path in sorted((folder / kind).glob("*.toml")):
                    if re.match(NAME, path.stem):
                        found.setdefault(path.stem, path)
            self._tables[kind] = dict(sorted(found.items()))
        return self._tables[kind]

    def _by_alias(self, kind: str, name: str) -> list[str]:
        """Keys of the files whose `name` or `aliases` say `name`, in any case."""
        wanted = _plain(name)
        return [key for key in self._table(kind) if wanted in self._aliases(kind, key)]

    def _aliases(self, kind: str, key: str) -> frozenset[str]:
        path = self._table(kind)[key]
        return self._once(f"{kind} aliases", key, lambda: frozenset(map(_plain, _titles(path))))

    def _once(self, kind: str, key: str, build: Callable[[], T]) -> T:
        if (kind, key) not in self._loaded:
            self._loaded[kind, key] = build()
        value: T = self._loaded[kind, key]
        return value

    def _unknown(self, kind: str, name: str) -> UnknownNameError:
        close = self.nearest(name, (kind,))
        nearby = f"; nearest: {', '.join(close)}" if close else ""
        return UnknownNameError(
            f"{printable(name[:100])}: not among the {kind}{nearby}; `perfsim specs list {kind}` shows all"
        )


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


def _titles(path: Path) -> Iterator[str]:
    """The name and aliases that a file gives itself; nothing for a broken file, whose errors show when it is used."""
    try:
        data = read_toml(path).data
    except InputError:
        return
    aliases = data.get("aliases")
    titles = [data.get("name"), *(aliases if isinstance(aliases, list) else [])]
    yield from (title for title in titles if isinstance(title, str))


def _plain(name: str) -> str:
    """A name without case and without the marks people write in different ways."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())
