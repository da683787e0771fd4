"""The spec folders' files by name, and what is known of cards' software, which needs no formula's records."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from perfsim import paths
from perfsim.core.support import Support
from perfsim.errors import InputError, UnknownNameError
from perfsim.inputs.explain import nearest
from perfsim.inputs.files import NAME, load, problem, read_toml
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.names import matching
from perfsim.inputs.support import SupportSpec, to_support
from perfsim.units import printable

KINDS = ("gpus", "systems", "models", "software", "support")
T = TypeVar("T")


class Shelf:
    """The specs of some folders; of two files with the same name, the one in the earlier folder counts."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._tables: dict[str, dict[str, Path]] = {}
        self._loaded: dict[tuple[str, str], Any] = {}

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
        loaded = (("gpus" if kind == "verdict" else kind, key) for kind, key in self._loaded)
        used = {self._table(kind)[key] for kind, key in loaded if kind in KINDS and key in self._table(kind)}
        shared = {
            path
            for name in ("cards", "kernels", "collectives", "links", "power", "shared", "runs")
            for path in self._calibration_files(name)
        }
        return sorted(path for path in used | shared if not path.is_relative_to(own))

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

    def gpu_spec(self, key: str) -> GpuSpec:
        """The card's file as it is written."""
        return self._once("gpu file", key, lambda: load(self.path("gpus", key), GpuSpec))

    def support(self, name: str) -> Support:
        """What is known of the software of the card that a name means.

        Raises: UnknownNameError, InputError.
        """
        key = self.find("gpus", name)
        return self._once("verdict", key, lambda: self.support_of(key, self.gpu_spec(key)))

    def support_of(self, key: str, spec: GpuSpec) -> Support:
        """What is known of the software of a card from its file's values."""
        return to_support(key, spec, {name: self.support_spec(name) for name in self.names("support")})

    def support_spec(self, key: str) -> SupportSpec:
        """The file about a library, a format or a driver."""
        return self._once("support", key, lambda: load(self.path("support", key), SupportSpec))

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
