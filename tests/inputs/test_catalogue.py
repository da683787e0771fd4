import doctest
from pathlib import Path

import pytest

from perfsim import paths
from perfsim.errors import InputError, UnknownNameError
from perfsim.inputs import catalogue as module
from perfsim.inputs import names, shelf
from perfsim.inputs.catalogue import Catalogue, catalogue

BUILTIN = paths.builtin("specs")


@pytest.fixture(scope="module")
def specs() -> Catalogue:
    return catalogue()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("rtx-4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("4070ti", "rtx-4070-ti"),
        ("RTX 4070 Ti SUPER", "rtx-4070-ti-super"),
        ("gtx1080ti", "gtx-1080-ti"),
        ("rtx 3060", "rtx-3060-12gb"),
        ("a100 sxm 80gb", "a100-sxm4-80gb"),
        ("A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("A100 40g pcie", "a100-pcie-40gb"),
        ("Tesla V100-SXM2-16GB", "v100-sxm2-16gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie-80gb"),
        ("NVIDIA H200", "h200-sxm-141gb"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("Quadro RTX 6000", "quadro-rtx-6000"),
        ("a6000", "rtx-a6000"),
        ("Tesla T4", "t4"),
        ("titan x", "titan-x-pascal"),
    ],
)
def test_names_that_people_type(specs: Catalogue, name: str, key: str) -> None:
    assert specs.find("gpus", name) == key


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("a100 80gb", ["a100-pcie-80gb", "a100-sxm4-80gb"]),
        ("RTX 6000", ["quadro-rtx-6000", "rtx-6000-ada"]),
        ("4060 ti", ["rtx-4060-ti-16gb", "rtx-4060-ti-8gb"]),
        ("h200", ["h200-nvl-141gb", "h200-sxm-141gb"]),
    ],
)
def test_ambiguous_names_list_the_candidates(specs: Catalogue, name: str, candidates: list[str]) -> None:
    with pytest.raises(UnknownNameError) as error:
        specs.gpu(name)
    assert str(error.value) == f"{name}: can mean {', '.join(candidates)}; write one of these"


def test_unknown_names_are_answered_with_the_nearest(specs: Catalogue) -> None:
    with pytest.raises(UnknownNameError) as error:
        specs.gpu("RTX 4900")
    assert str(error.value) == (
        "RTX 4900: not among the gpus; nearest: rtx-4090, rtx-4080, rtx-4070; `perfsim specs list gpus` shows all"
    )


def test_every_own_name_finds_its_card(specs: Catalogue) -> None:
    for key in specs.names("gpus"):
        assert specs.find("gpus", specs.gpu_spec(key).name) == key
        for alias in specs.gpu_spec(key).aliases:
            assert specs.find("gpus", alias) == key


def test_listing_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for home in (module, shelf):
        monkeypatch.setattr(home, "read_toml", None)
        monkeypatch.setattr(home, "load", None)
    specs = Catalogue([BUILTIN])
    for kind in shelf.KINDS:
        assert specs.names(kind)


def test_a_users_folder_comes_first_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "gpus").mkdir()
    text = (BUILTIN / "gpus" / "rtx-4090.toml").read_text()
    (tmp_path / "gpus" / "rtx-4090.toml").write_text(text.replace("memory_gib = 24", "memory_gib = 48"))
    specs = Catalogue([tmp_path, BUILTIN])
    assert specs.gpu("4090").memory_bytes == 48 * 2**30
    assert specs.gpu("rtx-3090").memory_bytes == 24 * 2**30
    assert specs.overrides() == [tmp_path / "gpus" / "rtx-4090.toml"]
    assert Catalogue([BUILTIN]).overrides() == []


def test_own_power_and_kernel_rules_are_told(tmp_path: Path) -> None:
    (tmp_path / "calibration").mkdir()
    own = [tmp_path / "calibration" / f"{name}.toml" for name in ("kernels", "power")]
    for path in own:
        path.write_text((BUILTIN / "calibration" / path.name).read_text())
    assert Catalogue([tmp_path, BUILTIN]).overrides() == own


def test_a_users_rules_come_before_perfsims(tmp_path: Path) -> None:
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "cards.toml").write_text(
        '[[rule]]\nmatch = { keys = ["rtx-4090"] }\nfp16 = 0.5\nbasis = "measured"\nsource = "mine"\n'
    )
    specs = Catalogue([tmp_path, BUILTIN])
    own = Catalogue([BUILTIN])
    assert specs.gpu("rtx-4090").calibration.gemm_fraction["fp16"] == 0.5
    assert specs.gpu("rtx-4090").calibration.gemm_fraction["fp32"] == own.gpu("4090").calibration.gemm_fraction["fp32"]
    assert specs.gpu("rtx-3090").calibration == own.gpu("rtx-3090").calibration


def test_records_are_made_once(specs: Catalogue) -> None:
    assert specs.gpu("rtx-4090") is specs.gpu("4090")
    assert specs.box("rtx-4090", 2).gpu is specs.gpu("rtx-4090")
    assert catalogue() is specs


def test_offers_are_those_of_systems_and_of_tables(specs: Catalogue, tmp_path: Path) -> None:
    listed = {offer.system for offer in specs.offers if offer.system}
    assert listed >= {key for key in specs.names("systems") if specs.system_spec(key).price}
    assert {"on-demand", "spot"} == {offer.kind for offer in specs.offers}
    assert all(offer.date and offer.source and not offer.file for offer in specs.offers)
    assert not any(offer.gpu == "p4" for offer in specs.offers)
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "lab.csv").write_text("card,kind,usd,date,source\nP4,on-demand,0.1,2026,our lab\n")
    more = catalogue([tmp_path])
    assert [(offer.usd, offer.file) for offer in more.offers if offer.gpu == "p4"] == [(0.1, "lab.csv")]
    assert tmp_path / "prices" / "lab.csv" in more.overrides()
    (tmp_path / "prices" / "out.csv").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="is a link out of its folder"):
        _ = Catalogue([tmp_path]).offers


def test_templates_are_nobodys_offer(specs: Catalogue) -> None:
    assert [system.key for system in specs.templates("a100-sxm4-80gb")] == ["dgx-a100-80gb"]


def test_software_and_calibration(specs: Catalogue) -> None:
    for key in specs.names("software"):
        software = specs.software(key)
        assert software.first_release < software.last_release
    assert 0 < specs.calibration().column_sum_share <= 1
    assert 0 < specs.calibration().control.limit_share <= 1


def test_models_by_alias_and_by_path(specs: Catalogue, tmp_path: Path) -> None:
    assert specs.model("bert-large") is specs.model("bert-large-uncased")
    copy = tmp_path / "mine.toml"
    copy.write_text((BUILTIN / "models" / "bert-large-uncased.toml").read_text())
    assert specs.model(str(copy)).layers == specs.model(copy).layers == 24


def test_examples_of_names() -> None:
    assert doctest.testmod(names).failed == 0
