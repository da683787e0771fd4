"""Who searches the pieces of a question: this process, several on this machine, or a Dask cluster."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any

from perfsim.errors import InputError, PerfsimError
from perfsim.search.branch import PLANS_A_PIECE, Found, Piece, examine, nothing, pieces, together
from perfsim.search.fingerprint import program
from perfsim.search.folder import Folder
from perfsim.search.question import Question
from perfsim.units import printable

AHEAD = 3  # pieces handed out for every worker: it must not wait, and no more results than these wait for us
PATIENCE = 10  # [s] for a Dask scheduler, and for its first worker
WHILE = 60  # [s] for new workers when all were lost
GOES_ON = "with a folder for what is found (--out), the same search goes on where it stopped"
Answers = Generator[tuple[int, Found], None, None]


@dataclass(frozen=True)
class Runner:
    """Searches a question piece by piece; what it finds depends on the pieces, not on who searches them or when.

    workers: processes on this machine. scheduler: the address of a Dask scheduler, whose workers search instead.
    folder: where every piece's finds are kept, and taken from when they are there. resumed(pieces there, all pieces)
    is told so.
    """

    workers: int = 1
    scheduler: str = ""
    folder: Path | None = None
    plans_a_piece: int = PLANS_A_PIECE
    resumed: Callable[[int, int], None] | None = None

    def run(self, question: Question, progress: Callable[[int, int], None] | None = None) -> Found:
        """What is worth keeping of all pieces; progress(plans done, all) is first told of those done before.

        Raises: InputError when the folder or the scheduler cannot be used, PerfsimError when workers are lost.
        """
        parts = list(pieces(question, self.plans_a_piece))
        folder = Folder.of(self.folder, question, self.plans_a_piece) if self.folder else None
        total = question.space.size * len(question.systems)
        found, missing = nothing(question), {}
        for number, piece in enumerate(parts):
            one = folder.read(number) if folder else None
            if one is None:
                missing[number] = piece
            else:
                found = together(question, [found, one])
        if folder and self.resumed:
            self.resumed(len(parts) - len(missing), len(parts))
        if progress:
            progress(found.certificate.considered, total)
        with closing(self._answers(question, missing)) as answers:  # workers end with us, however we end
            for number, one in answers:
                if folder:
                    folder.write(number, one)
                found = together(question, [found, one])
                if progress:
                    progress(found.certificate.considered, total)
        return found

    def _answers(self, question: Question, missing: Mapping[int, Piece]) -> Answers:
        """What each piece found, as they come."""
        if self.scheduler and missing:
            yield from _on_dask(question, missing, self.scheduler)
        elif self.workers > 1 and missing:
            yield from _in_processes(question, missing, self.workers)
        else:
            yield from ((number, examine(question, piece)) for number, piece in missing.items())


def _in_processes(question: Question, missing: Mapping[int, Piece], workers: int) -> Answers:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(missing)), context, _begin, (question,))
    try:
        yield from _handed_out(pool, lambda: workers, missing, _examine)
    except BrokenProcessPool:
        raise PerfsimError(
            f"a worker process was killed, perhaps for want of memory; try fewer workers; {GOES_ON}"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_asked: Question


def _begin(question: Question) -> None:
    """A worker process starts: it knows the question, dies quietly of Ctrl-C, and does not outlive its parent."""
    global _asked
    _asked = question
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _examine(piece: Piece) -> Found:
    return examine(_asked, piece)


def _on_dask(question: Question, missing: Mapping[int, Piece], address: str) -> Answers:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise InputError('--scheduler needs Dask; pip install "perfsim[dask]"') from None
    there = f"scheduler {printable(address)}"
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told once, below
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        what = "cannot be reached; give the address that `dask scheduler` prints, such as tcp://192.168.0.2:8786"
        raise InputError(f"{there}: {what}") from error
    try:
        with client:
            yield from _on_client(client, question, missing)
    except NoWorkersError:
        raise PerfsimError(f"{there}: has no workers; start some with `dask worker {printable(address)}`") from None
    except (KilledWorker, CancelledError, OSError):
        what = f"was lost, or several workers were with one piece, perhaps for want of memory; {GOES_ON}"
        raise PerfsimError(f"{there}: {what}") from None


class NoWorkersError(Exception):
    """A cluster without workers."""


def _on_client(client: Any, question: Question, missing: Mapping[int, Piece]) -> Answers:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise NoWorkersError from None
    try:
        client.run(program)  # a worker without perfsim says so here, and would die of a task
        client.submit(program, pure=False).result()
    except Exception as error:
        what = printable(str(error).partition(". ")[0])
        raise PerfsimError(
            f"a worker or the scheduler cannot use perfsim ({what}); install the same one there"
        ) from error
    # The question is a task, not scattered data: the scheduler makes it again when the worker that had it is lost.
    asked = client.submit(_same, (question, program()), pure=False)
    pool = client.get_executor(pure=False, retries=2)
    try:
        yield from _handed_out(pool, lambda: sum(client.nthreads().values()), missing, _examine_there, asked)
    finally:
        pool.shutdown(wait=False)


def _same(asked: tuple[Question, str]) -> tuple[Question, str]:
    return asked


def _examine_there(asked: tuple[Question, str], piece: Piece) -> Found:
    """What the piece found, on a machine that must have the same perfsim."""
    question, wanted = asked
    if program() != wanted:
        raise PerfsimError(f"a worker has perfsim {program()}, not {wanted}; install the same one there")
    return examine(question, piece)


def _handed_out(
    pool: Executor, workers: Callable[[], int], missing: Mapping[int, Piece], task: Callable[..., Found], *first: Any
) -> Answers:
    """What task(*first, piece) finds for each piece: AHEAD of them are under way for every worker there is.

    Raises: NoWorkersError when nothing comes for a while, and there is none.
    """
    waiting = iter(missing.items())
    under_way: dict[Future[Found], int] = {}
    while True:
        room = AHEAD * max(1, workers()) - len(under_way)
        for number, piece in islice(waiting, max(0, room)):
            under_way[pool.submit(task, *first, piece)] = number
        if not under_way:
            return
        done, _ = wait(under_way, WHILE, FIRST_COMPLETED)
        if not done and not workers():
            raise NoWorkersError
        for future in done:
            yield under_way.pop(future), future.result()
