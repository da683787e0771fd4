"""What spec files may hold that would hang, crash or fool a reader: refused in words, quickly."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perfsim import paths
from perfsim.errors import InputError, UnknownNameError
from perfsim.inputs.catalogue import Catalogue
from perfsim.inputs.files import load, read_json, read_toml
from perfsim.inputs.gpu import GpuSpec, PeakTflops

CARD = (paths.builtin("specs") / "gpus" / "rtx-4090.toml").read_text()


def changed(old: str, new: str) -> bytes:
    assert old in CARD
    return CARD.replace(old, new, 1).encode()


BAD: dict[str, tuple[bytes, str]] = {
    "larger than the limit": (b"#" * (2**20 + 1), "larger than"),
    "50 MB": (b"a = 1\n" * 8_000_000, "larger than"),
    "a key of 20,000 parts": (b".".join([b"a"] * 20_000) + b" = 1", ":1: a key of more than 16 parts; shorten it"),
    "a spaced key of many parts": (b" . ".join([b'"a"'] * 200) + b" = 1", ":1: a key of more than 16 parts"),
    "deep brackets": (b"a = " + b"[" * 65 + b"]" * 65, ":1: brackets nested more than 64 deep; flatten them"),
    "100,000 deep brackets": (b"a = " + b"[" * 100_000 + b"]" * 100_000, ":1: brackets nested more than 64 deep"),
    "a long number": (b"a = 1\nb = " + b"9" * 401, ":2: a number of 401 characters; write at most 400"),
    "a hex number of 200,000 digits": (b"a = 0x" + b"f" * 200_000, ":1: a number of 200,002 characters"),
    "nan": (changed("= 24\n", "= nan\n"), ":11: memory_gib: nan is not a finite number; write a plain number"),
    "inf": (changed("= 24\n", "= -inf\n"), ":11: memory_gib: -inf is not a finite number"),
    "1e999": (changed("= 24\n", "= 1e999\n"), ":11: memory_gib: inf is not a finite number"),
    "10^30": (changed("= 24\n", f"= {10**30}\n"), ":11: memory_gib: the number is beyond 64 bits; write a smaller"),
    "10^30 as a float": (
        changed("= 24\n", "= 1e30\n"),
        ":11: memory_gib: 1e+30 is not allowed; write a number",
    ),
    "zero": (changed("= 24\n", "= 0\n"), ":11: memory_gib: 0 is not allowed; write a number of at least 1"),
    "negative": (changed("= 24\n", "= -24\n"), ":11: memory_gib: -24 is not allowed"),
    "text": (
        changed("= 24\n", '= "24 GiB"\n'),
        ":11: memory_gib: expected a number, got '24 GiB'; write a plain",
    ),
    "list": (changed("= 24\n", "= [24]\n"), ":11: memory_gib: expected a number, got a list"),
    "bytes instead of GiB": (changed("= 24\n", "= 25769803776\n"), ":11: memory_gib: 25769803776 is not allowed"),
    "unknown key": (changed("memory_gib", "memory_gb"), ":11: memory_gb: no such key; did you mean memory_gib?"),
    "unknown key like none": (changed("l2_mib = 72", "l2_mib = 72\nsofa = 1"), ":11: sofa: no such key; remove it, or"),
    "duplicate key": (
        changed("l2_mib = 72", "l2_mib = 72\nl2_mib = 73"),
        ":11: not valid TOML: Cannot overwrite",
    ),
    "empty": (b"", ":1: is empty; write the keys or remove the file"),
    "only spaces": (b" \n\n", ":1: is empty"),
    "NUL": (changed("4090", "40\x0090"), ":1: holds a NUL character; save it as plain text"),
    "not UTF-8": (CARD.encode().replace(b"GeForce", b"Ge\xff"), ":1: is not UTF-8 text; save it as UTF-8"),
    "not TOML": (b"a = 1\nb = = 2\n", ":2: not valid TOML: Invalid value"),
    "an escape in a value": (changed('"ada"', '"\\u001b]0;x"'), r":3: architecture: '\x1b]0;x' is none of pascal"),
    "an escape in a key": (b'"\\u001b[31m" = 1\n' + CARD.encode(), r":1: \x1b[31m: no such key"),
}


def message(read: Callable[[Path], object], path: Path) -> str:
    start = time.process_time()
    with pytest.raises(InputError) as error:
        read(path)
    assert time.process_time() - start < 0.3
    assert error.value.__cause__ is None
    lines = str(error.value).splitlines()
    assert all(line.isprintable() and line.startswith(str(path)) for line in lines)
    return str(error.value)


@pytest.mark.parametrize("name", BAD)
def test_bad_toml(tmp_path: Path, name: str) -> None:
    content, expected = BAD[name]
    path = tmp_path / "card.toml"
    path.write_bytes(content)
    assert expected in message(lambda p: load(p, GpuSpec), path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ":1: is empty"),
        (b"[1, 2]", ":1: expected a table {...}, got a list; put the keys in one pair of braces"),
        (b'{"a": 1,\n "b": NaN}', ":2: b: nan is not a finite number"),
        (b'{"a": -1e999}', ":1: a: -inf is not a finite number"),
        (b'{"a": 1,\n"a": 2}', ":2: a: stands twice; remove one of the two"),
        (b'{"a": 1,\n"\\u0061": 2}', "stands twice"),
        (b'{"a": 1', ":1: not valid JSON: Expecting ',' delimiter (column 8); correct that line"),
        (b'{"a":' * 100_000, ":1: brackets nested more than 64 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", ":1: a number of 5,000 characters"),
        (b'{"a": "' + b"x" * 2**20 + b'"}', "larger than 1,024 KiB"),
        (b'{"a": "\xff"}', ":1: is not UTF-8 text"),
    ],
)
def test_bad_json(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert expected in message(read_json, path)


def test_an_unknown_key_is_answered_with_few_keys(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_bytes(changed("fp8 = 330.3", "fp9 = 330.3\nint64 = 1") + b'\n[sofa]\nx = "y"\n')
    lines = message(lambda p: load(p, GpuSpec), path).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert sum(key in line.split("; ")[1] for key in (*GpuSpec.model_fields, *PeakTflops.model_fields)) <= 6


def test_a_readable_folder_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "gpus" / "t9.toml").mkdir(parents=True)
    with pytest.raises(InputError, match=r"t9\.toml: is a folder; check the path"):
        Catalogue([tmp_path]).gpu_spec("t9")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text(CARD)
    path.chmod(0)
    assert "cannot be read (Permission denied); check the path and its rights" in message(read_toml, path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "no such file; check the path" in message(read_toml, tmp_path / "none.toml")
    assert "is a folder; check the path" in message(read_toml, tmp_path)
    os.mkfifo(tmp_path / "pipe.toml")
    assert "no such file" in message(read_toml, tmp_path / "pipe.toml")


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/passwd", "C:\\x", "CON", "a\0b", "\x1b[31m", "", " ", "..", "%s", "{}", "x" * 100_000, "gpus/t4"],
)
@pytest.mark.parametrize("kind", ["gpus", "systems", "models", "software"])
def test_names_are_looked_up_and_never_opened(kind: str, name: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        Catalogue([paths.builtin("specs")]).find(kind, name)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["a/" + "x" * 300, "a/b\0", "x" * 300 + ".json", "/" * 9999, "../none.toml"])
def test_paths_of_models_that_cannot_be(name: str) -> None:
    with pytest.raises(UnknownNameError):
        Catalogue([paths.builtin("specs")]).model(name)


def test_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "specs" / "gpus").mkdir(parents=True)
    (tmp_path / "secret.toml").write_text(CARD)
    (tmp_path / "specs" / "gpus" / "mine.toml").symlink_to(tmp_path / "secret.toml")
    catalogue = Catalogue([tmp_path / "specs", paths.builtin("specs")])
    with pytest.raises(InputError, match="is a link out of its folder; copy the file there"):
        catalogue.gpu("mine")


def test_files_with_other_names_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    for name in ("A B.toml", "-x.toml", ".hidden.toml", "good-1.toml", "note.txt"):
        (tmp_path / "gpus" / name).write_text(CARD)
    assert Catalogue([tmp_path]).names("gpus") == ["good-1"]
