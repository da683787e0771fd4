"""`perfsim sweep`: stdout holds the answer alone, exit codes say what happened."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfsim.cli.main import main
from perfsim.formulas.fits import SURE_CHANCE

SMALL = """\
[workload]
model = "bert-large"
seq_len = 128
samples = 1000
global_batch_size = 32
precision = "amp-fp16"
[search]
gpus = ["RTX 4090", "GTX 1080 Ti", "T4"]
counts = [1, 2]
"""


def swept(folder: Path, text: str, *options: str) -> Result:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["sweep", str(path), *options])


def test_main_job_fits_a_screen() -> None:
    result = CliRunner().invoke(main, ["sweep", "bert"])
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and result.stderr == ""
    assert lines[0].startswith("Cheapest: ") and " a GPU" in lines[0]
    assert len(lines) <= 25 and max(map(len, lines)) <= 100 and "\x1b" not in result.stdout


def test_json_alone_on_standard_output(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL, "--json", "-")
    answer = json.loads(result.stdout)
    assert {row["gpu"] for row in answer["rows"]} == {"rtx-4090", "gtx-1080-ti", "t4"}
    hours = [row["job_hours"] for row in answer["rows"]]
    assert hours == sorted(hours) and str(tmp_path) not in result.stdout


def test_files_and_table_together(tmp_path: Path) -> None:
    names = {option: tmp_path / f"answer.{option}" for option in ("json", "csv", "md")}
    result = swept(tmp_path, SMALL, *(word for o, path in names.items() for word in (f"--{o}", str(path))))
    assert result.stdout.startswith("Fastest: ")
    rows = list(csv.DictReader(io.StringIO(names["csv"].read_text())))
    assert len(rows) == 3 and names["md"].read_text().count("\n") == 5
    assert [row["gpu"] for row in rows] == [row["gpu"] for row in json.loads(names["json"].read_text())["rows"]]


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    assert swept(tmp_path, SMALL, "--csv", "-").stdout_bytes == swept(tmp_path, SMALL, "--csv", "-").stdout_bytes


def test_top_and_all(tmp_path: Path) -> None:
    assert swept(tmp_path, SMALL, "--top", "1", "--md", "-").stdout.count("\n") == 3
    all_rows = json.loads(swept(tmp_path, SMALL, "--all", "--json", "-").stdout)["rows"]
    assert len(all_rows) > 3
    assert swept(tmp_path, SMALL, "--top", "0").exit_code == 2


@pytest.mark.parametrize(("objective", "figure"), [("money", "job_usd"), ("energy", "job_kwh"), ("time", "job_hours")])
def test_ranked_by_the_objective(tmp_path: Path, objective: str, figure: str) -> None:
    result = swept(tmp_path, SMALL + f'objective = "{objective}"\n', "--all", "--json", "-")
    rows = [row for row in json.loads(result.stdout)["rows"] if row[figure] is not None]
    safe = [row["fit_probability"] >= 0.95 for row in rows]
    assert safe == sorted(safe, reverse=True)
    for kind in (True, False):
        figures = [row[figure] for row, is_safe in zip(rows, safe, strict=True) if is_safe is kind]
        assert figures == pytest.approx(sorted(figures))


def test_nothing_fits_is_exit_1_with_the_nearest_change(tmp_path: Path) -> None:
    text = SMALL.replace("bert-large", "llama3-70b").replace('"amp-fp16"', '"amp-bf16"')
    result = swept(tmp_path, text.replace('"GTX 1080 Ti", "T4"', '"L4"'))
    assert result.exit_code == 1 and result.stdout.startswith("Nothing fits: none of ")
    assert "would fit: " in result.stdout or "no single change" in result.stdout


def test_limits_that_nothing_meets_are_exit_1(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL + "[site]\ndeadline_hours = 1e-6\n")
    assert result.exit_code == 1 and result.stdout.startswith("Nothing meets the limits")


def test_users_files_are_exit_2_with_lines(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL.replace("seq_len", "seq_length").replace("T4", "T5"))
    assert result.exit_code == 2 and result.stdout == ""
    assert [line.split("mine.toml:")[1].split(":")[0] for line in result.stderr.splitlines()] == ["3", "8"]


@pytest.mark.parametrize("name", ["nope.toml", "../../etc/passwd", "bert\0", "x" * 5000])
def test_no_such_scenario(name: str) -> None:
    result = CliRunner().invoke(main, ["sweep", name])
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_two_answers_on_one_terminal(tmp_path: Path) -> None:
    assert swept(tmp_path, SMALL, "--json", "-", "--csv", "-").exit_code == 2


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL, "--json", str(tmp_path / "no" / "x.json"))
    assert result.exit_code == 2 and "cannot be written: no such file or directory" in result.stderr


def test_tasks_are_told_one_after_the_other(tmp_path: Path) -> None:
    text = SMALL.replace("[workload]", '[workload]\ntask = ["finetune", "lora"]')
    result = swept(tmp_path, text)
    assert result.stdout.count("\n== ") + result.stdout.startswith("== ") == 2
    rows = json.loads(swept(tmp_path, text, "--json", "-").stdout)["rows"]
    assert {row["task"] for row in rows} == {"finetune", "lora"}


def test_own_specs_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "specs" / "gpus"
    folder.mkdir(parents=True)
    from perfsim import paths

    (folder / "my-card.toml").write_bytes((paths.builtin("specs") / "gpus" / "rtx-4090.toml").read_bytes())
    path = tmp_path / "mine.toml"
    path.write_text(SMALL.replace('"T4"', '"my-card"'), encoding="utf-8")
    result = CliRunner().invoke(main, ["--specs", str(folder.parent), "sweep", str(path)])
    assert result.exit_code == 0 and "own specs:" in result.stdout and "my-card.toml" in result.stdout


def test_a_front_in_every_form(tmp_path: Path) -> None:
    names = {option: tmp_path / f"front.{option}" for option in ("json", "csv", "md", "svg")}
    files = [word for o, path in names.items() for word in ("--plot" if o == "svg" else f"--{o}", str(path))]
    result = swept(tmp_path, SMALL, "--pareto", "time, GPUs", *files)
    assert result.exit_code == 0 and " plans that none beats in time and GPUs: " in result.stdout.splitlines()[0]
    answer = json.loads(names["json"].read_text())
    hours, gpus = ([row[name] for row in answer["rows"]] for name in ("job_hours", "gpus"))
    assert answer["front"] == ["time", "gpus"] and hours == sorted(hours) and gpus == [2, 1]
    assert len(list(csv.DictReader(io.StringIO(names["csv"].read_text())))) == 2
    assert names["md"].read_text().count("\n") == 4
    assert "2x RTX 4090" in names["svg"].read_text() and "the job's time [h]" in names["svg"].read_text()
    first = json.loads(swept(tmp_path, SMALL, "--pareto", "time,gpus", "--top", "1", "--json", "-").stdout)["rows"]
    assert first == answer["rows"][:1]


def test_rows_and_scaling_are_drawn(tmp_path: Path) -> None:
    for options, words in (((), ("memory of the fullest GPU", "one step")), (("--scaling",), ("samples/s", "ideal"))):
        file = tmp_path / "answer.svg"
        assert swept(tmp_path, SMALL, *options, "--plot", str(file)).exit_code == 0
        assert all(word in file.read_text(encoding="utf-8") for word in words)


def test_scaling_tells_the_fastest_plan_of_each_count(tmp_path: Path) -> None:
    rows = json.loads(swept(tmp_path, SMALL, "--scaling", "--json", "-").stdout)["rows"]
    every = json.loads(swept(tmp_path, SMALL, "--all", "--json", "-").stdout)["rows"]
    for row in rows:
        alike = [one for one in every if (one["gpu"], one["gpus"]) == (row["gpu"], row["gpus"])]
        safe = [one for one in alike if one["fit_probability"] >= SURE_CHANCE] or alike
        assert row["step_seconds"] == min(one["step_seconds"] for one in safe)
    assert len({(row["gpu"], row["gpus"]) for row in rows}) == len(rows) > 2
    told = swept(tmp_path, SMALL, "--scaling").stdout
    assert told.startswith("Fastest plan of each number of GPUs") and max(map(len, told.splitlines())) <= 100
    one = swept(tmp_path, SMALL, "--scaling", "--top", "1").stdout
    assert "more card" in one and one.count("x T4") + one.count("x RTX 4090") == 2
    assert swept(tmp_path, SMALL, "--scaling", "--all").exit_code == 2


def test_several_tasks_are_not_drawn_as_one(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL.replace("[workload]", '[workload]\ntask = ["finetune", "lora"]'), "--plot", "x.png")
    assert result.exit_code == 2 and "draws one task, not finetune, lora" in result.stderr


def test_headroom_is_searched_for_when_it_is_asked_for(tmp_path: Path) -> None:
    rows = json.loads(swept(tmp_path, SMALL, "--pareto", "headroom,time", "--json", "-").stdout)["rows"]
    left = [row["memory_capacity_bytes"] - row["memory_bytes"] for row in rows]
    assert len(rows) > 2 and left == sorted(left, reverse=True)
    every = json.loads(swept(tmp_path, SMALL, "--all", "--json", "-").stdout)["rows"]
    assert left[0] >= max(row["memory_capacity_bytes"] - row["memory_bytes"] for row in every)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--pareto", "time,mony"], "--pareto: 'mony': no such figure; did you mean money?"),
        (["--pareto", "time,xyz"], "there are step-time, time, money, energy, gpus, headroom"),
        (["--pareto", "time"], "needs two figures or more"),
        (["--pareto", "time,time"], "needs two figures or more"),
        (["--pareto", ""], "--pareto: '': no such figure"),
        (["--pareto", "time,money", "--all"], "keep one of them"),
        (["--pareto", "time,money", "--plot", "x.gif"], "write a name in .png or .svg"),
        (["--plot", "x.gif"], "write a name in .png or .svg"),
    ],
)
def test_a_front_that_cannot_be_is_exit_2_at_once(tmp_path: Path, options: list[str], told: str) -> None:
    result = swept(tmp_path, SMALL, *options)
    assert result.exit_code == 2 and result.stdout == "" and told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_front_of_what_misses_the_limits_is_exit_1(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL + "[site]\ndeadline_hours = 1e-6\n", "--pareto", "time,energy")
    assert result.exit_code == 1 and result.stdout.startswith("Nothing meets the limits; ")


def test_what_became_of_all_plans_is_told(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL, "--json", str(tmp_path / "x.json"))
    told = json.loads((tmp_path / "x.json").read_text())["certificate"]["finetune"]
    parts = ("illegal", "repeated", "too_large", "beaten", "costed")
    assert told["considered"] == sum(told[part] for part in parts)
    assert f"{told['considered']:,} plans: " in result.stdout


def test_sockets_that_bear_nothing_are_exit_1(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL + "[site]\nsocket_watts = 50\n")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 1 and "more than its sockets give" in text
    assert "try: a lower power_limit_watts, or fewer GPUs a machine" in text


def test_a_page_beside_the_table(tmp_path: Path) -> None:
    page = tmp_path / "a page.html"
    result = swept(tmp_path, SMALL, "--top", "2", "--html", str(page))
    text = page.read_text(encoding="utf-8")
    assert result.stdout.startswith("Fastest: ") and text.startswith("<!DOCTYPE html>")
    command = f"perfsim sweep {tmp_path / 'mine.toml'} --top 2 --html &#39;{page}&#39;"
    assert command in text and len(text) < 500_000


def test_a_page_of_nothing_that_fits_is_written_too(tmp_path: Path) -> None:
    result = swept(tmp_path, SMALL.replace("bert-large", "llama3-70b"), "--html", "-")
    assert result.exit_code == 1 and "Nothing fits: none of " in result.stdout and "<!DOCTYPE html>" in result.stdout


def test_a_page_without_jinja2_is_exit_2_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = swept(tmp_path, SMALL, "--html", str(tmp_path / "x.html"))
    assert result.exit_code == 2 and "perfsim[report]" in result.stderr and result.stdout == ""
