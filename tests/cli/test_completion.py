"""The tab key: commands, options, and the names that specs and scenarios have."""

from pathlib import Path

import pytest
from click.shell_completion import BashComplete, ShellComplete

from perfsim.cli.main import COMMANDS, main


def offered(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    *before, incomplete = words
    shell = ShellComplete(main, {}, "perfsim", "_PERFSIM_COMPLETE")
    return [item.value for item in shell.get_completions(list(before), incomplete)]


def test_commands_and_options() -> None:
    assert offered("") == list(COMMANDS)
    assert offered("s") == [name for name in COMMANDS if name.startswith("s")]
    assert "--scaling" in offered("sweep", "bert", "--s")
    assert set(offered("estimate", "--schedule", "")) == {"gpipe", "1f1b", "zb-h1", "zb-v", "dualpipe"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("estimate", "--gpu", "rtx-40"), "rtx-4090"),
        (("estimate", "--gpu", "2x rtx-40"), "2x rtx-4090"),
        (("estimate", "--model", "LLAMA3-8"), "llama3-8b"),
        (("estimate", "--system", "dgx-h"), "dgx-h100"),
        (("trace", "--software", "megatron-c"), "megatron-core"),
        (("sweep", "ber"), "bert"),
        (("roofline", "a3"), "a30"),
        (("roofline", "a30", "gpt2-x"), "gpt2-xl"),
        (("specs", "show", "rtx-3090"), "rtx-3090"),
        (("graph", "bert-l"), "bert-large-uncased"),
    ],
)
def test_names(words: tuple[str, ...], name: str) -> None:
    assert name in offered(*words)


def test_own_specs_are_offered_and_files_where_no_name_fits(tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / "rtx-mine.toml").write_text("", encoding="utf-8")
    assert offered("--specs", str(tmp_path), "estimate", "--gpu", "rtx-m") == ["rtx-mine"]
    shell = BashComplete(main, {}, "perfsim", "_PERFSIM_COMPLETE")
    (item,) = shell.get_completions(["sweep"], "./my-scen")
    assert (item.value, item.type) == ("./my-scen", "file")


def test_a_folder_that_is_not_there_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFSIM_PATH", "/no/such/folder")
    assert offered("estimate", "--gpu", "rtx") == []
