import doctest
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from perfsim.errors import InputError
from perfsim.inputs import explain
from perfsim.inputs.files import Document, Line, Name, Sourced, Spec, Texts, check, load, read_json, read_toml
from perfsim.inputs.positions import Positions


class Engine(Spec):
    watts: Annotated[float, Field(gt=0, le=1e4)]
    cylinders: int = 1


class Car(Sourced):
    name: Line
    key: Name = "car"
    fuel: Literal["petrol", "diesel"]
    mass_kg: Annotated[float, Field(ge=1, le=1e4)]
    engine: Engine
    aliases: Texts = ()
    spares: Annotated[tuple[Engine, ...], Field(strict=False)] = ()


GOOD = """\
name = "Mini"
fuel = "petrol"
mass_kg = 600
aliases = ["small", "tiny"]

[engine]
watts = 25e3
[sources]
"*" = "a brochure"
""".replace("25e3", "2500")


def write(folder: Path, text: str, name: str = "car.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        load(write(folder, text), Car)
    return [line.removeprefix(f"{folder}/") for line in str(error.value).splitlines()]


def test_a_good_file(tmp_path: Path) -> None:
    car = load(write(tmp_path, GOOD), Car)
    assert (car.name, car.engine.watts, car.aliases) == ("Mini", 2500, ("small", "tiny"))


def test_bom_and_carriage_returns_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "car.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path, Car).mass_kg == 600


def test_all_problems_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    lines = complaint(
        tmp_path,
        'name = "x"\nmas_kg = 600\nfuel = "Diesl"\n[engine]\nwatts = -1\ncylinder = 2\n[[spares]]\nwatts = "7"\n',
    )
    assert lines == [
        "car.toml:2: mas_kg: no such key; did you mean mass_kg?",
        "car.toml:3: fuel: 'Diesl' is none of petrol, diesel; did you mean diesel?",
        "car.toml:5: engine.watts: -1 is not allowed; write a number greater than 0",
        "car.toml:6: engine.cylinder: no such key; did you mean cylinders?",
        "car.toml:8: spares[0].watts: expected a number, got '7'; write a plain number, in the unit that the key names",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("600", "600_000", "car.toml:3: mass_kg: 600000 is not allowed; write a number of at most 10,000"),
        ("600", "[600]", "car.toml:3: mass_kg: expected a number, got a list; write a plain number, in the unit"),
        ("600", "true", "car.toml:3: mass_kg: expected a number, got true; write a plain number"),
        ("600", "nan", "car.toml:3: mass_kg: nan is not a finite number; write a plain number"),
        ('"Mini"', "7", 'car.toml:1: name: expected a text, got 7; write it in quotes: "..."'),
        ('["small", "tiny"]', '"small"', "car.toml:4: aliases: expected a list, got 'small'; write it in brackets"),
        ('"tiny"', "3", "car.toml:4: aliases[1]: expected a text, got 3; write it in quotes"),
        (
            "2500",
            "2500\ncylinders = 1.5",
            "car.toml:8: engine.cylinders: expected a whole number, got 1.5; write a plain",
        ),
        ("[engine]\nwatts = 2500", "engine = 5", "car.toml:6: engine: expected a table, got 5; write it as a [table]"),
        ('fuel = "petrol"\n', "", "car.toml:1: fuel: is missing; add it"),
        ('"Mini"', '"Mini"\nkey = "../x"', "car.toml:2: key: '../x' is not a name; use small letters, digits"),
    ],
)
def test_one_problem(tmp_path: Path, old: str, new: str, line: str) -> None:
    (found,) = complaint(tmp_path, GOOD.replace(old, new, 1))
    assert found.startswith(line)


def test_every_number_needs_a_source(tmp_path: Path) -> None:
    lines = complaint(tmp_path, GOOD.replace('"*"', "mass_kg"))
    assert lines == [
        "car.toml:7: engine.watts: has no source; "
        'add a line to [sources], for this key ("engine.watts") or for all ("*")'
    ]
    assert load(write(tmp_path, GOOD.replace('"*" =', 'mass_kg = "scales"\nengine =')), Car)


def test_json_repeated_keys_are_told_with_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": 1,\n "b": {"c": 2,\n "c": 3},\n "a": 4}', "x.json")
    with pytest.raises(InputError) as error:
        read_json(path)
    assert str(error.value).splitlines() == [
        f"{path}:3: b.c: stands twice; remove one of the two",
        f"{path}:4: a: stands twice; remove one of the two",
    ]


def test_json_is_checked_by_the_same_schemas(tmp_path: Path) -> None:
    path = write(tmp_path, '{"watts": 5,\n "cylindres": 4}', "x.json")
    with pytest.raises(InputError, match=r":2: cylindres: no such key; did you mean cylinders\?"):
        check(read_json(path), Engine)


def test_lines_of_every_form_of_key(tmp_path: Path) -> None:
    text = 'a.b = 1\n"q.r" = [1,\n  2, { x = 3 }]\n[[t]]\nk = """\n[no]\n"""\n[t.in]\nz = 1\n[[t]]\nk = 2\n'
    document = read_toml(write(tmp_path, text))
    at = document.line
    assert [at(("a", "b")), at(("q.r", 1)), at(("q.r", 2, "x"))] == [1, 3, 3]
    assert [at(("t", 0, "k")), at(("t", 0, "in", "z")), at(("t", 1, "k")), at(("t", 1, "none"))] == [5, 9, 11, 10]


def test_explain_examples() -> None:
    assert doctest.testmod(explain).failed == 0


KEYS = st.text("abcdef\"'[]= ", min_size=1, max_size=6)
VALUES = st.recursive(
    st.integers(-5, 5) | st.text('ab[]{}#",=\n', max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_positions_know_every_plain_key_of_a_json_text(data: dict[str, object]) -> None:
    import json

    from perfsim.inputs.files import walk

    positions = Positions(json.dumps(data, indent=1), is_json=True)
    assert not positions.repeated
    for loc, _ in walk(data):
        if not any('"' in part for part in loc if isinstance(part, str)):
            assert loc in positions.lines


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "x.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        document = read_toml(path)
    except InputError as error:
        assert all(line.isprintable() for line in str(error).splitlines())
    else:
        assert isinstance(document, Document)
        for loc in [(key,) for key in document.data]:
            assert document.line(loc) >= 1
