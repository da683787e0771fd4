"""The schedule of a page: bars in the order of the simulation, none over another, the beginning of a long step."""

import numpy as np
import pytest

import perfsim as ps
from perfsim.core.plan import Plan, Schedule
from perfsim.report.page_schedule import KINDS, MOST_PIECES, SCALE, schedule_record
from perfsim.simulation import Simulation, simulation


def simulated(schedule: Schedule, batch: int) -> Simulation:
    known = ps.inputs.catalogue.catalogue()
    workload = ps.workload("bert-large", seq_len=128, global_batch_size=batch, precision="amp-fp16")
    plan = Plan(pipeline_parallel=4, micro_batch_size=1, schedule=schedule)
    return simulation(workload, ps.system("dgx-h100"), plan, known.software("megatron-core"), known.calibration())


@pytest.mark.parametrize("schedule", [Schedule.GPIPE, Schedule.ONE_F_ONE_B, Schedule.ZB_H1])
def test_bars_fill_the_step_and_do_not_overlap(schedule: Schedule) -> None:
    found = simulated(schedule, 8)
    told = schedule_record(found)
    bars = np.array(told["bars"])
    assert told["stages"] == 4 and set(bars[:, 0]) == {0, 1, 2, 3}
    assert abs((bars[:, 1] + bars[:, 2]).max() - SCALE) <= 1
    passes = (bars[:, 3] != KINDS.index("after the passes")).sum()
    assert passes == len(found.timeline.order.stage)
    for stage in range(4):
        mine = bars[bars[:, 0] == stage]
        mine = mine[np.argsort(mine[:, 1], kind="stable")]
        ends = mine[:-1, 1] + mine[:-1, 2]
        assert (mine[1:, 1] - ends >= -1).all()  # both ends are rounded
    assert told["kinds"] == sorted(set(bars[:, 3].tolist()))


def test_gradients_of_weights_apart_are_told_apart() -> None:
    kinds = [KINDS[kind] for kind in schedule_record(simulated(Schedule.ZB_H1, 8))["kinds"]]
    assert kinds[:3] == ["forward", "input gradient", "weight gradient"]


def test_of_a_long_step_the_beginning_is_shown_and_it_is_said() -> None:
    found = simulated(Schedule.ONE_F_ONE_B, 512)
    told = schedule_record(found)
    share = float(told["text"].split("the first ")[1].split(" %")[0]) / 100
    shown = told["bars"]
    assert len(shown) <= MOST_PIECES < len(found.timeline.order.stage)
    assert share == pytest.approx(np.sort(found.timeline.start)[MOST_PIECES] / found.step_seconds, abs=0.001)
    assert max(bar[1] + bar[2] for bar in shown) <= SCALE + 1
