"""`perfsim fit`: which cards can train a model, how, and how much at once."""

from typing import Any

import click


@click.command()
@click.argument("model")
@click.option(
    "--gpus", "--gpu", multiple=True, metavar="NAME", help='Cards or series, such as "RTX 30".  [default: all]'
)
@click.option("-n", "--count", type=int, default=1, show_default=True, help="GPUs that share the work as replicas.")
@click.option(
    "--micro-batch-size",
    "--mbs",
    type=int,
    default=1,
    show_default=True,
    help="Sequences of the micro-batch asked about.",
)
@click.option("--seq-len", type=int, help="Tokens a sequence; 512 or what the model's positions allow.")
@click.option("--decoder-seq-len", type=int, help="Target tokens of an encoder-decoder model.")
@click.option("--image-size", type=int, help="Pixels a side, for convolutional models; their own unless given.")
@click.option("--head", help="language-model, classification, span and others.")
@click.option("--precision", help="Number formats, such as bf16.  [default: amp-bf16, amp-fp16 on cards without bf16]")
@click.option("--optimizer", help="Such as adamw, adafactor, adamw8bit.  [default: adamw]")
@click.option("--lora-rank", type=int, help="Rank of the adapters.  [default: 16]")
@click.option(
    "--recompute", type=click.Choice(["auto", "none", "full"]), default="auto", show_default=True,
    help="Activations computed again; auto: where it takes that.",
)  # fmt: skip
@click.option("--zero", "zero_stage", type=click.IntRange(0, 3), help="ZeRO stage.  [default: 3 on several GPUs]")
@click.option("--software", default="pytorch-2-eager", show_default=True, help="Key of a software stack.")
@click.option("--all", "show_all", is_flag=True, help="Every card in a row of its own.")
@click.option("--json", "json_file", metavar="FILE", help="Write JSON to FILE, or to the terminal with -.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write CSV to FILE, or to the terminal with -.")
@click.option("--md", "md_file", metavar="FILE", help="Write a Markdown table to FILE, or to the terminal with -.")
@click.pass_context
def fit(
    ctx: click.Context, /, show_all: bool, json_file: str | None, csv_file: str | None, md_file: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Show on which cards MODEL can be trained whole, by LoRA and by QLoRA, and how much of it at once.

    MODEL is a model's name or a Hugging Face config.json. Exit code 1 says that nothing surely fits anywhere.
    """
    from perfsim.inputs.catalogue import catalogue
    from perfsim.inputs.fit import fit_question
    from perfsim.inputs.intervals import memory_basis
    from perfsim.report.export import csv_text, json_text, write
    from perfsim.report.fit import fit_lines, fit_markdown, fit_record
    from perfsim.report.table import override_lines, show
    from perfsim.search.fit import fit as search

    targets = (json_file, csv_file, md_file)
    if targets.count("-") > 1:
        raise click.UsageError("Only one of --json, --csv and --md can go to the terminal.")
    known = catalogue(tuple(ctx.obj or ()))
    found = search(fit_question(known=known, **options))
    basis = memory_basis(found.question.software, known)
    if json_file:
        write(json_file, json_text(fit_record(found, basis)))
    if csv_file:
        write(csv_file, csv_text(found.records()))
    if md_file:
        write(md_file, fit_markdown(found, show_all))
    if "-" not in targets:
        show([*override_lines(known.overrides()), *fit_lines(found, basis, show_all)])
    if not found.largest_micro_batch.any():
        ctx.exit(1)
