"""How machines are wired: links between GPUs, NVSwitches, PCIe switches, sockets, host memory and NICs.

Devices are told apart by name: gpu0, nvswitch0, switch0 (PCIe), cpu0 (a socket with its root complex), memory0, nic0.
Rates are datasheets', one direction [B/s]; a link carries as much each way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

# NVLinks between the GPUs of a DGX-1. Source: NV1 and NV2 of `nvidia-smi topo -m` on DGX-1 V100, the same in several
# published logs; NVIDIA's DGX-1 white paper (a cube with the diagonals of two faces; the P100's has no double links).
CUBE_MESH = {
    "pascal": dict.fromkeys(
        [*combinations(range(4), 2), *combinations(range(4, 8), 2), (0, 4), (1, 5), (2, 6), (3, 7)], 1
    ),
    "volta": {
        (0, 1): 1, (0, 2): 1, (0, 3): 2, (0, 4): 2, (1, 2): 2, (1, 3): 1, (1, 5): 2, (2, 3): 2, (2, 6): 1, (3, 7): 1,
        (4, 5): 1, (4, 6): 1, (4, 7): 2, (5, 6): 2, (5, 7): 1, (6, 7): 2,
    },
}  # fmt: skip
CUBE_MESH_LINKS = {"pascal": 4, "volta": 6}  # of each GPU


@dataclass(frozen=True)
class Link:
    """A cable, bridge or bus between two devices.

    kind: nvswitch, nvlink, nvlink-mesh, nvlink-bridge, pcie, socket, memory or nic.
    bytes_per_s: each way [B/s]. latency_seconds: [s], None where not known.
    """

    a: str
    b: str
    kind: str
    bytes_per_s: float
    latency_seconds: float | None = None


@dataclass(frozen=True)
class Domain:
    """The `gpus` GPUs gpu0, gpu1, ... that reach each other without the network, and what links them.

    has_peer_access: whether they read each other's memory over PCIe; without it bytes go through host memory.
    host_cpu: "intel", "amd" or "" where it is not known.
    """

    gpus: int
    links: tuple[Link, ...]
    has_peer_access: bool
    host_cpu: str = ""


@dataclass(frozen=True)
class Host:
    """The PCIe side of a node; rates one direction [B/s].

    slots_bytes_per_s: of each GPU's slot. gpus_per_switch: GPUs on a PCIe switch, 0 without switches.
    uplink_bytes_per_s: from a switch to its socket. memory_bytes_per_s: of a socket's memory, reads and writes
    together. nic_bytes_per_s: of each of the `nics` NICs.
    """

    slots_bytes_per_s: tuple[float, ...]
    sockets: int
    gpus_per_switch: int
    uplink_bytes_per_s: float
    socket_bytes_per_s: float
    memory_bytes_per_s: float
    nics: int
    nic_bytes_per_s: float


def host_links(host: Host, node: int = 0) -> Iterator[Link]:
    """The links of a node's PCIe trees; `node` is its number in a rack, which its devices' numbers continue.

    GPUs, switches and NICs are spread evenly over the sockets, in order. A byte staged in host memory is written and
    read, so each way has half of the memory's rate.
    """
    gpus, sockets, per_switch = len(host.slots_bytes_per_s), host.sockets, host.gpus_per_switch
    cpus = [f"cpu{node * sockets + i}" for i in range(sockets)]
    for i, cpu in enumerate(cpus):
        yield Link(cpu, f"memory{node * sockets + i}", "memory", host.memory_bytes_per_s / 2)
    for a, b in combinations(cpus, 2):
        yield Link(a, b, "socket", host.socket_bytes_per_s)
    ports = list(cpus)  # where GPUs and NICs are plugged in
    if per_switch:
        count = -(-gpus // per_switch)
        ports = [f"switch{node * count + i}" for i in range(count)]
        for i, switch in enumerate(ports):
            yield Link(cpus[i * sockets // count], switch, "pcie", host.uplink_bytes_per_s)
    for i, rate in enumerate(host.slots_bytes_per_s):
        port = ports[i // per_switch if per_switch else i * len(ports) // gpus]
        yield Link(port, f"gpu{node * gpus + i}", "pcie", rate)
    for i in range(host.nics):
        yield Link(ports[i * len(ports) // host.nics], f"nic{node * host.nics + i}", "nic", host.nic_bytes_per_s)


def switched_links(gpus: int, bytes_per_s: float) -> Iterator[Link]:
    """NVLinks from every GPU to the plane of NVSwitches, which does not block."""
    return (Link(f"gpu{i}", "nvswitch0", "nvswitch", bytes_per_s) for i in range(gpus))


def mesh_links(gpus: int, architecture: str, bytes_per_s: float, kind: str = "nvlink-mesh") -> Iterator[Link]:
    """NVLinks straight between GPUs that have `bytes_per_s` each.

    The first GPUs of a DGX-1 for Pascal and Volta; otherwise every GPU has the same to every other.
    """
    if architecture in CUBE_MESH and gpus <= 8 and kind == "nvlink-mesh":
        one = bytes_per_s / CUBE_MESH_LINKS[architecture]
        for (a, b), count in CUBE_MESH[architecture].items():
            if b < gpus:
                yield Link(f"gpu{a}", f"gpu{b}", kind, count * one)
    else:
        for a, b in combinations(range(gpus), 2):
            yield Link(f"gpu{a}", f"gpu{b}", kind, bytes_per_s / (gpus - 1))


def bridge_links(gpus: int, per_bridge: int, bytes_per_s: float) -> Iterator[Link]:
    """NVLink bridges over `per_bridge` neighbours each, all to all."""
    for first in range(0, gpus - gpus % per_bridge, per_bridge):
        for a, b in combinations(range(first, first + per_bridge), 2):
            yield Link(f"gpu{a}", f"gpu{b}", "nvlink-bridge", bytes_per_s / (per_bridge - 1))


def kind_of(device: str) -> str:
    """What a device is, by its name.

    >>> kind_of("nvswitch0")
    'nvswitch'
    """
    return device.rstrip("0123456789")
