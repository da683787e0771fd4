"""The tools that perfsim writes launch files for, and `launch`, which writes one or says why it cannot."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perfsim.core.software import Software
from perfsim.errors import InputError, UnsupportedError
from perfsim.launch import accelerate, deepspeed, megatron, torchrun, torchtitan
from perfsim.launch.job import Job, LaunchFile, Refusal, common_refusals
from perfsim.report.case import Case


@dataclass(frozen=True)
class Tool:
    """One tool: what people call it, what it cannot say of a job, and its file for one that it can."""

    name: str
    refusals: Callable[[Job], Iterable[Refusal]]
    write: Callable[[Job], LaunchFile]


TOOLS = {
    "torchrun": Tool("torchrun with DDP", torchrun.refusals, torchrun.write),
    "accelerate": Tool("accelerate", accelerate.refusals, accelerate.write),
    "deepspeed": Tool("DeepSpeed", deepspeed.refusals, deepspeed.write),
    "megatron": Tool("Megatron-LM", megatron.refusals, megatron.write),
    "torchtitan": Tool("torchtitan", torchtitan.refusals, torchtitan.write),
}
_DEGREES = ("tensor_parallel", "pipeline_parallel", "context_parallel", "expert_parallel")
_OF_FRAMEWORK = {"deepspeed": "deepspeed", "megatron": "megatron", "megatron-core": "megatron"}


def launch(case: Case, tool: str = "") -> LaunchFile:
    """The launch file of a case's plan for `tool`, a key of TOOLS; the one that its software means unless given.

    Raises: UnsupportedError that lists every choice of the plan that the tool cannot express, and which tool can;
    InputError where the software means none of the tools.
    """
    job = Job(case.workload, case.system, case.plan, case.software)
    key = tool or usual_tool(job)
    found = [_sentence(key, refusal, job) for refusal in refusals(key, job)]
    if found:
        raise UnsupportedError("\n".join(dict.fromkeys(found)))
    return TOOLS[key].write(job)


def refusals(tool: str, job: Job) -> list[Refusal]:
    """Everything of a job that a tool cannot express."""
    return [*common_refusals(job), *TOOLS[tool].refusals(job)]


def usual_tool(job: Job) -> str:
    """The tool that starts a software entry's runs.

    Raises: InputError where none of the tools does.
    """
    software = job.software
    if software.key.startswith("torchtitan"):
        return "torchtitan"
    if software.framework in _OF_FRAMEWORK:
        return _OF_FRAMEWORK[software.framework]
    if _is_plain_pytorch(software):
        return "torchtitan" if job.is_split else ("accelerate" if job.zero else "torchrun")
    todo = f"name one with --for: {', '.join(TOOLS)}"
    raise InputError(f"--for: {software.name} is started by none of the tools that perfsim knows; {todo}")


def _is_plain_pytorch(software: Software) -> bool:
    return software.framework in ("pytorch", "huggingface", "fsdp")


def _sentence(tool: str, refusal: Refusal, job: Job) -> str:
    able = [TOOLS[key].name for key in able_tools(refusal.choice, job)]
    can = " and ".join([", ".join(able[:-1]), able[-1]] if len(able) > 1 else able)
    who = f"{can} can" if able else "none of the other tools can either"
    return f"--for {tool}: {TOOLS[tool].name} has no {refusal.choice} like this: {refusal.why}; {who}"


def able_tools(choice: str, job: Job) -> list[str]:
    """The tools that have a choice of the job, in the way in which its GPUs share the work."""
    needed = {choice, *_DEGREES}
    return [key for key in TOOLS if needed.isdisjoint(found.choice for found in refusals(key, job))]
