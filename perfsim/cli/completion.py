"""What a shell offers after the tab key: names of cards, systems, models, software and scenarios."""

import re
from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from perfsim import paths
from perfsim.errors import InputError

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_COUNT = re.compile(r"\d{1,7}\s*[xX]\s*")  # before a card: how many


def names(*kinds: str, has_files: bool = False) -> Complete:
    """Completes names of `kinds` (gpus, systems, models, software, scenarios); with has_files those of files too."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = _COUNT.match(incomplete) if "gpus" in kinds else None
        count = found[0] if found else ""
        start = incomplete.removeprefix(count).lower()
        extra = context.find_root().params.get("folders") or ()
        known = sorted({name for kind in kinds for name in _stems(kind, extra)})
        items = [CompletionItem(count + name) for name in known if name.startswith(start)]
        return items or ([CompletionItem(incomplete, type="file")] if has_files else [])

    return complete


def _stems(kind: str, extra: tuple[Path, ...]) -> set[str]:
    """The names of a kind's files; none where a folder is not there, which the command itself will tell."""
    try:
        if kind == "scenarios":
            folders = paths.scenario_folders()
        else:
            folders = [folder / kind for folder in paths.spec_folders(extra)]
    except InputError:
        return set()
    return {file.stem for folder in folders for file in folder.glob("*.toml") if file.stem.isprintable()}
