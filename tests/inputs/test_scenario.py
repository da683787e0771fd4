"""Scenario files: what they mean, and every way they can be wrong, told at once with its line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfsim import paths
from perfsim.core.plan import Recompute
from perfsim.core.site import Site
from perfsim.core.workload import PRECISIONS, Head, Task
from perfsim.errors import InputError, UnknownNameError
from perfsim.formulas.rent import usd_per_hour
from perfsim.inputs.catalogue import catalogue
from perfsim.inputs.choice import cards_named, divisors_text, systems_for
from perfsim.inputs.options import split_count
from perfsim.inputs.scenario import make_workload, scenario, scenarios
from perfsim.inputs.scenario_file import ALIASES, ScenarioFile

SHIPPED = sorted(paths.builtin("scenarios").glob("*.toml"))
GOOD = """\
[workload]
model = "bert-large"
seq_len = 128
samples = 1000
global_batch_size = 32
[search]
gpus = ["RTX 4090"]
counts = [1, 2]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaints(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        scenarios(written(folder, text), catalogue())
    return [line.split("mine.toml:")[1] for line in str(error.value).split("\n")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_read(path: Path) -> None:
    for s in scenarios(path, catalogue()):
        assert s.systems and s.space.counts and s.workload.steps >= 1 and s.name


def test_bert_is_the_main_job() -> None:
    s = scenario(paths.find_scenario("bert"), catalogue())
    assert s.workload.task is Task.FINETUNE and s.workload.head is Head.CLASSIFICATION
    assert s.workload.steps == 2813  # 120,000 samples x 3 epochs in steps of 128, the last one not full
    assert {"GTX 10", "RTX 20", "RTX 30", "RTX 40", "RTX 50"} <= {system.gpu.series for system in s.systems}
    assert s.space.recompute == (Recompute.NONE, Recompute.FULL) and s.space.micro_batch_size == ()


def test_a_list_of_tasks_is_a_scenario_each() -> None:
    path = paths.find_scenario("llama3-8b-finetune")
    assert [s.workload.task for s in scenarios(path, catalogue())] == [Task.FINETUNE, Task.LORA, Task.QLORA]
    with pytest.raises(InputError, match=r"task: asks for finetune, lora, qlora"):
        scenario(path, catalogue())


def test_auto_and_a_single_value(tmp_path: Path) -> None:
    s = scenario(written(tmp_path, GOOD + 'tensor_parallel = "auto"\nzero_stage = 3\nsystems = "auto"'), catalogue())
    assert s.space.tensor_parallel == () and s.space.zero_stage == (3,)
    assert s.site.deadline_hours == 0.0 and s.objective == "time"


def test_what_a_job_loses_is_told_by_the_site(tmp_path: Path) -> None:
    site = scenario(written(tmp_path, GOOD), catalogue()).site
    assert site == Site() and site.start_up_seconds == 60.0
    keys = "start_up_seconds = 0\ncheckpoint_gb_per_s = 2.5\nfailures_per_gpu_hour = 0\npreemptions_per_hour = 0.05\n"
    told = scenario(written(tmp_path, f"{GOOD}[site]\n{keys}restart_seconds = 90\n"), catalogue()).site
    assert (told.start_up_seconds, told.failures_per_gpu_hour, told.restart_seconds) == (0.0, 0.0, 90.0)
    assert (told.checkpoint_bytes_per_s, told.preemptions_per_hour) == (2.5e9, 0.05)
    (complaint,) = complaints(tmp_path, f"{GOOD}[site]\nrestart_seconds = -1\n")
    assert complaint.startswith("10: site.restart_seconds")


def test_systems_get_their_own_price_or_the_cheapest_of_their_card(tmp_path: Path) -> None:
    named = GOOD.replace('gpus = ["RTX 4090"]', 'systems = ["aws-p4d.24xlarge", "dgx-a100-40gb", "pcie-2x-rtx-5090"]')
    own, other, none = scenario(written(tmp_path, named), catalogue()).systems
    assert own.offers[0].startswith("AWS p4d.24xlarge") and len(own.offers) == 1
    assert 0 < usd_per_hour(other, 8, "on-demand") <= usd_per_hour(own, 8, "on-demand") == 21.957642
    assert usd_per_hour(none, 2, "on-demand") == 0 and none.offers == ()


def test_prices_beside_the_scenario_come_first(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("card,kind,usd,date,source\nRTX 4090,on-demand,0.25,2026-11-01,our lab\n")
    priced = GOOD + '[site]\nprice = "spot"\nprices = ["mine.csv"]\nuse_share = 0.3\nhost_usd = 900.0\n'
    s = scenario(written(tmp_path, priced), catalogue())
    system = s.systems[0]
    assert usd_per_hour(system, np.array([1, 2]), "on-demand").tolist() == [0.25, 0.5]
    assert system.offers[0] == "rtx-4090, 2026-11-01, mine.csv"
    assert usd_per_hour(system, 1, "spot") == 0.29  # which the file does not have
    assert (s.site.price, s.site.use_share, s.site.host_usd) == ("spot", 0.3, 900.0)
    (line,) = complaints(tmp_path, priced.replace("mine.csv", "yours.csv"))
    assert line.startswith("11: site.prices[0]: no such file") and str(tmp_path / "yours.csv") in line


def test_all_problems_at_once(tmp_path: Path) -> None:
    lines = complaints(
        tmp_path,
        """\
software = "pytorch-9"
[workload]
model = "bert-larg"
seq_length = 128
global_batch_size = -3
samples = "many"
precision = "amp-fp17"
epochs = 3
[search]
gpus = ["RTX 4091", 3]
counts = [1, 2.5]
per_device_train_batch_size = 8
recompute = ["ful"]
""",
    )
    assert [int(line.split(":")[0]) for line in lines] == [1, 3, 4, 5, 6, 7, 10, 10, 11, 12, 13]
    text = "\n".join(lines)
    for part in (
        "software: pytorch-9: not among the software",
        "nearest: bert-large-uncased",
        "workload.seq_length: no such key; did you mean seq_len?",
        "workload.global_batch_size: -3 is not allowed; write a number of at least 1",
        "workload.samples: expected a whole number, got 'many'",
        "did you mean amp-fp16?",
        "RTX 4091: not among the gpus",
        "search.gpus[1]: expected a text, got 3",
        "search.counts[1]: expected a whole number",
        "search.per_device_train_batch_size: no such key; did you mean micro_batch_size?",
        "search.recompute[0]: 'ful' is none of none, selective, full; did you mean full?",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("samples = 1000", "epochs = 2", 4, "epochs: counts passes over samples, which are not given"),
        ("samples = 1000", "", 1, "the length of the job is missing; add samples (and epochs), tokens or steps"),
        ("samples = 1000", "samples = 1000\nsteps = 5", 5, "given twice, by samples and steps"),
        ("samples = 1000", "samples = 1000\nlora_rank = 8", 5, "lora_rank: is for the tasks lora and qlora"),
        ("seq_len = 128", "seq_len = 1024", 3, "learned positions for 512 tokens, not for 1,024; write at most 512"),
        ("seq_len = 128", "seq_len = 128\nmlm_positions = 129", 4, "129 exceeds seq_len"),
        ("seq_len = 128", "seq_len = 128\ndecoder_seq_len = 9", 4, "has no second sequence; remove it"),
        ('"bert-large"', '"t5-base"', 1, "decoder_seq_len is missing"),
        ("counts = [1, 2]", "counts = []", 8, "is an empty list"),
        ("counts = [1, 2]", 'counts = "auto"', 8, "counts: are not told"),
        ("counts = [1, 2]", "counts = [1, 2]\ntensor_parallel = [3, 7]", 9, "write 1, 2, 4, 8 or 16"),
        ("counts = [1, 2]", "counts = [1, 2]\npipeline_parallel = 25", 9, "25 stages for 24 layers"),
        ("counts = [1, 2]", "counts = [1, 2]\nexpert_parallel = 2", 9, "bert-large-uncased has no experts; write 1"),
        (
            "counts = [1, 2]",
            "counts = [1, 2]\nmicro_batch_size = 64",
            9,
            "none of 64 divides the 32 sequences of the global batch",
        ),
        ("counts = [1, 2]", 'counts = [1]\nsystems = ["dgx-h100"]', 7, "the systems already name their cards"),
        ('gpus = ["RTX 4090"]', "", 6, 'gpus are missing; add gpus = ["RTX 4090", ...]'),
        ('gpus = ["RTX 4090"]', 'gpus = ["A100"]', 7, "A100: can mean a100-pcie-40gb"),
        ('gpus = ["RTX 4090"]', 'systems = ["pcie-2x-rtx-4090"]', 0, ""),
    ],
)
def test_one_problem(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    text = GOOD.replace(old, new)
    if not what:
        assert scenarios(written(tmp_path, text), catalogue())
        return
    (found,) = complaints(tmp_path, text)
    assert found.startswith(f"{line}: ") and what in found and "; " in found


def test_gpus_that_a_named_system_cannot_hold(tmp_path: Path) -> None:
    named = GOOD.replace('gpus = ["RTX 4090"]', 'systems = ["pcie-2x-rtx-4090"]').replace("[1, 2]", "[2, 16]")
    (found,) = complaints(tmp_path, named)
    assert found.startswith("8: search.counts[1]: 16 GPUs are more than the systems named can hold; write at most 2")
    (found,) = complaints(tmp_path, named.replace("[2, 16]", "[4]").replace('4090"]', '4090", "pcie-8x-rtx-4090"]'))
    assert found.startswith("7: search.systems[0]: holds at most 2 GPUs, fewer than any of counts")


@pytest.mark.parametrize("text", ["", "\n", "workload = 3\nsearch = []\n", "[workload]\n[search]\n", "x = 1\n"])
def test_files_that_say_nothing(tmp_path: Path, text: str) -> None:
    assert complaints(tmp_path, text)


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    text = GOOD.replace('"bert-large"', '"\\u001b[31mx"').replace('"RTX 4090"', '"\\u202e4090"')
    assert all(line.isprintable() for line in complaints(tmp_path, text))


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=8) | st.lists(st.integers())))
def test_any_workload_keys_give_a_workload_or_an_input_error(keys: dict[str, object]) -> None:
    model = catalogue().model("bert-large")
    try:
        workload = make_workload(model, **{k: v for k, v in keys.items() if k != "model"})
    except InputError:
        return
    assert workload.steps >= 1


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.floats(0.01, 100))
def test_steps_hold_every_sample_once_an_epoch(samples: int, batch: int, epochs: float) -> None:
    model = catalogue().model("bert-large")
    made = make_workload(model, samples=samples, epochs=epochs, global_batch_size=batch)
    assert (made.steps - 1) * batch < samples * epochs <= made.steps * batch


def test_heads_and_their_positions() -> None:
    known = catalogue()
    bert, llama, t5 = known.model("bert-large"), known.model("llama3-8b"), known.model("t5-base")
    assert make_workload(bert, seq_len=128).head is Head.CLASSIFICATION
    assert make_workload(bert, task="pretrain", seq_len=128, mlm_positions=20).head_positions == 20
    assert make_workload(bert, task="pretrain", seq_len=128).head_positions == 128
    assert make_workload(bert, head="span", seq_len=384).head_positions == 384
    assert make_workload(llama, seq_len=2048).head_positions == 2048
    assert make_workload(t5, seq_len=512, decoder_seq_len=114).head_positions == 114


def test_frozen_weights_are_held_in_fewer_bytes() -> None:
    model = catalogue().model("llama3-8b")
    full, lora, qlora = (make_workload(model, task=task, precision="bf16") for task in ("finetune", "lora", "qlora"))
    assert (full.base_bytes, lora.base_bytes) == (0.0, 2.0)
    assert 0.516 < qlora.base_bytes < 0.8  # embedding and head stay in 16 bits
    assert (full.lora_rank, lora.lora_rank, qlora.lora_rank) == (0, 16, 16)


def test_workload_keys_are_checked_for_python_too() -> None:
    with pytest.raises(InputError) as error:
        make_workload(catalogue().model("bert-large"), seq_length=128, batch_size=8, precision="fp17", dropout=2.0)
    assert len(str(error.value).split("\n")) == 4 and "did you mean seq_len?" in str(error.value)


def test_precisions_of_the_schema_are_those_of_the_records() -> None:
    schema = ScenarioFile.model_json_schema()["$defs"]["WorkloadKeys"]["properties"]
    assert schema["precision"]["enum"] == list(PRECISIONS)


def test_aliases_lead_to_keys() -> None:
    tables = ScenarioFile.model_json_schema()["$defs"]
    keys = {key for table in tables.values() for key in table.get("properties", {})}
    assert set(ALIASES.values()) <= keys and not set(ALIASES) & keys


def test_the_page_lists_every_key_and_its_example_reads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    schema = ScenarioFile.model_json_schema()
    tables = [schema["$defs"][name]["properties"] for name in ("WorkloadKeys", "SearchKeys", "SiteKeys")]
    assert [key for table in (*tables, schema["properties"]) for key in table if key not in page] == []
    example = page.split("```toml\n")[1].split("```")[0]
    s = scenario(written(tmp_path, example), catalogue())
    assert s.objective == "money" and s.site.deadline_hours == 6


def test_series_and_all() -> None:
    known = catalogue()
    assert {card.series for card in cards_named("rtx 40 series", known)} == {"RTX 40"}
    assert [card.key for card in cards_named("4090", known)] == ["rtx-4090"]
    assert len(cards_named("all", known)) == len(known.names("gpus"))
    with pytest.raises(UnknownNameError, match="nearest"):
        cards_named("RTX 4091", known)


def test_each_count_has_a_system_that_holds_it() -> None:
    known = catalogue()
    for name in ("RTX 3090", "GTX 1070", "H100 SXM5 80GB", "T4"):
        systems = systems_for(known.gpu(name), (1, 2, 4, 8), known)
        assert all(any(s.gpus_per_node >= count for s in systems) for count in (1, 2, 4, 8))
        assert len({s.key for s in systems}) == len(systems)


def test_more_than_a_box_holds_is_left_to_the_search() -> None:
    known = catalogue()
    assert all(system.max_gpus <= 8 for system in systems_for(known.gpu("GTX 1070"), (64,), known))


@given(st.integers(1, 10**5))
def test_divisors_divide(whole: int) -> None:
    numbers = divisors_text(whole).removeprefix("a divisor, such as ").replace(" or ", ", ").split(", ")
    assert all(whole % int(number) == 0 for number in numbers) and numbers[0] == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2x RTX 4090", (2, "RTX 4090")), ("8×A100", (8, "A100")), ("h100:4", (4, "h100")), ("L4", (None, "L4"))],
)
def test_people_write_counts_with_the_card(text: str, expected: tuple[int | None, str]) -> None:
    assert split_count(text) == expected
