"""Price tables: one's own, SkyPilot's, gpuhunt's; what they give, what they do not, and rows that no one can mean."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim import paths
from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.price_tables import read_prices
from perfsim.inputs.prices import with_prices
from perfsim.report.prices import offer_rows, unused_lines

SHIPPED = paths.builtin("specs") / "prices" / "clouds.csv"
SKYPILOT = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"
)
GPUHUNT = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot"
OWN = "card,system,gpus,kind,usd,date,source"


def row(instance: str, name: str, gpus: str, info: str = "", usd: str = "1.5", spot: str = "") -> str:
    """A row of SkyPilot's; info: "its name, MiB" or as it is."""
    told, _, mib = info.partition(", ")
    if mib:
        info = f"{{'Gpus': [{{'Name': '{told}', 'Count': 1, 'MemoryInfo': {{'SizeInMiB': {mib}}}}}]}}"
    return f'{instance},{name},{gpus},8.0,64.0,"{info}",{usd},{spot},somewhere,zone-a'


def written(folder: Path, header: str, *rows: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


@pytest.mark.parametrize(
    ("line", "means"),
    [
        (row("p4d.24xlarge", "A100", "8.0", "A100, 40960"), "a100-sxm4-40gb"),
        (row("Standard_ND96asr_v4", "A100", "8", "A100, 40960"), "a100-sxm4-40gb"),
        (row("gpu_1x_h100_pcie", "H100", "1.0", "H100, 81920"), "h100-pcie-80gb"),
        (row("gpu_2x_h100_sxm5", "H100", "2.0", "H100, 81920"), "h100-sxm5-80gb"),
        (row("1x-H100_NVL-32-65536", "H100", "1", "H100, 95830"), "h100-nvl-94gb"),
        (row("4x-A100_SXM4-32-65536", "A100", "4", "A100, 163840"), "a100-sxm4-40gb"),
        (row("2x_A100-80GB_SECURE", "A100-80GB", "2.0", "A100 PCIe, 80"), "a100-pcie-80gb"),
        (row("1x_H100-80GB-HBM3_COMMUNITY", "H100-80GB-HBM3", "1.0", "H100_80GB_SXM5"), "h100-sxm5-80gb"),
        (row("gpu_1x_rtx6000", "RTX6000", "1.0", "RTX6000, 24576"), "quadro-rtx-6000"),
        (row("2x-RTX_4090-32-65536", "RTX4090", "2", "RTX4090, 49128"), "rtx-4090"),
        (row("g6.12xlarge", "L4", "4.0", "L4, 22888"), "l4"),
    ],
)
def test_names_of_catalogues_that_tell_the_card(line: str, means: str, specs: Catalogue, tmp_path: Path) -> None:
    table = read_prices(written(tmp_path, SKYPILOT, line), specs)
    assert {offer.gpu for offer in table.offers} == {means}
    assert {offer.place for offer in table.offers} == {"zone-a"}
    assert not (table.unknown or table.unclear or table.unused)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (row("1H100.80S.32V", "H100", "1", "H100, 81920"), "several cards: H100 (h100-pcie-80gb, h100-sxm5-80gb): 1"),
        (row("1V100.6V", "V100", "1", "V100, 16384"), "several cards: V100 (v100-pcie-16gb, v100-sxm2-16gb): 1"),
        (row("g5g.xlarge", "T4g", "1", "T4g, 16384"), "names no card: T4g: 1"),
        (row("1x-RTX_4090-32", "RTX4090", "1", "RTX4090, 49140"), "RTX4090, a card of this name has another memory: 1"),
        (row("2x-RTX_4070S_Ti-32", "RTX4070", "2", "RTX4070, 32752"), "RTX4070, a card of this name has another mem"),
        (row("8x_t4_sxm", "T4", "8"), "T4, a card of this name has another form: 1"),
        (row("p4d.24xlarge", "H100", "8"), "H100, aws-p4d.24xlarge holds another card: 1"),
        (row("", "A100", "8.0"), "accelerators without their machine, which costs extra"),
        (row("n1-highmem-8", "", ""), "without an accelerator"),
        (row("g6f.2xlarge", "L4", "0.25", "L4, 5722"), "a part of a card"),
        (row("p3.2xlarge", "V100", "1", usd="", spot="0.00"), "without a price"),
    ],
)
def test_what_a_row_does_not_tell_is_counted(line: str, told: str, specs: Catalogue, tmp_path: Path) -> None:
    table = read_prices(written(tmp_path, SKYPILOT, line), specs)
    assert table.offers == ()
    (said,) = unused_lines(table)
    assert said.startswith("1 row ") and told in said


def test_both_prices_of_a_row_and_the_cheapest_zone(specs: Catalogue, tmp_path: Path) -> None:
    rows = [f"g4dn.xlarge,T4,1.0,4,16,,0.526,{spot},us-east-1,{zone}" for spot, zone in (("0.3", "b"), ("0.2", "c"))]
    table = read_prices(written(tmp_path, SKYPILOT, *rows, name="aws-2026-11-20.csv"), specs)
    told = {(o.kind, o.usd, o.place, o.date, o.file) for o in table.offers}
    assert told == {
        ("on-demand", 0.526, "b", "2026-11-20", "aws-2026-11-20.csv"),
        ("spot", 0.2, "c", "2026-11-20", "aws-2026-11-20.csv"),
    }


def test_gpuhunts_catalogue(specs: Catalogue, tmp_path: Path) -> None:
    rows = (
        "a2-highgpu-1g,us-central1,3.67,12,85.0,1,L4,24.0,False",
        "NVIDIA H100 PCIe,CA,2.39,16,188.0,2,H100,80.0,True",
        "c5.large,us-east-1,0.085,2,4.0,0,,,False",
    )
    table = read_prices(written(tmp_path, GPUHUNT, *rows), specs)
    assert {(o.kind, o.gpu, o.gpus, o.usd) for o in table.offers} == {
        ("on-demand", "l4", 1, 3.67),
        ("spot", "h100-pcie-80gb", 2, 2.39),
    }
    assert table.unused == {"without an accelerator": 1}


def test_ones_own_table(specs: Catalogue, tmp_path: Path) -> None:
    rows = (
        "RTX 3090,,,purchase,650,2026-11,used market",
        "RTX 3090,,,on-demand,0.2,2026-11,our lab",
        "RTX 3090,,2,spot,0.15,2026-11,our lab",
        ",aws-p4d.24xlarge,,spot,9.5,2026-11,console",
    )
    table = read_prices(written(tmp_path, OWN, *rows), specs)
    assert {(o.kind, o.gpu, o.gpus, o.usd, o.system) for o in table.offers} == {
        ("purchase", "rtx-3090", 0, 650.0, ""),
        ("on-demand", "rtx-3090", 0, 0.2, ""),
        ("spot", "rtx-3090", 2, 0.15, ""),
        ("spot", "a100-sxm4-40gb", 8, 9.5, "aws-p4d.24xlarge"),
    }
    system = with_prices(specs.box("rtx-3090", 2), specs, table.offers)
    assert system.gpu.price_usd == 650.0 and system.purchase == "rtx-3090, 2026-11, prices.csv"
    assert len(offer_rows(table.offers)) == 4


def test_a_clouds_instance_has_its_own_offers_alone(specs: Catalogue) -> None:
    assert with_prices(specs.system("aws-p5e.48xlarge"), specs).offers == ()
    assert all(
        text.startswith("AWS g5.12xlarge") for text in with_prices(specs.system("aws-g5.12xlarge"), specs).offers
    )


BAD = [
    (OWN, "RTX 3090,,,rent,1,2026,me", ":2: kind: 'rent' is none; write on-demand, spot, purchase"),
    (OWN, "RTX 3090,,,spot,-1,2026,me", ":2: usd: '-1' is no price; write dollars from 0 to 10,000,000"),
    (OWN, "RTX 3090,,,spot,nan,2026,me", ":2: usd: 'nan' is no price"),
    (OWN, "RTX 3090,,,spot,1e400,2026,me", ":2: usd: '1e400' is no price"),
    (OWN, "RTX 3090,,,spot,,2026,me", ":2: usd: is empty or 0"),
    (OWN, "RTX 3090,,2.5,spot,1,2026,me", ":2: gpus: '2.5' is no number of cards"),
    (OWN, "RTX 3090,,,spot,1,,me", ":2: date: is empty; say when and where the price was asked"),
    (OWN, "RTX 3099,,,spot,1,2026,me", ":2: RTX 3099: not among the gpus; nearest: rtx-3090"),
    (OWN, "A100,,,spot,1,2026,me", ":2: A100: can mean a100-pcie-40gb, "),
    (OWN, "T4,dgx-h100,,spot,1,2026,me", ":2: card, system: one of them says whose price it is"),
    (OWN, ",,,spot,1,2026,me", ":2: card, system: one of them"),
    (f"{OWN},colour", "T4,,,spot,1,2026,me,red", ":1: colour: no such column"),
    ("card,kind,usd,date", "T4,spot,1,2026", ":1: source: the column is missing"),
    (SKYPILOT, "x,T4,1,1,1,,-3,,r,", ":2: Price: '-3' is no price"),
    (SKYPILOT, "x,T4,1,1,1,,1,\x1b[31m,r,", ":2: SpotPrice: '\\x1b[31m' is no price"),
    (SKYPILOT, "x,T4,many,1,1,,1,,r,", ":2: AcceleratorCount: 'many' is no number of cards"),
    (SKYPILOT, "x,T4,99999999,1,1,,1,,r,", ":2: AcceleratorCount: '99999999' is no number of cards"),
    (SKYPILOT, "x,T4,1", ":2: 3 fields under 10 columns"),
    (GPUHUNT, "x,y,=1+1,1,1,1,T4,16,False", ":2: price: '=1+1' is no price"),
    ("", "", ":1: is empty"),
]


@pytest.mark.parametrize(("header", "row", "told"), BAD)
def test_rows_that_no_one_can_mean(header: str, row: str, told: str, specs: Catalogue, tmp_path: Path) -> None:
    path = written(tmp_path, header, row)
    with pytest.raises(InputError) as error:
        read_prices(path, specs)
    assert told in str(error.value) and str(error.value).startswith(str(path)) and "\x1b" not in str(error.value)


@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(order: random.Random) -> None:
    header, *rows = SHIPPED.read_text(encoding="utf-8").splitlines()
    order.shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        shuffled = read_prices(written(Path(folder), header, *rows, name="clouds.csv"), catalogue())
    assert shuffled.offers == read_prices(SHIPPED, catalogue()).offers


@given(st.text(max_size=300), st.sampled_from(["", OWN, SKYPILOT, GPUHUNT]))
def test_any_text_is_read_or_refused(text: str, header: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.csv"
        path.write_text(f"{header}\n{text}", encoding="utf-8", errors="ignore")
        try:
            read_prices(path, catalogue())
        except InputError as error:
            assert str(error).startswith(str(path))


def test_shipped_prices_are_dated_and_sourced(specs: Catalogue) -> None:
    table = read_prices(SHIPPED, specs, is_shipped=True)
    assert len(table.offers) > 100 and {offer.kind for offer in table.offers} == {"on-demand", "spot"}
    assert all(offer.date and offer.source and offer.instance for offer in table.offers)
