"""Where spec and scenario files are found: folders that the user names, then the ones that come with perfsim.

The working folder is never searched: a file that happens to lie there must not change an answer.
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from perfsim.errors import InputError, UnknownNameError
from perfsim.units import printable

VARIABLE = "PERFSIM_PATH"


def builtin(kind: str) -> Path:
    """The folder of perfsim's own `kind`, "specs" or "scenarios".

    An installed perfsim has them as perfsim/_specs and perfsim/_scenarios; a checkout has its own specs/ and
    scenarios/, where an edit counts at once.
    """
    package = Path(__file__).resolve().parent
    installed = package / f"_{kind}"
    return installed if installed.is_dir() else package.parent / kind


def spec_folders(extra: Sequence[Path] = ()) -> list[Path]:
    """Folders that hold gpus/, systems/, models/ ..., first wins: `extra`, those of $PERFSIM_PATH, perfsim's own.

    Raises: InputError when one of them is no folder.
    """
    named = [Path(folder) for folder in extra]
    for folder in named:
        if not folder.is_dir():
            raise InputError(f"{printable(str(folder))}: no such folder of specs; check the path given to --specs")
    return [*named, *_from_variable("specs"), builtin("specs")]


def scenario_folders() -> list[Path]:
    """Folders of scenarios that a bare name is looked up in: those of $PERFSIM_PATH, then perfsim's own."""
    return [*_from_variable("scenarios"), builtin("scenarios")]


def find_scenario(name: str | Path) -> Path:
    """The scenario file at the path `name`, or the one of that bare name ("bert", "scenarios/bert.toml").

    Raises: UnknownNameError with the nearest names.
    """
    if os.path.isfile(name):  # false, where Path.is_file raises, for names that no path can have
        return Path(name)
    stem = str(name).replace("\\", "/").removeprefix("scenarios/").removesuffix(".toml")
    known: dict[str, Path] = {}
    for folder in scenario_folders():
        for file in sorted(folder.glob("*.toml")):
            known.setdefault(file.stem, file)
    if stem in known:
        return known[stem]
    close = difflib.get_close_matches(stem, known, n=3, cutoff=0.5) or sorted(known)
    raise UnknownNameError(
        f"{printable(str(name)[:200])}: no such scenario file; give the path of a file"
        + (f" or one of perfsim's own: {', '.join(printable(c) for c in close)}" if close else "")
    )


def _from_variable(kind: str) -> list[Path]:
    """The `kind` folders of $PERFSIM_PATH: each entry's subfolder of that name, else (specs) the entry itself."""
    folders = []
    for entry in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        folder = Path(entry)
        if not folder.is_dir():
            raise InputError(f"{VARIABLE}: {printable(entry)}: no such folder; correct or unset {VARIABLE}")
        if (folder / kind).is_dir():
            folders.append(folder / kind)
        elif kind == "specs":
            folders.append(folder)
    return folders
