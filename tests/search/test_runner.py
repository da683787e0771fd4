"""Whoever searches the pieces, and however often they were stopped: the same answer, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import perfsim as ps
from perfsim.cli.main import main
from perfsim.core.plan import Offload, Placement, Recompute, Schedule
from perfsim.core.site import Site
from perfsim.errors import InputError, PerfsimError
from perfsim.search import runner
from perfsim.search.branch import examine, nothing, pieces, together
from perfsim.search.folder import Folder
from perfsim.search.question import Question
from perfsim.search.runner import Runner
from perfsim.search.space import Space, filled

PLANS_A_PIECE = 20_000


def question_of(counts: tuple[int, ...] = (8, 16, 32)) -> Question:
    """Some twenty pieces on two systems, one of which holds few GPUs."""
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model("llama3-8b"), task="pretrain", seq_len=2048, global_batch_size=96, steps=100,
        precision="bf16-mixed",
    )  # fmt: skip
    space = Space(
        counts, zero_stage=(0, 1, 3), recompute=tuple(Recompute), offload=(Offload.NONE,), schedule=tuple(Schedule)[:3],
        placement=tuple(Placement),
    )  # fmt: skip
    systems = (catalogue.system("dgx-h100"), catalogue.system("aws-g5.48xlarge"))
    software = catalogue.software("megatron-core")
    return Question(workload, software, catalogue.calibration(), systems, filled(space, workload, systems), Site())


@pytest.fixture(scope="module")
def question() -> Question:
    return question_of()


@pytest.fixture(scope="module")
def expected(question: Question) -> dict[str, Any]:
    return flat(Runner(plans_a_piece=PLANS_A_PIECE).run(question))


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every number of a record by its place, arrays as type and bytes."""
    if is_dataclass(value):
        parts = (flat(getattr(value, f.name), f"{name}.{f.name}") for f in fields(value))
        return {key: one for part in parts for key, one in part.items()}
    return {name: (value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else value}


def times(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in sorted(folder.glob("piece-*.npz"))}


def wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_pieces_in_any_order_are_the_whole(question: Question, expected: dict[str, Any]) -> None:
    parts = list(pieces(question, PLANS_A_PIECE))
    assert len(parts) > 15
    found = nothing(question)
    for i in np.random.default_rng(0).permutation(len(parts)):
        found = together(question, [found, examine(question, parts[i])])
    assert flat(found) == expected
    assert found.certificate.considered == question.space.size * len(question.systems)


def test_processes_find_the_same(question: Question, expected: dict[str, Any]) -> None:
    told: list[tuple[int, int]] = []
    found = Runner(workers=2, plans_a_piece=PLANS_A_PIECE).run(question, lambda *done: told.append(done))
    assert flat(found) == expected
    assert told == sorted(told) and told[0][0] == 0 and told[-1][0] == told[-1][1] == found.certificate.considered


def test_goes_on_with_what_is_there(question: Question, expected: dict[str, Any], tmp_path: Path) -> None:
    resumed: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []
    folder = tmp_path / "new" / "out"
    ours = Runner(folder=folder, plans_a_piece=PLANS_A_PIECE, resumed=lambda *n: resumed.append(n))
    assert flat(ours.run(question)) == expected
    before = times(folder)
    files = sorted(folder.glob("piece-*.npz"), key=lambda file: -file.stat().st_size)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-100])
    files[2].write_bytes(b"")
    files[3].write_bytes(files[-1].read_bytes())
    data = bytearray(files[4].read_bytes())
    data[data.rindex(b"NUMPY") + 140] ^= 1  # a bit of the last array
    files[4].write_bytes(data)
    np.savez(files[5], piece=np.array([{}], dtype=object))
    assert flat(ours.run(question, lambda *done: told.append(done))) == expected
    assert resumed == [(0, len(files)), (len(files) - 6, len(files))] and told[0][0] > 0
    changed = dict(times(folder).items() - before.items())
    assert sorted(changed) == sorted(file.name for file in files[:6])


def test_a_piece_is_as_it_was_found(question: Question, tmp_path: Path) -> None:
    folder = Folder.of(tmp_path, question, PLANS_A_PIECE)
    founds = [examine(question, piece) for piece in list(pieces(question, PLANS_A_PIECE))[:4]]
    assert any(len(found) for found in founds)
    for number, found in enumerate([nothing(question), *founds]):
        folder.write(number, found)
        read = folder.read(number)
        assert read is not None and flat(read) == flat(found)


@pytest.mark.parametrize("change", [
    {"site": Site(usd_per_kwh=0.151)}, {"has_headroom": True}, {"space": None}, {"workload": None}, {"systems": None},
])  # fmt: skip
def test_another_questions_folder_is_refused(question: Question, tmp_path: Path, change: dict[str, Any]) -> None:
    Folder.of(tmp_path, question, PLANS_A_PIECE)
    Folder.of(tmp_path, question_of(), PLANS_A_PIECE)
    changes = {
        "space": replace(question.space, counts=(8, 16)),
        "workload": replace(question.workload, steps=101),
        "systems": question.systems[::-1],
    }
    other = replace(question, **{name: changes[name] if value is None else value for name, value in change.items()})
    with pytest.raises(InputError, match=rf"other {next(iter(change)).replace('_', ' ')}; name a new or an empty"):
        Folder.of(tmp_path, other, PLANS_A_PIECE)
    with pytest.raises(InputError, match="other plans a piece"):
        Folder.of(tmp_path, question, PLANS_A_PIECE + 1)


def test_folders_that_cannot_be_used(question: Question, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "question.json").write_text('{"perf')
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "question.json").write_text("[]")
    for path, what in (
        (tmp_path / "file", "is a file;"), (tmp_path / "file" / "x", "cannot be used: not a directory"),
        (tmp_path / "torn", "is no question"), (tmp_path / "list", "is no question"), (tmp_path, "holds other files"),
        (Path("/proc/no"), "cannot be used"), (tmp_path / ("x" * 300), "cannot be used: file name too long"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=what):
            Folder.of(path, question, PLANS_A_PIECE)


SEARCH = """
import sys
from pathlib import Path
from tests.search.test_runner import PLANS_A_PIECE, question_of
from perfsim.search.runner import Runner
if __name__ == "__main__":
    Runner(workers=int(sys.argv[2]), folder=Path(sys.argv[1]), plans_a_piece=PLANS_A_PIECE).run(question_of())
"""


def started(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
    here = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *command], cwd=here, env=environment, start_new_session=True, **more)


@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGKILL), (2, signal.SIGKILL), (2, signal.SIGINT)])
def test_killed_and_started_again(
    question: Question, expected: dict[str, Any], tmp_path: Path, workers: int, how: signal.Signals
) -> None:
    script, out = tmp_path / "search.py", tmp_path / "out"
    script.write_text(SEARCH)
    with started([str(script), str(out), str(workers)], stderr=subprocess.PIPE) as process:
        wait_until(lambda: len(times(out)) >= 3)
        (os.killpg if how is signal.SIGINT else os.kill)(process.pid, how)
        _, errors = process.communicate(timeout=20)
    assert process.returncode != 0 and errors.count(b"Traceback") == (how is signal.SIGINT)
    before, resumed = times(out), []
    assert 3 <= len(before) < len(list(pieces(question, PLANS_A_PIECE)))
    ours = Runner(folder=out, plans_a_piece=PLANS_A_PIECE, resumed=lambda *n: resumed.append(n))
    assert flat(ours.run(question)) == expected
    assert resumed[0][0] == len(before) and before.items() <= times(out).items()


def test_a_killed_worker_is_told(question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_examine", _dies)
    with pytest.raises(PerfsimError, match=r"a worker process was killed.*goes on where it stopped"):
        Runner(workers=2, plans_a_piece=PLANS_A_PIECE).run(question)


def _dies(piece: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a Dask scheduler, and its workers: one thread each, and nobody to start them again."""
    file = folder / "scheduler.json"
    log = (folder / "dask.log").open("wb")
    quiet: dict[str, Any] = {"stdout": log, "stderr": log}
    listen = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    processes = [started(["-m", "dask", "scheduler", *listen, "--scheduler-file", str(file)], **quiet)]
    wait_until(lambda: file.exists() and bool(file.read_text().endswith("}")))
    address = json.loads(file.read_text())["address"]
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    processes += [
        started(
            ["-m", "dask", "worker", address, *options],
            **quiet,
        )
        for _ in range(workers)
    ]
    try:
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()


def test_a_dask_cluster_that_loses_its_workers(
    question: Question, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path, workers=2) as (address, workers):
        out, told = tmp_path / "out", []

        def progress(done: int, total: int) -> None:
            told.append(done)
            if len(told) == 5:
                workers[0].kill()

        ours = Runner(scheduler=address, folder=out, plans_a_piece=PLANS_A_PIECE)
        assert flat(ours.run(question, progress)) == expected
        assert workers[0].wait() != 0 and workers[1].poll() is None
        number = len(list(pieces(question, PLANS_A_PIECE)))
        monkeypatch.setattr(runner, "WHILE", 1)
        again: list[int] = []

        def end(done: int, total: int) -> None:
            again.append(done)
            if len(again) == 3:
                workers[1].kill()

        with pytest.raises(PerfsimError, match="has no workers"):
            replace(ours, folder=None).run(question, end)
        assert len(again) < number
        assert len(told) == number + 1 and len(set(told)) == len(told) and len(times(out)) == number


def test_a_worker_with_another_perfsim_is_told(question: Question) -> None:
    piece = next(pieces(question, PLANS_A_PIECE))
    with pytest.raises(PerfsimError, match=r"has perfsim .*, not 0\.0; install the same one"):
        runner._examine_there((question, "0.0"), piece)


SMALL = """\
[workload]
model = "bert-large"
task = ["finetune", "lora"]
seq_len = 128
samples = 1000
global_batch_size = 32
precision = "amp-fp16"
[search]
gpus = ["RTX 4090"]
counts = [1, 2]
"""


def swept(folder: Path, *options: str) -> Any:
    path = folder / "mine.toml"
    path.write_text(SMALL, encoding="utf-8")
    return CliRunner().invoke(main, ["sweep", str(path), "--json", "-", *options])


def test_command_keeps_a_folder_for_every_task(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = swept(tmp_path, "--out", str(out)), swept(tmp_path, "--out", str(out))
    assert first.exit_code == second.exit_code == 0 and first.stdout == second.stdout == swept(tmp_path).stdout
    assert first.stderr == "" and second.stderr.count("1 of 1 pieces were searched before") == 2
    assert len(list(out.glob("*/question.json"))) == 2


@pytest.mark.parametrize(("options", "what"), [
    (("--workers", "0"), "0 is not in the range"), (("--workers", "2", "--scheduler", "x"), "give one of them"),
    (("--scheduler", "nowhere"), "cannot be reached"), (("--scheduler", "http://x"), "cannot be reached"),
    (("--scheduler", "tcp://127.0.0.1:1"), "cannot be reached"), (("--out", __file__), "not a directory"),
])  # fmt: skip
def test_command_says_what_cannot_be_used(
    tmp_path: Path, options: tuple[str, ...], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PATIENCE", 1)
    result = swept(tmp_path, *options)
    assert result.exit_code == 2 and what in result.stderr and "Traceback" not in result.output


def test_dask_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = swept(tmp_path, "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2 and 'pip install "perfsim[dask]"' in result.stderr
