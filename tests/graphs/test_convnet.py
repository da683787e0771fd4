"""Convolutional nets and GANs against published counts, and the arithmetic of their passes."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfsim as ps
from perfsim.core.plan import Plan, Problem
from perfsim.estimate import estimate
from perfsim.formulas.convolutions import Convolution
from perfsim.formulas.operations import Attention, Operation
from perfsim.graphs.lifetimes import lifetimes
from perfsim.graphs.step import step_costs
from perfsim.graphs.transformer import step_graphs

SOFTWARE = ps.software("pytorch-2-eager")
NETS = [name for name in ps.catalogue().names("models") if ps.model(name).nets]


def graphs_of(name: str, plan: Plan | None = None, **keys: object) -> list[tuple[str, int, "nx.DiGraph[str]"]]:
    workload = ps.workload(name, **{"task": "pretrain", "precision": "bf16"} | keys)
    return list(step_graphs(workload, plan or Plan(), SOFTWARE, "flash-2"))


def operations(name: str, **keys: object) -> list[tuple[int, Operation]]:
    graphs = graphs_of(name, **keys)
    return [(count, graph.nodes[node]["operation"]) for _, count, graph in graphs for node in graph]


@pytest.mark.parametrize(
    "name,gmacs",
    [  # torchvision's model pages, at 224 px; Stable Diffusion's and DDPM's without attention's own two products
        ("resnet-18", 1.81), ("resnet-34", 3.66), ("resnet-50", 4.09), ("resnet-101", 7.80), ("resnet-152", 11.51),
        ("convnext-tiny", 4.46),
        ("sd-1.5-unet", 338.7),  # Kim et al. 2023, BK-SDM (arXiv 2305.15798), table 1
        ("ddpm-cifar10", 6.1), ("ddpm-256", 248.7),  # Fang et al. 2023, Diff-Pruning (arXiv 2305.10924), tables 1, 2
    ],
)  # fmt: skip
def test_forward_flops_are_the_published_ones(name: str, gmacs: float) -> None:
    found = sum(count * op.forward_flops for count, op in operations(name) if not isinstance(op, Attention))
    assert found / 2e9 == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("name", [name for name in NETS if ps.model(name).kind == "convolutional"])
def test_backward_is_twice_forward_less_the_first_layers_input_gradients(name: str) -> None:
    """First are those that read images, noise levels or texts."""
    every = operations(name)
    forward = sum(count * op.forward_flops for count, op in every)
    backward = sum(count * op.backward_flops for count, op in every)
    firsts = sum(count * op.forward_flops for count, op in every if not getattr(op, "has_input_gradient", True))
    assert backward == pytest.approx(2 * forward - firsts, rel=1e-12)
    assert 0 < firsts < 0.1 * forward


def test_a_bottleneck_keeps_every_tensor_once() -> None:
    """Inputs of convolutions and of batch norms; the unit's own input is the output that the unit before keeps."""
    name, count, graph = graphs_of("resnet-50")[2]
    positions, c = 56**2, 64
    narrow, wide, statistics = 2 * positions * c, 2 * positions * 4 * c, 8 * (c + c + 4 * c)
    assert (name, count) == ("03-bottleneck", 2)
    assert lifetimes(graph).kept_bytes == 4 * narrow + 2 * wide + statistics


def test_autocast_runs_group_norms_in_fp32_and_batch_norms_in_16_bits() -> None:
    widths = {op.kind: op.activation_bytes for _, op in operations("ddpm-cifar10", precision="amp-bf16")}
    assert (widths["channelnorm"], widths["convolution"]) == (4.0, 2.0)
    widths = {op.kind: op.activation_bytes for _, op in operations("resnet-50", precision="amp-bf16")}
    assert widths["channelnorm"] == 2.0


@pytest.mark.parametrize("name", NETS)
def test_graphs_are_acyclic_and_their_operations_weigh_what_the_nets_weigh(name: str) -> None:
    for _, _, graph in graphs_of(name):
        assert nx.is_directed_acyclic_graph(graph)
    ways = {"convolutional": 1, "gan": 2}[ps.model(name).kind]
    weights = sum(
        count * op.weights for count, op in operations(name) if isinstance(op, Convolution)
    )  # of a GAN: the generator's twice, the discriminator's three times
    total = sum(net.parameters for net in ps.model(name).nets)
    assert 0 < weights <= total * (ways + 1)


def test_a_u_net_comes_back_to_its_size() -> None:
    for name in ("unet", "ddpm-256", "sd-1.5-unet"):
        model = ps.model(name)
        (net,) = model.nets
        convolutions = [op for _, op in operations(name) if isinstance(op, Convolution)]
        size = (model.image_size / net.downsampling) ** 2
        assert convolutions[0].positions == convolutions[-1].positions == size


def test_a_gan_step_has_two_phases() -> None:
    """Generator forward; discriminator twice, both ways; then generator both ways through a frozen discriminator."""
    parts: dict[str, list[float]] = {}
    for part, count, graph in graphs_of("dcgan"):
        ops = [graph.nodes[node]["operation"] for node in graph]
        sums = parts.setdefault(part.split(".")[0], [0.0, 0.0, 0.0])
        sums[0] += count * sum(op.forward_flops for op in ops)
        sums[1] += count * sum(op.backward_flops for op in ops)
        sums[2] += count * lifetimes(graph).kept_bytes
    assert list(parts) == ["1-generator", "1-discriminator", "2-generator", "2-discriminator"]
    once, twice = parts["2-discriminator"], parts["1-discriminator"]
    assert parts["1-generator"][0] == parts["2-generator"][0] and parts["1-generator"][1] == 0.0
    assert once[1] == once[0] and twice[0] == 2 * once[0] and twice[2] == 2 * once[2]
    workload, system = ps.workload("dcgan", task="pretrain", precision="bf16"), ps.catalogue().box("rtx-3090", 1)
    costs = step_costs(workload, system, Plan(), SOFTWARE, ps.catalogue().calibration())
    assert costs.layers.kept_bytes == max(twice[2], parts["2-generator"][2] + once[2])
    assert costs.layers.weights == 3_576_704 + 2_765_568
    assert costs.layers.forward_flops == pytest.approx(sum(part[0] for part in parts.values()), rel=1e-12)


def cost(name: str, gpu: str, plan: Plan, **keys: object):
    workload = ps.workload(name, **{"task": "pretrain", "global_batch_size": 512, "precision": "amp-fp16"} | keys)
    return estimate(workload, ps.catalogue().box(gpu, 8), plan, SOFTWARE, ps.catalogue().calibration())


def test_the_logits_of_every_position_are_held() -> None:
    found = cost("unet", "a100-sxm4-80gb", Plan(micro_batch_size=4), precision="amp-fp16")
    assert found.memory.fullest.passing_bytes >= 4 * 512**2 * 2 * SOFTWARE.logit_bytes


def test_nothing_but_the_batch_is_split() -> None:
    for more, problem in (
        ({"tensor_parallel": 2}, Problem.HEADS),
        ({"pipeline_parallel": 2}, Problem.LAYERS),
        ({"context_parallel": 2}, Problem.SEQUENCE),
    ):
        assert int(cost("resnet-50", "a100-sxm4-80gb", Plan(**more)).problems) & problem  # type: ignore[arg-type]
    for zero in range(4):
        assert cost("resnet-50", "a100-sxm4-80gb", Plan(data_parallel=8, zero_stage=zero)).problems == 0


def test_full_recomputation_keeps_less_and_takes_longer() -> None:
    plain, again = (cost("resnet-50", "a100-sxm4-80gb", Plan(micro_batch_size=64, recompute=r)) for r in (0, 2))
    assert again.memory.backward.activations_bytes < 0.6 * plain.memory.backward.activations_bytes
    assert again.time.recompute_seconds == pytest.approx(plain.time.forward_seconds, rel=1e-9)
    assert again.model_flops == plain.model_flops


@given(st.sampled_from(NETS), st.sampled_from(["a100-sxm4-80gb", "v100-pcie-32gb"]), st.integers(0, 8))
def test_more_images_never_take_less_time_or_memory(name: str, gpu: str, power: int) -> None:
    """And many plans at once cost what each of them costs alone."""
    sizes = np.array([2**power, 2 ** (power + 1)])
    sizes = sizes[sizes <= 256]
    both = cost(name, gpu, Plan(micro_batch_size=sizes, data_parallel=2))
    one = (both.time.forward_seconds + both.time.backward_seconds) * sizes / 256.0  # of one micro-batch
    assert np.all(np.diff(one) >= 0.0) and np.all(np.diff(both.memory.total_bytes) >= 0.0)
    for i, size in enumerate(sizes.tolist()):
        alone = cost(name, gpu, Plan(micro_batch_size=size, data_parallel=2))
        assert np.broadcast_to(both.time.total_seconds, sizes.shape)[i] == alone.time.total_seconds
        assert np.broadcast_to(both.memory.total_bytes, sizes.shape)[i] == alone.memory.total_bytes


def test_larger_images_never_take_less_and_may_be_an_array() -> None:
    workload = ps.workload("resnet-50", task="pretrain", global_batch_size=64)
    sizes, system = np.array([32, 96, 224, 225, 384]), ps.catalogue().box("rtx-4090", 1)
    plan, calibration = Plan(micro_batch_size=64), ps.catalogue().calibration()
    found = estimate(replace(workload, image_size=sizes), system, plan, SOFTWARE, calibration)
    assert np.all(np.diff(found.time.total_seconds) > 0) and np.all(np.diff(found.memory.total_bytes) > 0)
    alone = estimate(replace(workload, image_size=224), system, plan, SOFTWARE, calibration)
    assert found.time.total_seconds[2] == alone.time.total_seconds


@pytest.mark.parametrize(
    "batch,images_per_s", [(8, 217), (16, 278), (32, 316), (64, 341), (128, 356), (192, 363), (256, 364), (360, 364)]
)
def test_resnet_50_trains_as_fast_as_zeus_measured(batch: int, images_per_s: float) -> None:
    """ml-energy/zeus NSDI'23 traces: ImageNet epochs on a V100 PCIe at 250 W, fp32; SGD stands for Adadelta."""
    workload = ps.workload("resnet-50", task="pretrain", global_batch_size=batch, precision="fp32", optimizer="sgd")
    plan, system = Plan(micro_batch_size=batch), ps.catalogue().box("v100-pcie-32gb", 1)
    found = estimate(workload, system, plan, ps.software("pytorch-1.11"), ps.catalogue().calibration())
    assert found.samples_per_s == pytest.approx(images_per_s, rel=0.08)


@pytest.mark.parametrize(
    "gpu,precision,batch,images_per_s",
    [
        ("a100-sxm4-80gb", "tf32", 256, 938), ("a100-sxm4-80gb", "amp-fp16", 256, 2470),
        ("v100-sxm2-16gb", "fp32", 128, 367), ("v100-sxm2-16gb", "amp-fp16", 256, 1200),
        ("v100-sxm2-32gb", "fp32", 128, 356), ("v100-sxm2-32gb", "amp-fp16", 256, 1156),
    ],
)  # fmt: skip
def test_resnet_50_trains_about_as_fast_as_nvidia_measured(gpu, precision, batch, images_per_s) -> None:
    """NVIDIA/DeepLearningExamples PyTorch/Classification/ConvNets/resnet50v1.5/README.md, container 21.03, one GPU.

    Nothing is fitted to these; the largest error is TF32's.
    """
    workload = ps.workload("resnet-50", task="pretrain", global_batch_size=batch, precision=precision, optimizer="sgd")
    plan, system = Plan(micro_batch_size=batch), ps.catalogue().box(gpu, 1)
    found = estimate(workload, system, plan, ps.software("pytorch-1.11"), ps.catalogue().calibration())
    assert found.samples_per_s == pytest.approx(images_per_s, rel=0.31)
