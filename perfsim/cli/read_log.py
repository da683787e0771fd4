"""`perfsim read-log`: what the logs of a run tell, beside its prediction, and as a row of a table of runs."""

from pathlib import Path

import click


@click.command("read-log")
@click.argument("logs", nargs=-1, required=True, metavar="LOG...", type=click.Path(path_type=Path))
@click.option("--scenario", metavar="FILE", type=click.Path(path_type=Path), help="What ran: a scenario with one plan.")
@click.option("-o", "--output", metavar="RUNS.csv", type=click.Path(path_type=Path), help="Add the run to this table.")
@click.option("--name", metavar="NAME", help="Of the run in the table; the scenario's file name.")
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.pass_context
def read_log(
    ctx: click.Context,
    logs: tuple[Path, ...],
    scenario: Path | None,
    output: Path | None,
    name: str | None,
    json_file: str | None,
) -> None:
    """Read the logs of one run, and hold perfsim's prediction against them.

    Known by their content: trainer_state.json of Hugging Face, output of Megatron-LM, NeMo and torchtitan, Lightning's
    metrics.csv, traces of PyTorch's profiler, CSV of nvidia-smi. `perfsim validate RUNS.csv` replays the table.
    """
    from perfsim.errors import InputError
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.logs import read_logs
    from perfsim.inputs.logs_run import measured_run, runs_table, stated_run
    from perfsim.inputs.scenario import scenario as read_scenario
    from perfsim.report.case import make_case
    from perfsim.report.export import write
    from perfsim.report.logs import log_json, log_lines
    from perfsim.report.table import override_lines, show

    if output and not scenario:
        raise InputError("--output: a table needs to know what ran; add --scenario FILE")
    known = catalogue(tuple(ctx.obj or ()))
    reading = read_logs(logs)
    run = case = None
    table = ""
    if scenario:
        asked = read_scenario(scenario, known)
        stated = stated_run(asked)
        run = measured_run(reading, stated, scenario, name or "")
        case = make_case(stated.workload, stated.system, stated.plan, stated.software, known.calibration(), asked.site)
        table = runs_table(output, run, stated, reading, known) if output else ""
    if json_file:
        write(json_file, log_json(reading, run, case))
    if json_file != "-":
        show([*override_lines(known.overrides()), *log_lines(reading, run, case)])
    if output:
        write(str(output), table)
