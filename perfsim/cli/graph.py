"""`perfsim graph`: a model's compute graph, printed or written."""

from pathlib import Path

import click

from perfsim.cli.completion import names


@click.command()
@click.argument("model", shell_complete=names("models", has_files=True))
@click.option("--task", default="pretrain", show_default=True, help="pretrain, finetune, lora, qlora or freeze.")
@click.option("--seq-len", type=int, help="Tokens a sequence; 512 or what the model's positions allow.")
@click.option("--image-size", type=int, help="Pixels a side, for convolutional models.")
@click.option("--decoder-seq-len", type=int, help="Target tokens of an encoder-decoder model.")
@click.option("--micro-batch-size", "--mbs", type=int, default=1, show_default=True, help="Sequences of a micro-batch.")
@click.option("--tensor-parallel", "--tp", type=int, default=1, show_default=True, help="Ranks that split a layer.")
@click.option("--precision", help="Number formats, such as fp32, amp-fp16 or bf16-mixed; amp-bf16 by default.")
@click.option(
    "--software", default="pytorch-2-eager", show_default=True, shell_complete=names("software"),
    help="Key of a software stack.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["table", "dot", "graphml", "json"]), default="table", show_default=True
)
@click.option("-o", "--output", default="-", metavar="FILE", help="Write here instead of the terminal.")
@click.pass_obj
def graph(
    folders: list[Path] | None,
    model: str,
    task: str,
    seq_len: int | None,
    image_size: int | None,
    decoder_seq_len: int | None,
    micro_batch_size: int,
    tensor_parallel: int,
    precision: str | None,
    software: str,
    form: str,
    output: str,
) -> None:
    """Print the compute graph of MODEL: a name, or a Hugging Face config.json.

    FLOPs and bytes are those of one layer of each kind, one micro-batch and one GPU.
    """
    from perfsim.core.plan import Plan
    from perfsim.graphs.transformer import step_graphs
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.options import checked_degrees
    from perfsim.inputs.workload import make_workload
    from perfsim.report import graph as report
    from perfsim.report.export import write
    from perfsim.report.table import show
    from perfsim.report.text import sample_text

    known = catalogue(tuple(folders or ()))
    workload = make_workload(
        known.model(model), task=task, seq_len=seq_len, image_size=image_size, decoder_seq_len=decoder_seq_len,
        precision=precision,
    )  # fmt: skip
    checked_degrees(workload, tensor_parallel=tensor_parallel, micro_batch_size=micro_batch_size)
    stack = known.software(software)
    plan = Plan(tensor_parallel=tensor_parallel, micro_batch_size=micro_batch_size)
    parts = list(step_graphs(workload, plan, stack, stack.attention))
    title = (
        f"{workload.model.name}, {task}: {sample_text(workload)}, micro-batch {micro_batch_size},"
        f" TP {tensor_parallel}, {workload.precision.key}"
    )
    if form == "table":
        show(report.graph_table(title, parts), output)
    else:
        writers = {"dot": report.graph_dot, "graphml": report.graph_graphml, "json": report.graph_json}
        write(output, writers[form](title, parts))
