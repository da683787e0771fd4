"""The options that say what is trained, for every command that takes one job."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

MODEL = "A model's name, or a Hugging Face config.json."
_OPTIONS = (
    click.option("--task", default="finetune", show_default=True, help="pretrain, finetune, lora, qlora or freeze."),
    click.option("--head", help="language-model, classification, span and others."),
    click.option("--seq-len", type=int, help="Tokens a sequence; 512 or what the model's positions allow."),
    click.option("--image-size", type=int, help="Pixels a side, for convolutional models; their own unless given."),
    click.option("--decoder-seq-len", type=int, help="Target tokens of an encoder-decoder model."),
    click.option("--global-batch-size", "--gbs", type=int, help="Sequences of an optimizer step.  [default: 32]"),
    click.option("--sample-tokens", type=float, help="Mean tokens of a sample, where shorter than the sequence."),
    click.option(
        "--packed", is_flag=True, default=None, help="Fill sequences with several samples instead of padding."
    ),
    click.option("--samples", type=int, help="Sequences of the job."),
    click.option("--epochs", type=float, help="Passes over the samples."),
    click.option("--tokens", type=float, help="Tokens of the job, instead of samples."),
    click.option("--steps", type=int, help="Optimizer steps of the job, instead of samples."),
    click.option("--precision", help="Number formats, such as fp32, amp-fp16 or bf16-mixed.  [default: amp-bf16]"),
    click.option("--optimizer", help="Such as adamw, adafactor, adamw8bit.  [default: adamw]"),
    click.option(
        "--optimizer-in-backward", is_flag=True, help="Update each parameter as soon as its gradient is there."
    ),
    click.option(
        "--loss-chunks", type=int, help="Parts of the tokens whose loss is computed one after another.  [default: 1]"
    ),
    click.option(
        "--fused-linear-loss", is_flag=True, help="Head and loss as one kernel, which keeps no logits (Liger)."
    ),
    click.option("--dropout", type=float, help="Dropout probability.  [default: 0]"),
    click.option("--lora-rank", type=int, help="Rank of the adapters, for lora and qlora.  [default: 16]"),
    click.option("--trained-towers", multiple=True, metavar="NAME", help="A frozen tower to train all the same."),
)


def workload_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options of a job, in this order."""
    return reduce(lambda taking, option: option(taking), reversed(_OPTIONS), command)
