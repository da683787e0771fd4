"""Pictures of plans, schedules and scaling: what they claim is what the records say, and the same bytes every time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.results import MEMORY_PARTS, StepTime
from perfsim.errors import InputError, UnknownNameError
from perfsim.graphs.schedule import FORWARD
from perfsim.report.answer import Answer
from perfsim.report.answer_plot import answer_picture
from perfsim.report.parts_plot import (
    KIND_FILLS,
    MEMORY_FILLS,
    Drawn,
    draw_memory,
    draw_waterfall,
    kind_of,
    parts_picture,
)
from perfsim.report.picture import blank, write_picture
from perfsim.report.schedule_plot import schedule_picture, waiting_shares
from perfsim.search.scaling import scaling
from perfsim.search.sweep import Sweep
from perfsim.search.uncertainty import Range
from perfsim.units import GIB

pytest.importorskip("matplotlib")
Made = Callable[..., Sweep]
JOB = ps.workload("llama3-8b", seq_len=512)
NODE = ps.system("dgx-h100")
SHARDED = ps.Plan(data_parallel=8, micro_batch_size=1, zero_stage=3)
PIPED = ps.Plan(data_parallel=2, pipeline_parallel=4, micro_batch_size=1)


@pytest.fixture(scope="module")
def sharded() -> Drawn:
    step = Range(0.5, 0.7, 0.9)
    return Drawn("8x " + "H100 " * 40, ps.estimate(JOB, NODE, SHARDED), step, ps.alone_seconds(JOB, NODE, SHARDED))


def test_fillings_tell_all_parts_apart_without_colour() -> None:
    """Lightness (a seventh apart) or hatch differ."""
    assert set(MEMORY_FILLS) == set(MEMORY_PARTS)
    assert {kind_of(name) for name in StepTime.__dataclass_fields__} == set(KIND_FILLS)
    for fills in (MEMORY_FILLS, KIND_FILLS):
        looks = [(round(7 * _lightness(colour)), hatch) for colour, hatch in fills.values()]
        assert len(set(looks)) == len(looks)


def _lightness(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_bars_of_memory_end_where_the_total_is(sharded: Drawn) -> None:
    axes = blank(8.0, 3.0).subplots()
    draw_memory(axes, [sharded])
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert max(ends) == pytest.approx(float(sharded.estimate.memory.total_bytes) / GIB)


def test_a_waterfall_ends_at_the_step_and_hidden_time_is_alone_less_exposed(sharded: Drawn) -> None:
    axes = blank(8.0, 5.0).subplots()
    draw_waterfall(axes, sharded)
    total = 1e3 * float(sharded.estimate.time.total_seconds)
    solid = [bar for bar in axes.patches if bar.get_linestyle() == "solid"]
    dashed = [bar for bar in axes.patches if bar.get_linestyle() != "solid"]
    assert solid[-1].get_width() == pytest.approx(total)  # type: ignore[attr-defined]
    assert sum(bar.get_width() for bar in solid[:-1]) == pytest.approx(total, rel=1e-3)  # type: ignore[attr-defined]
    exposed = float(sharded.estimate.time.parameter_gather_seconds)
    hidden = 1e3 * (float(sharded.alone["parameter_gather_seconds"]) - exposed)
    assert [bar.get_width() for bar in dashed] == pytest.approx([hidden])  # type: ignore[attr-defined]


def test_one_gpu_exchanges_nothing_and_hides_nothing() -> None:
    alone = ps.alone_seconds(ps.workload("bert-large"), ps.system("dgx-h100"), ps.Plan(micro_batch_size=8))
    assert not any(np.any(np.asarray(seconds) > 0.0) for seconds in alone.values())


def test_names_are_no_formulas(sharded: Drawn, tmp_path: Path) -> None:
    named = replace(sharded, label=r"a $\frac{$ b $x$")
    file = tmp_path / "named.svg"
    write_picture(str(file), lambda: parts_picture([named], r"$\no$ formula"))
    assert r"$\no$ formula" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [1, 3])
def test_no_text_leaves_the_picture(sharded: Drawn, count: int) -> None:
    picture = parts_picture([sharded] * count, "a long title, " * 30)
    picture.draw_without_rendering()
    renderer = picture.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = picture.bbox
    texts = [*picture.texts, *(text for axes in picture.axes for text in (*axes.texts, *axes.get_yticklabels()))]
    texts += [text for axes in picture.axes if (legend := axes.get_legend()) for text in legend.get_texts()]
    for text in texts:
        if text.get_text() and text.get_visible():
            box = text.get_window_extent(renderer)
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text


def test_the_same_content_gives_the_same_bytes(sharded: Drawn, made: Made, tmp_path: Path) -> None:
    found = ps.simulate(JOB, NODE, PIPED)
    answer = Answer.of_scaling("bert", made(), None, None)
    for i, draw in enumerate(
        (
            lambda: parts_picture([sharded], "one"),
            lambda: schedule_picture(found, "a <b>"),
            lambda: answer_picture([answer]),
            lambda: answer_picture([Answer.of("bert", made())]),
        )
    ):
        files = [tmp_path / f"{i}{letter}.svg" for letter in "ab"]
        for file in files:
            write_picture(str(file), draw)
        assert files[0].read_bytes() == files[1].read_bytes() and b"<svg" in files[0].read_bytes()


def test_a_schedule_shows_every_pass_once_and_waiting_adds_up() -> None:
    found = ps.simulate(JOB, NODE, PIPED)
    axes = schedule_picture(found, "title").axes[0]
    order = found.timeline.order
    drawn = sum(len(bars.get_paths()) for bars in axes.collections)  # type: ignore[attr-defined]
    assert drawn == len(order.parts) + order.stages  # what follows the passes is one bar a stage
    busy = (found.timeline.end - found.timeline.start)[order.stage == 0].sum()
    waits = (float(found.timeline.total_seconds) - busy) / found.step_seconds
    assert waiting_shares(found)[0] == pytest.approx(waits) and (order.parts[:, FORWARD] >= 0).any()


def test_many_narrow_passes_are_drawn_too(tmp_path: Path) -> None:
    job = ps.workload("gpt3-175b", task="pretrain", seq_len=2048, global_batch_size=192)
    plan = ps.Plan(tensor_parallel=8, pipeline_parallel=96, micro_batch_size=1, recompute=ps.Recompute.FULL)
    file = tmp_path / "many.png"
    write_picture(str(file), lambda: schedule_picture(ps.simulate(job, ps.system("dgx-a100-80gb"), plan), "GPT-3"))
    assert file.read_bytes().startswith(b"\x89PNG")


def test_scaling_takes_the_fastest_plan_of_each_count(made: Made) -> None:
    first, *others = scaling(made())
    assert first.gpu_key == "rtx-4090" and first.gpus.tolist() == [1, 2] and len(others) == 2
    assert first.samples_per_s.tolist() == [512.0, 1280.0]
    assert first.speedup[1] == 2.5 and first.efficiency[1] == 1.25
    assert first.exposed.tolist() == [0.0, 0.0] and others[0].speedup.tolist() == [1.0]


def test_what_is_no_figure_of_a_front_is_said(made: Made) -> None:
    full = made()
    with pytest.raises(UnknownNameError, match="did you mean money"):
        full.plot("time", "monye")
    with pytest.raises(InputError, match="name two figures"):
        full.plot("time")


def test_results_draw_on_given_axes_and_on_new_ones(made: Made) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    sweep = made()
    one = ps.estimate(JOB, NODE, SHARDED)
    for draw in (
        one.plot_memory, one.plot_time, sweep.plot, sweep.plot_memory, sweep.plot_time, sweep.plot_scaling,
        ps.simulate(JOB, NODE, PIPED).plot,
    ):  # fmt: skip
        axes = plt.subplots()[1]
        assert draw(ax=axes) is axes and (axes.lines or axes.patches or axes.collections)
        fresh = draw()
        assert fresh is not axes
        plt.close("all")
    many = ps.estimate(JOB, NODE, replace(SHARDED, micro_batch_size=np.array([1, 2])))
    with pytest.raises(InputError, match="an estimate of many plans"):
        many.plot_memory()
    plt.close("all")
