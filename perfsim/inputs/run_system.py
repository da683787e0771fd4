"""The machine of a measured run, from its card and the words of its row."""

import math

from perfsim.core.hardware import Gpu, System
from perfsim.inputs.calibration import Links
from perfsim.inputs.gpu import GpuSpec
from perfsim.inputs.run_table import Row
from perfsim.inputs.system import SystemSpec, box_spec, to_system
from perfsim.units import BITS_PER_BYTE

# What the network gives each GPU, one direction [GB/s]: InfiniBand by generation, one NIC a GPU.
PER_GPU_GB_PER_S = {"ib-edr": 12.5, "ib-hdr": 25.0, "ib-ndr": 50.0, "roce": 50.0, "nvl72": 50.0}
PER_NODE_GB_PER_S = {"efa-400": 50.0, "efa-3200": 400.0}
USUAL_GB_PER_S = {"pascal": 12.5, "volta": 12.5, "ampere": 25.0, "hopper": 50.0, "blackwell": 50.0}  # by architecture
OTHER_GB_PER_S = 12.5
USUAL_NVLINK_GB_PER_S = {"pascal": 160.0, "volta": 300.0, "ampere": 600.0, "hopper": 900.0, "blackwell": 1800.0}
RACK_GPUS, BRIDGED_GPUS = 72, 2


def system_of(row: Row, gpu: Gpu, card: GpuSpec, links: Links) -> tuple[System, list[str]]:
    """The machine and what was assumed of it."""
    assumed: list[str] = []
    per_node = min(row.gpus_per_node or min(row.n_gpus, 8), row.n_gpus)
    if not row.gpus_per_node and row.n_gpus > 1:
        assumed.append(f"{per_node} GPUs a node")
    values = _inside(row, card, per_node, assumed)
    nodes = math.ceil(row.n_gpus / per_node)
    if nodes > 1:
        rate = _per_node_gb_per_s(row, card, per_node, assumed)
        values |= {"nics": 1, "nic_gbit_per_s": rate * BITS_PER_BYTE, "max_nodes": nodes}
    if row.internode == "nvl72":
        values["nvlink_domain_gpus"] = max(RACK_GPUS // per_node * per_node, per_node)
    spec = SystemSpec(
        name=f"{row.n_gpus}x {card.name}", kind="node", gpu=row.gpu, gpus_per_node=per_node, **values  # type: ignore[arg-type]
    )
    return to_system(f"{row.gpu}-{row.fabric}", spec, gpu, card, links), assumed


def _inside(row: Row, card: GpuSpec, per_node: int, assumed: list[str]) -> dict[str, object]:
    """The links inside a node, as keys of SystemSpec."""
    fabric = row.fabric or "unknown"
    lanes = {"pcie_generation": card.pcie_generation, "pcie_lanes": card.pcie_lanes}
    if row.n_gpus == 1 or fabric == "single":
        return {"topology": "pcie", "peer_to_peer": "yes"}
    if fabric == "unknown":
        usual = box_spec(row.gpu, card, per_node)
        assumed.append(f"the links between GPUs: {usual.topology}")
        return {
            "topology": usual.topology, "nvlink_gb_per_s": usual.nvlink_gb_per_s, "peer_to_peer": card.peer_to_peer,
            "nvlink_domain_gpus": usual.nvlink_domain_gpus, **lanes,
        }  # fmt: skip
    if fabric in ("pcie", "pcie-nop2p"):
        return {"topology": "pcie", "peer_to_peer": "yes" if fabric == "pcie" else "no", **lanes}
    rate = card.nvlink_gb_per_s
    if rate is None:
        rate = USUAL_NVLINK_GB_PER_S.get(card.architecture, 100.0)
        assumed.append(f"NVLink at {rate:g} GB/s")
    joined = min(per_node, BRIDGED_GPUS) if fabric == "nvlink-bridge" else per_node
    peer = "yes" if card.peer_to_peer == "yes" else "no"
    return {"topology": fabric, "nvlink_gb_per_s": rate, "nvlink_domain_gpus": joined, "peer_to_peer": peer, **lanes}


def _per_node_gb_per_s(row: Row, card: GpuSpec, per_node: int, assumed: list[str]) -> float:
    """What all NICs of a node carry, one direction [GB/s]."""
    if row.internode in PER_NODE_GB_PER_S:
        return PER_NODE_GB_PER_S[row.internode]
    if row.internode in PER_GPU_GB_PER_S:
        return PER_GPU_GB_PER_S[row.internode] * per_node
    usual = USUAL_GB_PER_S.get(card.architecture, OTHER_GB_PER_S)
    assumed.append(f"a network of {usual:g} GB/s a GPU")
    return usual * per_node


