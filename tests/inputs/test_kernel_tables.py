"""Tables of measured kernels: what people write is read, and what is wrong with it comes all at once."""

from pathlib import Path

import pytest

import perfsim as ps
from perfsim.errors import InputError
from perfsim.inputs.kernel_tables import builtin_tables, read_kernels

PRODUCTS = "gpu,dtype,batch,m,n,k,time_us,mode,error\n"
ROW = "RTX 4090,bf16,1,{m},1024,1024,12.5,,\n"
MANY = PRODUCTS + "".join(ROW.format(m=m) for m in range(256, 276))


def read(tmp_path: Path, text: str):
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return read_kernels([path], ps.catalogue())


def test_the_shipped_tables_are_read() -> None:
    found = read_kernels(builtin_tables(), ps.catalogue())
    assert set(found.kinds()) == {"products", "streams", "attention"}
    assert found.left_out == 0
    assert len(found.gpus(ps.catalogue())) >= 15


def test_names_of_cards_are_understood_and_units_are_si(tmp_path: Path) -> None:
    found = read(tmp_path, MANY).products
    assert set(found.gpu.tolist()) == {"rtx-4090"}
    assert found.seconds[0] == pytest.approx(12.5e-6)
    assert found.source[0] == "mine.csv"


def test_rows_of_no_use_are_counted(tmp_path: Path) -> None:
    more = "".join(
        f"RTX 4090,{row}\n" for row in ("bf16,1,64,64,64,9,sustained,", "fp8,1,64,64,64,9,,", "bf16,1,64,64,64,9,,oom")
    )
    found = read(tmp_path, MANY + more)
    assert (len(found.products), found.left_out) == (20, 3)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("gpu,dtype,time_us\nRTX 4090,bf16,1\n", "mine.csv:1: holds no kind of kernel"),
        (MANY + "RTX 9090,bf16,1,64,64,64,9,,\n", "mine.csv:22: gpu: RTX 9090: not among the gpus"),
        (MANY + "RTX 4090,bf16,1,64,64,64,-9,,\n", "mine.csv:22: time_us: -9; write a number from 0.001"),
        (MANY + "RTX 4090,bf16,1,64,x,64,9,,\n", "mine.csv:22: n: x; write a number from 1"),
        (MANY + "RTX 4090,bf16,1,64,64,,9,,\n", "mine.csv:22: k: empty"),
        (PRODUCTS + ROW.format(m=64), "rtx-4090: 1 rows of products are too few to fit"),
        (PRODUCTS + "RTX 4090,fp8,1,64,64,64,9,,\n", "no row that can be used"),
        ("gpu,dtype,m,n,k,time_us,colour\n", "colour: no such column"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert expected in str(error.value)


def test_two_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, MANY + "RTX 4090,bf16,1,64,x,64,9,,\nRTX 4090,bf16,1,64,64,64,nan,,\n")
    assert len(str(error.value).splitlines()) == 2
