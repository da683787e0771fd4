"""Single plans as a picture: memory and step in their parts."""

from perfsim.core.calibration import Calibration
from perfsim.estimate import alone_seconds
from perfsim.report.case import Case
from perfsim.report.columns import plan_row
from perfsim.report.parts_plot import Drawn, parts_picture
from perfsim.report.picture import write_picture
from perfsim.report.text import cards_text, plan_text, workload_text


def write_case(target: str, case: Case, calibration: Calibration) -> None:
    """Draws one plan into `target`, a .png or .svg.

    Raises: InputError when the file cannot be written.
    """
    row = plan_row(case.workload, case.system, case.plan, case.estimate, case.site)
    alone = alone_seconds(case.workload, case.system, case.plan, case.software, calibration)
    step = case.intervals["step_seconds"] if case.intervals else None
    plan = Drawn(f"{cards_text(row)}, {plan_text(row)}", case.estimate, step, alone)
    write_picture(target, lambda: parts_picture([plan], workload_text(case.workload)))
