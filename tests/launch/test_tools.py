"""Launch files before the real tools' own parsers, where they are installed: pip install -e '.[launch]'.

They take gigabytes and minutes to install, torch above all, so that `.ci/run` does without; test_launch.py holds every
option against a list made of these parsers (list_options.py).
"""

import argparse
import json
import os
import typing
from pathlib import Path
from typing import Any

import pytest

from perfsim.launch.job import Job
from tests.launch.plans import OF_MEGATRON, job_of, jobs, shell_arguments, toml_record, written

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_torchrun_and_the_trainer_parse_the_script() -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.distributed.run import get_args_parser

    parser = transformers.HfArgumentParser(transformers.TrainingArguments)
    for job in jobs("torchrun"):
        own, script = shell_arguments(written("torchrun", job).text)
        parsed = get_args_parser().parse_args([*own, "train.py"])
        assert int(parsed.nnodes) == job.nodes and int(parsed.nproc_per_node) == job.gpus_a_node
        told = parser.parse_args(script)
        assert told.per_device_train_batch_size == job.plan.micro_batch_size
        assert told.gradient_accumulation_steps == job.microbatches
        assert told.bf16 == (job.workload.precision.key == "amp-bf16")


def test_accelerate_loads_the_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser, prepare_multi_gpu_env
    from accelerate.parallelism_config import ParallelismConfig
    from accelerate.utils import FullyShardedDataParallelPlugin, is_fp8_available
    from accelerate.utils.dataclasses import FP8BackendType

    for job in jobs("accelerate"):
        file = tmp_path / "accelerate.yaml"
        file.write_text(written("accelerate", job).text, encoding="utf-8")
        args, *_ = _validate_launch_command(
            launch_command_parser().parse_args(["--config_file", str(file), "train.py"])
        )
        assert args.num_processes == job.gpus and args.num_machines == job.nodes
        is_fp8 = job.workload.precision.key == "fp8"
        if is_fp8 and not is_fp8_available():
            continue
        with monkeypatch.context() as context:
            for key, value in prepare_multi_gpu_env(args).items():
                context.setitem(os.environ, key, value)
            _check_accelerate(job, args, FullyShardedDataParallelPlugin, ParallelismConfig)
            assert not is_fp8 or FP8BackendType(os.environ["ACCELERATE_FP8_BACKEND"]) is FP8BackendType.AO


def _check_accelerate(job: Job, args: Any, plugin_kind: Any, degrees_kind: Any) -> None:
    assert args.use_fsdp == (job.zero > 0)
    if job.zero:
        plugin = plugin_kind()
        assert plugin.fsdp_version == 2 and plugin.reshard_after_forward == (job.zero == 3)
        assert plugin.activation_checkpointing == (job.recompute == 2)
        assert (type(plugin.cpu_offload).__name__ == "CPUOffloadPolicy") == (job.offload == 2)
    if args.use_parallelism_config:
        degrees = degrees_kind()
        assert degrees.total_size == job.gpus
        assert degrees.tp_size == job.plan.tensor_parallel and degrees.cp_size == job.plan.context_parallel


def test_deepspeed_takes_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("deepspeed")
    from deepspeed.runtime import config as theirs

    for job in jobs("deepspeed"):
        record = json.loads(written("deepspeed", job).text)
        split = int(job.plan.tensor_parallel * job.plan.pipeline_parallel)
        monkeypatch.setattr(theirs.dist, "get_rank", lambda: 0)
        monkeypatch.setattr(theirs.dist, "get_world_size", lambda group=None, job=job, split=split: job.gpus // split)
        parsed = theirs.DeepSpeedConfig(record)
        assert parsed.train_batch_size == job.workload.global_batch_size
        assert int(parsed.zero_optimization_stage) == job.zero
        assert parsed.bfloat16_config.enabled == (job.workload.precision.key in ("bf16", "bf16-mixed"))
        offload = parsed.zero_config.offload_optimizer
        assert (offload is not None) == (int(job.offload) in (1, 2))
        assert max(1, parsed.tensor_parallel_config.autotp_size) == job.plan.tensor_parallel
        assert parsed.expert_parallel_config.autoep_size == job.plan.expert_parallel


def test_torchtitan_reads_the_toml(tmp_path: Path) -> None:
    pytest.importorskip("torchtitan.config.job_config", reason="torchtitan 0.2.2 reads TOML")
    from torchtitan.config import ConfigManager

    for job in jobs("torchtitan"):
        file = tmp_path / "torchtitan.toml"
        text = written("torchtitan", job).text
        file.write_text(text, encoding="utf-8")
        parsed = ConfigManager().parse_args([f"--job.config_file={file}"])
        for path, value in toml_record(text).items():
            found: Any = parsed
            for name in path.split("."):
                found = getattr(found, name)
            assert found == value, path
        assert parsed.training.local_batch_size % job.plan.micro_batch_size == 0


def test_megatron_validates_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typing, "override", lambda function: function, raising=False)  # Python 3.12 has it
    pytest.importorskip("megatron.training.arguments", reason="a checkout of NVIDIA/Megatron-LM in PYTHONPATH")
    import torch
    from megatron.training import arguments as theirs

    hopper = argparse.Namespace(major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: hopper)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    odd = [
        job_of({"pipeline_parallel": 8, "zero_stage": 1}, "qwen3-8b", "megatron-core", **OF_MEGATRON),
        job_of({"expert_parallel": 8, "zero_stage": 1}, "deepseek-v3", "megatron-core", **OF_MEGATRON),
        job_of({"recompute": 1}, "gpt2-xl", "megatron-core", **OF_MEGATRON),
    ]
    for job in [*odd, *jobs("megatron")[::4]]:
        if job.workload.precision.key == "nvfp4":
            continue  # asks for an installed Transformer Engine
        _, script = shell_arguments(written("megatron", job).text)
        parser = theirs.add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))
        args = parser.parse_args(script, argparse.Namespace(rank=0, world_size=job.gpus, local_rank=0))
        monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS", raising=False)
        if "export CUDA_DEVICE_MAX_CONNECTIONS=1" in written("megatron", job).text:
            monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
        theirs.validate_args(args)
        assert args.data_parallel_size == job.plan.data_parallel
        if job.workload.precision.key == "fp8" and job.workload.model.moe:
            continue  # likewise
        args.apply_rope_fusion = False  # a kernel of Transformer Engine
        config = theirs.core_transformer_config_from_args(args)
        assert config.num_layers == job.workload.model.layers
        assert config.context_parallel_size == job.plan.context_parallel
