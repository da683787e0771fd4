"""Lists the options that the five tools have, with their kinds and choices, into tool_options.csv.

Run where they are installed, as `pip install -e '.[launch]'` does, with a checkout of NVIDIA/Megatron-LM in PYTHONPATH:
    python tests/launch/list_options.py tests/launch/tool_options.csv
The list that is here is of accelerate 1.15.0, deepspeed 0.19.8, torchtitan 0.2.2, transformers 5.24.0 and of
NVIDIA/Megatron-LM 5be9626709af2722333bf54797c954c09edeada3 (core_v0.19.0). Names are facts; no help text is taken.
"""

import argparse
import csv
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

Row = tuple[str, str, str, str]
typing.override = getattr(typing, "override", lambda function: function)  # Megatron-LM imports it; Python 3.12 has it


def of_parser(tool: str, parser: argparse.ArgumentParser) -> Iterator[Row]:
    for action in parser._actions:
        kind = "switch" if action.nargs == 0 else getattr(action.type, "__name__", "str")
        choices = [one.name if isinstance(one, Enum) else str(one) for one in action.choices or ()]
        if len(choices) > 60:
            choices = []
        for option in action.option_strings:
            if option.startswith("--"):
                yield tool, option, kind, " ".join(choices)


def of_record(tool: str, record: Any, prefix: str = "") -> Iterator[Row]:
    hints = typing.get_type_hints(record)
    for field in fields(record):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from of_record(tool, hint, f"{prefix}{field.name}.")
            continue
        literals = [one for one in (hint, *get_args(hint)) if get_origin(one) is typing.Literal]
        choices = [str(one) for literal in literals for one in get_args(literal)]
        yield tool, prefix + field.name, getattr(hint, "__name__", str(hint)), " ".join(choices)


def of_deepspeed() -> Iterator[Row]:
    from deepspeed.module_inject.auto_ep_config import AutoEPConfig
    from deepspeed.runtime import config, constants
    from deepspeed.runtime.activation_checkpointing.config import ACT_CHKPT_DEFAULT
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.tensor_parallel.config import TPTrainingConfig
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    sections = {
        "zero_optimization": DeepSpeedZeroConfig,
        "zero_optimization.offload_optimizer": DeepSpeedZeroOffloadOptimizerConfig,
        "zero_optimization.offload_param": DeepSpeedZeroOffloadParamConfig,
        "fp16": DeepSpeedFP16Config,
        "bf16": DeepSpeedBF16Config,
        "tensor_parallel": TPTrainingConfig,
    }
    for section, record in sections.items():
        for name in record.model_fields:
            yield "deepspeed", f"{section}.{name}", "", ""
    for name in ACT_CHKPT_DEFAULT:
        yield "deepspeed", f"activation_checkpointing.{name}", "", ""
    for field in fields(AutoEPConfig):
        yield "deepspeed", f"expert_parallel.{field.name}", "", ""
    for name in config.get_pipeline_config({}):
        yield "deepspeed", f"pipeline.{name}", "", ""
    for name in ("enabled", "dtype", "lower_precision_safe_modules"):
        yield "deepspeed", f"torch_autocast.{name}", "", ""
    yield "deepspeed", f"data_types.{constants.GRAD_ACCUM_DTYPE}", "", ""
    for name in ("type", "params"):
        yield "deepspeed", f"optimizer.{name}", "", ""
    for name in (
        constants.TRAIN_BATCH_SIZE,
        constants.TRAIN_MICRO_BATCH_SIZE_PER_GPU,
        constants.GRADIENT_ACCUMULATION_STEPS,
        constants.ZERO_ALLOW_UNTESTED_OPTIMIZER,
        "sequence_parallel_size",
    ):
        yield "deepspeed", name, "", ""


def of_megatron() -> Iterator[Row]:
    from megatron.training.arguments import add_megatron_arguments

    yield from of_parser("megatron", add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False)))


def of_accelerate() -> Iterator[Row]:
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import launch_command_parser

    for field in fields(ClusterConfig):
        yield "accelerate", field.name, "", ""
    yield from of_parser("accelerate", launch_command_parser())


def all_rows() -> Iterator[Row]:
    from torch.distributed.run import get_args_parser
    from torchtitan.config.job_config import JobConfig
    from transformers import HfArgumentParser, TrainingArguments

    yield from of_accelerate()
    yield from of_deepspeed()
    yield from of_megatron()
    yield from of_parser("torchrun", get_args_parser())
    yield from of_record("torchtitan", JobConfig)
    yield from of_parser("transformers", HfArgumentParser(TrainingArguments))


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tool", "option", "kind", "choices"))
        writer.writerows(sorted(set(all_rows())))
