"""How much faster two Dask workers search than one: GPT-3 175B on DGX A100 and H100, 256 to 16,384 GPUs.

Run: python benchmarks/dask_workers.py [REPEATS]

Needs two idle cores. Each search runs on a scheduler and workers of its own, started before the clock is; they are
processes of one thread. One worker and two take turns, REPEATS times (3); the best of each count.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import perfsim as ps
from perfsim.core.plan import ContextExchange, Offload, Placement, Schedule
from perfsim.core.site import Site
from perfsim.search.branch import pieces
from perfsim.search.question import Question
from perfsim.search.runner import Runner
from perfsim.search.space import Space, filled

BATCH = 3072
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def asked() -> Question:
    """Some ten thousand million plans."""
    catalogue = ps.catalogue()
    workload = ps.workload(
        catalogue.model("gpt3-175b"), task="pretrain", seq_len=2048, global_batch_size=BATCH, precision="bf16-mixed"
    )
    space = Space(
        counts=tuple(2**i for i in range(8, 15)), tensor_parallel=(1, 2, 4, 8), context_parallel=(1, 2, 4, 8),
        micro_batch_size=tuple(b for b in range(1, BATCH + 1) if BATCH % b == 0), recompute_layers=(0, 24, 48, 72),
        schedule=tuple(Schedule), placement=tuple(Placement), hybrid_shard=(0, 8, 16, 32),
        offload=(Offload.NONE, Offload.OPTIMIZER, Offload.ACTIVATIONS), context_exchange=tuple(ContextExchange),
    )  # fmt: skip
    systems = tuple(catalogue.system(key) for key in ("dgx-a100-80gb", "dgx-h100"))
    software = catalogue.software("megatron-core")
    return Question(workload, software, catalogue.calibration(), systems, filled(space, workload, systems), Site())


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of a scheduler with that many workers."""
    from distributed import Client

    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    dask = [sys.executable, "-m", "dask"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        listen = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        processes = [subprocess.Popen([*dask, "scheduler", *listen], env=environment, **QUIET)]
        try:
            while not (file.exists() and file.read_text().endswith("}")):
                time.sleep(0.1)
            address: str = json.loads(file.read_text())["address"]
            alone = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
            processes += [
                subprocess.Popen([*dask, "worker", address, *alone], env=environment, **QUIET) for _ in range(workers)
            ]
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers)
            yield address
        finally:
            for process in processes:
                process.kill()
                process.wait()


def main() -> None:
    """Print the best seconds of one and of two workers, their ratio, and whether all found the same."""
    question = asked()
    plans, number = question.space.size * len(question.systems), len(list(pieces(question)))
    print(f"{plans:,} plans in {number} pieces; {os.cpu_count()} cores; the bar: 1.7")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    certificates = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        for workers, taken in seconds.items():
            with cluster(workers) as address:
                start = time.perf_counter()
                certificates.append(Runner(scheduler=address).run(question).certificate)
                taken.append(time.perf_counter() - start)
            print(f"{workers} at work: {taken[-1]:.1f} s", flush=True)
    is_same = all(certificate == certificates[0] for certificate in certificates)
    print(f"ratio of the best: {min(seconds[1]) / min(seconds[2]):.2f}; the same certificate: {is_same}")


if __name__ == "__main__":
    main()
