"""specs/support: every card has a verdict with a source, and the files agree with the datasheets."""

import datetime
from pathlib import Path

import pytest

from perfsim import paths
from perfsim.core.support import NEEDED, Support
from perfsim.errors import InputError
from perfsim.inputs.catalogue import Catalogue, catalogue
from perfsim.inputs.files import load
from perfsim.inputs.support import Build, SupportSpec

CARDS = catalogue().names("gpus")


@pytest.fixture(scope="module")
def known() -> Catalogue:
    return catalogue()


@pytest.fixture(scope="module")
def found(known: Catalogue) -> dict[str, Support]:
    return {key: known.support(key) for key in CARDS}


@pytest.mark.parametrize("card", CARDS)
def test_every_card_has_a_verdict_with_sources(card: str, found: dict[str, Support], known: Catalogue) -> None:
    support = found[card]
    assert support.sentence.startswith(f"{support.name}: sm_{support.compute_capability.replace('.', '')}, ")
    assert "unknown" not in support.sentence
    assert [fact.key for fact in support.facts] == [*known.names("support"), "peer-to-peer"]
    for fact in support.facts:
        if fact.state == "unknown" and not fact.source:
            continue  # nobody has looked it up, and it is said to be unknown
        assert fact.source, f"{card}: {fact.key}"
        if fact.key != "peer-to-peer":
            datetime.date.fromisoformat(fact.date)
        assert (fact.first == "") == (fact.last == "") == (fact.state == "no")
    for key in ("cuda", "pytorch", "bf16", "tensor-cores", "flash-attention-2", "bitsandbytes-4bit", "fp8"):
        assert support.fact(key).state != "unknown", key


def test_files_agree_with_datasheets(found: dict[str, Support], known: Catalogue) -> None:
    for key, support in found.items():
        peaks = known.gpu_spec(key).peak_tflops
        assert (support.fact("bf16").state == "yes") == bool(peaks.bf16), key
        assert (support.fact("fp8").state == "yes") == bool(peaks.fp8), key
        assert (support.fact("nvfp4").state == "no") == (not peaks.fp4), key
        assert (support.fact("tensor-cores").state == "no") == (peaks.fp16 == peaks.fp32), key


def test_what_is_needed_has_a_file(known: Catalogue) -> None:
    assert set(NEEDED) <= set(known.names("support"))


def test_a_verdict_in_words(found: dict[str, Support]) -> None:
    assert found["gtx-1080-ti"].sentence == (
        "GTX 1080 Ti: sm_61, last in the cu126 wheels (PyTorch 2.14); no bf16 (emulated), no FlashAttention-2,"
        " no torch.compile"
    )
    assert found["rtx-5090"].sentence == "RTX 5090: sm_120, PyTorch 2.7 and newer"
    assert found["rtx-5090"].limits == found["h100-sxm5-80gb"].limits == ""
    assert found["v100-sxm2-16gb"].fact("pytorch").lines[-1] == "cu126"  # cu128 lost it before
    assert found["gtx-1660-ti"].fact("tensor-cores").state == "no"  # a card goes before its compute capability
    assert found["rtx-2060"].fact("tensor-cores").detail == "fp16, int8, int4"
    assert found["rtx-4090"].fact("peer-to-peer").state == "no"
    assert found["a40"].fact("never heard of").state == "unknown"


def build(kernels: list[str], ptx: str | None = None) -> Build:
    return Build(
        line="x", first="1.0", last="current", kernels=kernels, ptx=ptx, source="s", date=datetime.date(2025, 1, 1)
    )


@pytest.mark.parametrize(
    ("kernels", "ptx", "capability", "runs"),
    [
        (["8.0"], None, "8.9", True),  # a later minor version of the same major one
        (["8.6"], None, "8.0", False),
        (["8.0", "8.9"], None, "9.0", False),
        (["8.0"], "9.0", "12.0", True),  # the driver compiles PTX for whatever is newer
        (["8.0"], "9.0", "7.5", False),
        (["10.0"], None, "12.0", False),
    ],
)
def test_where_a_build_runs(kernels: list[str], ptx: str | None, capability: str, runs: bool) -> None:
    assert build(kernels, ptx).runs_on(capability) is runs


def write(folder: Path, text: str) -> Path:
    (folder / "support").mkdir(exist_ok=True)
    path = folder / "support" / "fp8.toml"
    path.write_text(text)
    return path


ROW = '[[works]]\ncapabilities = ["8.0"]\nsource = "mine"\ndate = 2026-01-01\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name = "x"\n', ":1: says nothing; add a [[works]] or a [[build]]"),
        (
            'name = "x"\n[[works]]\nsource = "s"\ndate = 2026-01-01\n',
            ":2: works[0]: is about no card; add capabilities",
        ),
        ('name = "x"\n' + ROW + 'state = "no"\nfirst = "1"\n', ":6: works[0].state: no, but versions are given; "),
        ('name = "x"\n' + ROW + 'state = "nope"\n', ":6: works[0].state: 'nope' is none of yes, partial, "),
        ('name = "x"\n' + ROW.replace("8.0", "sm_80"), ":3: works[0].capabilities[0]: "),
        ('name = "x"\n' + ROW.replace('source = "mine"\n', ""), "works[0].source: "),
        (
            'name = "x"\n[[build]]\nline = "a"\nfirst = "2.1"\nlast = "2.0"\nkernels = ["8.0"]\nsource = "s"\n'
            "date = 2026-01-01\n",
            ":5: build[0].last: 2.0 is before first; exchange the two",
        ),
    ],
)
def test_bad_files(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        load(write(tmp_path, text), SupportSpec)
    assert problem in str(raised.value)


def test_a_users_file_goes_before_perfsims(tmp_path: Path) -> None:
    file = write(tmp_path, 'name = "mine"\n' + ROW)
    own = Catalogue((tmp_path, paths.builtin("specs")))
    assert own.support("A100 PCIe 80GB").fact("fp8").state == "yes"
    assert own.support("H100 PCIe").fact("fp8").state == "unknown"  # no row covers it any more
    assert not own.gpu("H100 PCIe").lacks["fp8"]  # and what is unknown is not refused
    assert file in own.overrides()
