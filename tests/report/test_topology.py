"""How systems are drawn: as text, held to the letter, and as pictures."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim.graphs.fat_tree import FatTree
from perfsim.graphs.wiring import Domain, Link
from perfsim.report.topology import Drawing, network_text, tree_lines

GOLDEN = Path(__file__).parents[1] / "golden"


def drawn(*arguments: str) -> Result:
    from perfsim.cli.main import main

    return CliRunner().invoke(main, ["specs", "show", *arguments])


@pytest.mark.parametrize("system", ["dgx-1-v100-16gb", "nvlink-4x-rtx-3090", "gb200-nvl72"])
def test_text_tree(system: str) -> None:
    """To renew: perfsim specs show SYSTEM --draw > tests/golden/topology-SYSTEM.txt."""
    result = drawn(system, "--draw")
    assert result.exit_code == 0
    assert result.stdout == (GOLDEN / f"topology-{system}.txt").read_text(encoding="utf-8")


def test_every_gpu_and_nic_is_in_the_tree() -> None:
    text = drawn("aws-p5.48xlarge", "--draw").stdout
    assert all(f"gpu{i} " in text for i in range(8))
    assert "nic0 to nic3" in text and "4 x 12.5" in text


def test_networks_in_words() -> None:
    assert network_text(FatTree(64, 400e9, 8, 2.0, 32, 4.0, 8)) == (
        "400 GB/s a node; leaves of 8 nodes, 8 rails, 2:1; pods of 32 nodes, 4:1"
    )


def odd() -> Drawing:
    """GPUs on switches below a switch, one linked by NVLink alone, no socket."""
    links = (
        Link("switch0", "switch1", "pcie", 63e9),
        Link("switch0", "gpu0", "pcie", 63e9),
        Link("switch1", "gpu1", "pcie", 31.5e9),
        Link("switch1", "gpu2", "pcie", 31.5e9),
        *(Link(f"gpu{i}", "gpu3", "nvlink", 100e9) for i in range(3)),
    )
    return Drawing("odd", Domain(4, links, True), 4, None)


def test_odd_machines_are_drawn_too() -> None:
    pytest.importorskip("matplotlib")
    from perfsim.report.topology_plot import topology_figure

    assert "│  └─ gpu2" in "\n".join(tree_lines(odd()))
    texts = {text.get_text() for axes in topology_figure(odd()).axes for text in axes.texts}
    assert {"gpu0", "gpu1", "gpu2", "gpu3", "switch0", "switch1", "63.0", "31.5", "100"} <= texts


@pytest.mark.parametrize("system", ["dgx-1-p100", "dgx-h100", "pcie-2x-rtx-4090", "gb200-nvl72", "gh200-node"])
def test_pictures_hold_every_device_and_are_the_same_each_time(tmp_path: Path, system: str) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        assert drawn(system, "--draw", str(tmp_path / name)).exit_code == 0
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert ">gpu0<" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_a_fat_tree_has_a_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from perfsim.report.topology_plot import topology_figure

    network = FatTree(1024, 400e9, 32, 2.0, 256, 4.0, 8)
    figure = topology_figure(Drawing("cluster", odd().domain, 4, network))
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"core of 4 pods", "spine0", "25,600", "6,400", "node224\n… 255"} <= texts


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["dgx-h100", "--draw", "a.pdf"], "--draw: a.pdf: is no picture perfsim draws; write a name in .png or .svg"),
        (["rtx-4090", "--draw"], "--draw: rtx-4090 is among the gpus; only systems are drawn"),
        (["dgx-h100", "--draw", "/no/such/folder/a.png"], "cannot be written"),
    ],
)
def test_what_is_not_drawn(arguments: list[str], what: str) -> None:
    result = drawn(*arguments)
    assert result.exit_code == 2
    assert what in result.stderr
