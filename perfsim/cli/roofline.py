"""`perfsim roofline`: a card's roofs, and where a model's kernels lie under them."""

from pathlib import Path

import click

from perfsim.cli.completion import names


@click.command()
@click.argument("gpu", shell_complete=names("gpus"))
@click.argument("model", required=False, shell_complete=names("models", has_files=True))
@click.option("--task", help="pretrain, finetune, lora, qlora or freeze.  [default: pretrain]")
@click.option("--seq-len", type=int, help="Tokens a sequence; 512 or what the model's positions allow.")
@click.option("--image-size", type=int, help="Pixels a side, for convolutional models.")
@click.option("--decoder-seq-len", type=int, help="Target tokens of an encoder-decoder model.")
@click.option("--micro-batch-size", "--mbs", type=int, help="Sequences of a micro-batch.  [default: 8]")
@click.option("--tensor-parallel", "--tp", type=int, help="GPUs that split a layer.  [default: 1]")
@click.option("--precision", help="Number formats, such as fp32 or bf16-mixed; amp-bf16, or amp-fp16 on older cards.")
@click.option(
    "--software", shell_complete=names("software"), help="Key of a software stack.  [default: pytorch-2-eager]"
)
@click.option("--all", "show_all", is_flag=True, help="Every kernel, not those with most time.")
@click.option("--plot", metavar="FILE", help="Draw it into FILE, a .png or .svg (needs matplotlib).")
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write CSV to FILE, or to the terminal with -.")
@click.pass_obj
def roofline(
    folders: list[Path] | None,
    gpu: str,
    model: str | None,
    task: str | None,
    seq_len: int | None,
    image_size: int | None,
    decoder_seq_len: int | None,
    micro_batch_size: int | None,
    tensor_parallel: int | None,
    precision: str | None,
    software: str | None,
    show_all: bool,
    plot: str | None,
    json_file: str | None,
    csv_file: str | None,
) -> None:
    """Show the roofline of a GPU, and the kernels of MODEL under it.

    MODEL is a name or a Hugging Face config.json. FLOPs, bytes and times are those of one layer of each kind, one
    micro-batch and one GPU.
    """
    from perfsim.core.plan import Plan
    from perfsim.graphs import points
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.options import checked_degrees
    from perfsim.inputs.roofs import check_card, usual_precision, with_sources
    from perfsim.inputs.workload import make_workload
    from perfsim.report.export import write
    from perfsim.report.picture import check_picture, write_picture
    from perfsim.report.roofline import SHOWN, roofline_csv, roofline_json, roofline_lines
    from perfsim.report.roofline_plot import roofline_figure
    from perfsim.report.table import override_lines, show

    if json_file == csv_file == "-":
        raise click.UsageError("Only one of --json and --csv can go to the terminal.")
    if plot is not None:
        check_picture(plot, "--plot")
    known = catalogue(tuple(folders or ()))
    card = known.gpu(gpu)
    if model is None:
        given = click.get_current_context().params
        told = [key for key in ("task", "seq_len", "image_size", "decoder_seq_len", "micro_batch_size",
                                "tensor_parallel", "precision", "software") if given[key] is not None]  # fmt: skip
        if told:
            raise click.UsageError(f"--{told[0].replace('_', '-')} says how a model is trained; name a MODEL.")
        found = points.roofline(card, known.calibration())
    else:
        micro_batch_size = 8 if micro_batch_size is None else micro_batch_size
        tensor_parallel = 1 if tensor_parallel is None else tensor_parallel
        workload = make_workload(
            known.model(model), task=task or "pretrain", seq_len=seq_len, image_size=image_size,
            decoder_seq_len=decoder_seq_len,
            precision=precision or usual_precision(card),
        )  # fmt: skip
        checked_degrees(workload, tensor_parallel=tensor_parallel, micro_batch_size=micro_batch_size)
        stack = known.software(software or "pytorch-2-eager")
        check_card(workload, card, stack)
        plan = Plan(
            tensor_parallel=tensor_parallel, micro_batch_size=micro_batch_size, sequence_parallel=tensor_parallel > 1
        )
        found = points.roofline(card, known.calibration(), workload, plan, stack)
    found = with_sources(found, known)
    if plot is not None:
        write_picture(plot, lambda: roofline_figure(found))
    for target, text_of in ((json_file, roofline_json), (csv_file, roofline_csv)):
        if target:
            write(target, text_of(found))
    if "-" not in (json_file, csv_file):
        show([*override_lines(known.overrides()), *roofline_lines(found, None if show_all else SHOWN)])
