"""Launch files: every choice of a plan is said in words that the tool has, or refused."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfsim as ps
from perfsim.core.calibration import Calibration
from perfsim.core.plan import Recompute
from perfsim.core.site import Site
from perfsim.errors import InputError, UnsupportedError
from perfsim.inputs.catalogue import catalogue
from perfsim.launch.job import Job
from perfsim.launch.tools import TOOLS, able_tools, launch, refusals, usual_tool
from perfsim.report.case import Case, make_case
from tests.launch.plans import (
    BASE,
    CHANGES,
    OF_MEGATRON,
    SOFTWARE,
    WORDS,
    experts_of,
    job_of,
    jobs,
    known,
    pairs,
    shell_arguments,
    toml_record,
    written,
    yaml_record,
)

SPLITS = ("tensor", "context", "pipeline")
PAGE = Path(__file__).parents[2] / "docs" / "launch.md"


def base_of(tool: str) -> dict[str, Any]:
    return OF_MEGATRON if tool == "megatron" else BASE


def said(tool: str, job: Job) -> str:
    """All that a person and the tool are told but for the title; nothing where a choice is refused."""
    found = refusals(tool, job)
    file = None if found else written(tool, job)
    return f"{file.text.replace(job.title, '')}{file.notes}" if file else ""


def is_told(tool: str, job: Job, choice: str, before: Job) -> bool:
    return bool(refusals(tool, job)) or said(tool, job) != said(tool, before)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("choice", CHANGES)
def test_no_choice_of_a_plan_is_dropped(tool: str, choice: str) -> None:
    software = SOFTWARE[tool]
    for changes in CHANGES[choice]:
        for stage in (0, 1, 2, 3):
            full = {"zero_stage": stage, **changes}
            without = {key: value for key, value in full.items() if key != choice}
            job, before = (job_of(some, experts_of(tool), software, **base_of(tool)) for some in (full, without))
            if job.plan != before.plan and not (choice == "zero_stage" and stage == 0):
                assert is_told(tool, job, choice, before), (changes, stage)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("choice", WORDS)
def test_no_choice_of_the_workload_is_dropped(tool: str, choice: str) -> None:
    told = [said(tool, job_of(software=SOFTWARE[tool], **{**base_of(tool), choice: value})) for value in WORDS[choice]]
    kept = [text for text in told if text]
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_refusal_names_a_tool_that_can(tool: str) -> None:
    for changes in (one for some in CHANGES.values() for one in some):
        job = job_of(changes, software=SOFTWARE[tool], **base_of(tool))
        found = refusals(tool, job)
        if not found:
            continue
        with pytest.raises(UnsupportedError) as error:
            launch(case_of(job), tool)
        for line in str(error.value).splitlines():
            assert line.startswith(f"--for {tool}: {TOOLS[tool].name} has no ")
        for refusal in found:
            able = able_tools(refusal.choice, job)
            line = next(line for line in str(error.value).splitlines() if refusal.why in line)
            assert tool not in able
            assert all(TOOLS[key].name in line for key in able)
            assert line.endswith(" can") if able else line.endswith("none of the other tools can either")


def case_of(job: Job) -> Case:
    calibration: Calibration = catalogue().calibration()
    return make_case(job.workload, job.system, job.plan, job.software, calibration, Site())


@pytest.mark.parametrize("tool", TOOLS)
def test_degrees_and_batches_multiply(tool: str) -> None:
    found = jobs(tool)
    assert len(found) >= 10
    for job in found:
        file = written(tool, job)
        notes = "" if file.text.startswith("#") else "".join(f"\n# {note}" for note in file.notes)
        gpus, batch = READERS[tool](file.text + notes, job)
        assert gpus == job.gpus == job.nodes * job.gpus_a_node
        assert batch == job.workload.global_batch_size


def of_torchrun(text: str, job: Job) -> tuple[int, int]:
    own, script = map(pairs, shell_arguments(text))
    gpus = int(own["--nnodes"]) * int(own["--nproc-per-node"])
    each = int(script["--per_device_train_batch_size"]) * int(script["--gradient_accumulation_steps"])
    return gpus, each * gpus


def of_accelerate(text: str, job: Job) -> tuple[int, int]:
    record = yaml_record(text)
    arguments = pairs(next(line for line in text.splitlines() if "accelerate launch" in line).split())
    degrees = record.get("parallelism_config", {})
    sizes = {key: degrees.get(f"parallelism_config_{key}_size", 1) for key in ("dp_replicate", "dp_shard", "tp", "cp")}
    gpus = record["num_processes"]
    if degrees:
        assert sizes["dp_replicate"] * sizes["dp_shard"] * sizes["tp"] * sizes["cp"] == gpus
    each = int(arguments["--per_device_train_batch_size"]) * int(arguments["--gradient_accumulation_steps"])
    return gpus, each * gpus // (sizes["tp"] * sizes["cp"])


def of_deepspeed(text: str, job: Job) -> tuple[int, int]:
    record = json.loads(text[: text.index("\n# ")])
    command = pairs(next(line for line in text.splitlines() if line.startswith("# run: ")).split())
    gpus = int(command.get("--num_nodes", 1)) * int(command["--num_gpus"])
    split = record.get("tensor_parallel", {}).get("autotp_size", 1) * record.get("sequence_parallel_size", 1)
    split *= record.get("pipeline", {}).get("stages", 1)
    each = record["train_micro_batch_size_per_gpu"] * record["gradient_accumulation_steps"]
    assert record["train_batch_size"] == each * gpus // split
    return gpus, record["train_batch_size"]


def of_megatron(text: str, job: Job) -> tuple[int, int]:
    own, script = map(pairs, shell_arguments(text))
    gpus = int(own["--nnodes"]) * int(own["--nproc-per-node"])
    split = 1
    for name in ("--tensor-model-parallel-size", "--pipeline-model-parallel-size", "--context-parallel-size"):
        split *= int(script[name])
    replicas = gpus // split
    batch = int(script["--global-batch-size"])
    assert batch == int(script["--micro-batch-size"]) * job.microbatches * replicas
    return gpus, batch


def of_torchtitan(text: str, job: Job) -> tuple[int, int]:
    record = toml_record(text)
    names = (
        "data_parallel_replicate",
        "data_parallel_shard",
        "tensor_parallel",
        "context_parallel",
        "pipeline_parallel",
    )
    sizes = {name: record[f"parallelism.{name}_degree"] for name in names}
    gpus = 1
    for size in sizes.values():
        gpus *= size
    replicas = sizes["data_parallel_replicate"] * sizes["data_parallel_shard"]
    accumulation = record["training.global_batch_size"] // (record["training.local_batch_size"] * replicas)
    size = record.get("parallelism.pipeline_parallel_microbatch_size", record["training.local_batch_size"])
    fed = record["training.local_batch_size"] // size
    assert accumulation * fed == job.microbatches
    return gpus, accumulation * fed * size * replicas


READERS = {
    "torchrun": of_torchrun,
    "accelerate": of_accelerate,
    "deepspeed": of_deepspeed,
    "megatron": of_megatron,
    "torchtitan": of_torchtitan,
}


def check(tool: str, option: str, value: str) -> None:
    """The tool has the option, and the value is one that it takes."""
    assert option in known(tool), f"{tool} has no {option}"
    kind, choices = known(tool)[option]
    assert not choices or value in choices.split(), f"{option} of {tool} takes {choices}, not {value}"
    if kind == "switch":
        assert value == "", f"{option} of {tool} takes no value"
    elif kind in ("int", "float"):
        assert float(value) == (int(value) if kind == "int" else float(value))
    else:
        assert value != "", f"{option} of {tool} needs a value"


@pytest.mark.parametrize("tool", ["torchrun", "megatron"])
def test_scripts_say_options_that_the_tools_have(tool: str) -> None:
    for job in jobs(tool):
        own, script = shell_arguments(written(tool, job).text)
        for option, value in pairs(own).items():
            check("torchrun", option, value)
        for option, value in pairs(script).items():
            check("transformers" if tool == "torchrun" else "megatron", option, value)


@pytest.mark.parametrize("tool", ["accelerate", "deepspeed"])
def test_commands_say_options_that_the_trainer_has(tool: str) -> None:
    for job in jobs(tool):
        words = next(note for note in written(tool, job).notes if note.startswith("run")).split(".py", 1)[1].split()
        for option, value in pairs(words).items():
            if option not in ("--deepspeed_config",):  # of a pipeline's own script
                check("transformers", option, value)


def test_accelerate_has_the_keys() -> None:
    for job in jobs("accelerate"):
        for key, value in yaml_record(written("accelerate", job).text).items():
            assert key in known("accelerate")
            for inner, told in value.items() if isinstance(value, dict) else ():
                prefix = "fp8_" if key == "fp8_config" else ""
                text = str(told).lower() if isinstance(told, bool) else str(told)
                is_shouted = inner in ("dynamo_backend", "backend")  # in a file, unlike on the command line
                check("accelerate", f"--{prefix}{inner}", text.lower() if is_shouted else text)


def test_deepspeed_has_the_keys() -> None:
    def paths(table: dict[str, Any], prefix: str = "") -> list[str]:
        nested = {key: value for key, value in table.items() if isinstance(value, dict)}
        inner = [path for key, value in nested.items() if key != "params" for path in paths(value, f"{prefix}{key}.")]
        return [*(prefix + key for key in table if key not in nested or key == "params"), *inner]

    for job in jobs("deepspeed"):
        record = json.loads(written("deepspeed", job).text)
        assert set(paths(record)) <= set(known("deepspeed"))


def test_torchtitan_has_the_keys() -> None:
    kinds = {"int": int, "str": str, "bool": bool}
    for job in jobs("torchtitan"):
        for key, value in toml_record(written("torchtitan", job).text).items():
            kind, choices = known("torchtitan")[key]
            assert not choices or value in choices.split()
            assert type(value) is kinds.get(kind, type(value))


def test_stages_of_unlike_length_are_laid_out() -> None:
    job = job_of({"pipeline_parallel": 8, "zero_stage": 1}, "qwen3-8b", "megatron-core", **OF_MEGATRON)
    _, script = shell_arguments(written("megatron", job).text)
    layout = pairs(script)["--pipeline-model-parallel-layout"]
    held = [int(stage.strip("EL").removeprefix("t*")) for stage in layout.split("|")]
    assert (layout[0], layout[-1], held) == ("E", "L", [4, 4, 5, 5, 5, 5, 4, 4])


def test_blocks_of_recomputed_layers_are_counted_per_chunk() -> None:
    changes = {"pipeline_parallel": 4, "virtual_stages": 2, "recompute": Recompute.FULL, "recompute_layers": 16}
    _, script = shell_arguments(written("megatron", job_of(changes, software="megatron-core", **OF_MEGATRON)).text)
    assert pairs(script)["--recompute-num-layers"] == "2" and pairs(script)["--recompute-method"] == "block"


def test_software_means_its_tool() -> None:
    found = {}
    for key in catalogue().names("software"):
        try:
            found[key] = usual_tool(job_of(software=key))
        except InputError as error:
            assert "name one with --for: torchrun, accelerate, deepspeed, megatron, torchtitan" in str(error)
    assert {found["torchtitan"], found["megatron-core"], found["nemo"]} == {"torchtitan", "megatron"}
    assert found["deepspeed-2020"] == "deepspeed" and found["pytorch-2-eager"] == "torchrun"
    assert usual_tool(job_of({"zero_stage": 3}, software="pytorch-2-eager")) == "accelerate"
    assert usual_tool(job_of({"pipeline_parallel": 4}, software="pytorch-2-eager")) == "torchtitan"
    assert "jax" not in found and "torchtune" not in found and "tensorflow-2" not in found


def test_nodes_that_are_not_full_are_refused() -> None:
    assert "gpus" in {one.choice for one in refusals("torchrun", job_of(gpus=12, global_batch_size=48))}


def test_adapters_and_padding_are_told_or_refused() -> None:
    for tool in ("torchrun", "accelerate", "deepspeed"):
        job = job_of(software=SOFTWARE[tool], **{**BASE, "task": "qlora", "lora_rank": 24})
        text = said(tool, job)
        assert "peft.LoraConfig(r=24" in text and "load_in_4bit=True" in text
    padded = {"sample_tokens": 300, "packed": False}
    for tool in ("megatron", "torchtitan"):
        job = job_of(software=SOFTWARE[tool], **{**base_of(tool), **padded})
        assert [one.choice for one in refusals(tool, job)] == ["packed"]


def test_the_pages_table_names_options_that_the_tools_have() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## Which tool says what")[1].split("## How")[0]
    rows = [line.strip("|").split("|")[1:] for line in table.splitlines() if line.startswith("| ")][2:]
    tools = ("torchrun", "accelerate", "deepspeed", "megatron", "torchtitan")
    others = {"--num_nodes", "--num_gpus"}  # of DeepSpeed's own command, which lists no parser
    for row in rows:
        assert len(row) == len(tools)
        for tool, cell in zip(tools, row, strict=True):
            for option in re.findall(r"`([^`]+)`", cell):
                homes = [*known(tool), *known("torchrun"), *known("transformers")]
                names = {name.removeprefix("--") if tool == "accelerate" else name for name in homes}
                tables = {name.rpartition(".")[0] for name in homes}
                assert option in names | others | tables, f"{tool} has no {option}"


@pytest.mark.parametrize("tool", TOOLS)
def test_the_pages_table_refuses_what_is_refused(tool: str) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    column = 2 + list(TOOLS).index(tool)
    for choice, plans in CHANGES.items():
        rows = tuple(f"| `{choice}` {more}|" for more in ("", "above 0 ", "pipeline-inner "))
        cells = [line.split("|")[column].strip() for line in lines if line.startswith(rows)]
        made = [{**more, **changes} for changes in plans for more in ({}, {"zero_stage": 1}, {"zero_stage": 3})]
        found = [
            {one.choice for one in refusals(tool, job_of(plan, experts_of(tool), SOFTWARE[tool], **base_of(tool)))}
            for plan in made
        ]
        if cells == ["-"]:
            assert all(found), choice
        elif cells:
            assert any(choice not in some for some in found), choice


def test_torchtitans_models_differ_in_what_they_can() -> None:
    for model, changes, choice in (
        ("qwen3-8b", {"pipeline_parallel": 4, "zero_stage": 3}, "pipeline_parallel"),
        ("deepseek-v3", {"context_parallel": 2, "zero_stage": 3}, "context_parallel"),
        ("llama3-8b", {"context_parallel": 2, "zero_stage": 3}, ""),
    ):
        found = [one.choice for one in refusals("torchtitan", job_of(changes, model, "torchtitan", **BASE))]
        assert found == ([choice] if choice else [])


@pytest.mark.parametrize("tool", TOOLS)
def test_a_lowered_power_limit_is_told(tool: str) -> None:
    job = job_of(software=SOFTWARE[tool], **base_of(tool))
    limited = replace(job, system=ps.with_power_limit(job.system, 500.0))
    told = [note for note in TOOLS[tool].write(limited).notes if "nvidia-smi -pl 500" in note]
    assert len(told) == 1 and not any("nvidia-smi" in note for note in TOOLS[tool].write(job).notes)
