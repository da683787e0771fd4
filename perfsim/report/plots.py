"""Results drawn on axes of matplotlib, the caller's own or new ones of pyplot: for notebooks and for papers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfsim.calibration.validate import Replayed
from perfsim.core.arrays import shape_of
from perfsim.core.results import Estimate
from perfsim.errors import InputError
from perfsim.report.answer_plot import ROWS_DRAWN, drawn_rows
from perfsim.report.front_plot import draw_front
from perfsim.report.parts_plot import Drawn, draw_memory, draw_steps, draw_waterfall
from perfsim.report.picture import drawing_on
from perfsim.report.scaling_plot import CARDS_DRAWN, draw_rates
from perfsim.report.scatter_plot import Quantity, draw_scatter
from perfsim.report.schedule_plot import draw_schedule
from perfsim.report.table import rows_to_show
from perfsim.search.front import check_figures
from perfsim.search.intervals import Intervals
from perfsim.search.scaling import scaling
from perfsim.simulation import Simulation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from perfsim.search.sweep import Sweep

Plans = Estimate | Mapping[str, Estimate]


def plot_memory(plans: "Plans | Sweep", ax: "Axes | None" = None) -> "Axes":
    """Memory of the fullest GPU in its parts against what the card has.

    plans: one estimate, several by name, or a sweep (the best plan of each card).
    """
    drawn = _drawn(plans)
    with drawing_on(ax, 8.4, 1.7 + 0.42 * len(drawn)) as axes:
        draw_memory(axes, drawn)
    return axes


def plot_time(plans: "Plans | Sweep", ax: "Axes | None" = None, alone: Mapping[str, Any] | None = None) -> "Axes":
    """One step in its parts: of one plan as a waterfall, of several as stacked bars.

    alone: what exchanges would take by themselves (ps.alone_seconds), to show of one plan what is hidden.
    """
    drawn = _drawn(plans, alone or {})
    with drawing_on(ax, 8.4, 5.0 if len(drawn) == 1 else 1.7 + 0.42 * len(drawn)) as axes:
        if len(drawn) == 1:
            draw_waterfall(axes, drawn[0])
        else:
            draw_steps(axes, drawn)
    return axes


def plot_front(sweep: "Sweep", figures: Sequence[str] = ("time", "money"), ax: "Axes | None" = None) -> "Axes":
    """The plans that none beats in two figures of a sweep, named, before the others.

    Raises: UnknownNameError for what is no figure; InputError for other than two.
    """
    check_figures(figures)
    if len(figures) != 2:
        raise InputError(f"plot: a picture has two axes, so name two figures, not {len(figures)}")
    with drawing_on(ax, 8.4, 5.8) as axes:
        draw_front(axes, sweep, figures)
    return axes


def plot_scaling(sweep: "Sweep", ranges: Mapping[int, Intervals] | None = None, ax: "Axes | None" = None) -> "Axes":
    """Samples a second of a sweep's first cards over the number of GPUs, beside the ideal.

    ranges: by row, such as `dict(zip(rows, ps.sweep_intervals(answer, rows)))`, for bands of 90 %.
    """
    with drawing_on(ax, 8.4, 5.2) as axes:
        draw_rates(axes, scaling(sweep)[:CARDS_DRAWN], ranges or {})
    return axes


def plot_schedule(found: Simulation, ax: "Axes | None" = None) -> "Axes":
    """What every pipeline stage of a simulated step does when."""
    with drawing_on(ax, 12.0, 1.6 + 0.4 * min(20, found.timeline.order.stages)) as axes:
        draw_schedule(axes, found)
    return axes


def plot_runs(replayed: Sequence[Replayed], quantity: Quantity = "time", ax: "Axes | None" = None) -> "Axes":
    """Predicted over measured step times ("time") or peaks of memory ("memory"), run by run."""
    with drawing_on(ax, 7.2, 7.2) as axes:
        draw_scatter(axes, replayed, quantity)
    return axes


def _drawn(plans: "Plans | Sweep", alone: Mapping[str, Any] | None = None) -> list[Drawn]:
    if isinstance(plans, Estimate):
        plans = {"": plans}
    if not isinstance(plans, Mapping):
        return drawn_rows(plans, rows_to_show(plans, top=ROWS_DRAWN))
    if any(shape_of(found) for found in plans.values()):
        raise InputError("plot: an estimate of many plans; name some, such as {'one': first, 'other': second}")
    return [Drawn(name, found, alone=alone or {}) for name, found in plans.items()]
