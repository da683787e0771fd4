"""Models of several towers against published counts, and what a frozen tower leaves out."""

from dataclasses import replace

import networkx as nx
import pytest

import perfsim as ps
from perfsim.core.model import Model
from perfsim.core.plan import Plan, Recompute
from perfsim.core.results import Estimate
from perfsim.core.workload import Head, Task, Workload, model_of
from perfsim.errors import InputError
from perfsim.estimate import estimate
from perfsim.formulas.parameters import count, trainable
from perfsim.graphs.step import step_costs
from perfsim.graphs.transformer import step_graphs
from perfsim.units import GIGA

SOFTWARE, VISION = ps.software("pytorch-2-eager"), 303_507_456  # LLaVA's tower: CLIP ViT-L/14-336 without projection


def workload(model: str, **keys: object) -> Workload:
    return ps.workload(model, **{"task": "pretrain", "global_batch_size": 8, "precision": "bf16-mixed"} | keys)


def forward_flops(job: Workload, parts: str = "") -> float:
    """FLOPs of one sample's forward pass through the graphs whose part begins so."""
    graphs = [(count, graph) for part, count, graph in step_graphs(job, Plan(), SOFTWARE, "sdpa")
              if part.startswith(parts)]  # fmt: skip
    return sum(n * float(data["operation"].forward_flops) for n, graph in graphs for _, data in graph.nodes(data=True))


def cost(job: Workload, **plan: object) -> Estimate:
    calibration = ps.catalogue().calibration()
    return estimate(job, ps.system("dgx-h100"), Plan(**{"data_parallel": 8} | plan), SOFTWARE, calibration)


@pytest.mark.parametrize(("key", "both", "text"), [("clip-vit-b-32", 14.78, 5.96), ("clip-vit-l-14", 175.33, 13.30)])
def test_clip_forward_flops_are_open_clips(key: str, both: float, text: float) -> None:
    """mlfoundations/open_clip docs/model_profile.csv, columns gflops and text_gflops."""
    job = workload(key)
    assert forward_flops(job) / GIGA == pytest.approx(both, rel=0.006)
    assert forward_flops(job, "text.") / GIGA == pytest.approx(text, rel=0.006)


@pytest.mark.parametrize(("tokens", "published"), [(256, 119), (1024, 525)])
def test_dit_forward_flops_are_the_papers(tokens: int, published: float) -> None:
    """facebookresearch/DiT README.md, where a multiplication and an addition are one."""
    job = workload("dit-xl-2", seq_len=tokens)
    assert forward_flops(job) / 2 / GIGA == pytest.approx(published, rel=0.004)


def test_electra_forward_flops_are_google_researchs() -> None:
    """google-research/electra flops_computation.py: its products, 15 % of the tokens with words to predict."""
    s, v, h, g = 512, 30522, 768, 256

    def layers(width: int) -> float:
        return 12 * s * (2 * 4 * width**2 + 2 * 2 * width * s + 2 * 2 * width * 4 * width)

    generator = layers(g) + 2 * s * h * g + 0.15 * s * (2 * g * h + 2 * h * v)
    discriminator = layers(h) + s * (2 * h * h + 2 * h)
    job = workload("electra-base", seq_len=s)
    assert forward_flops(job, "generator.") == pytest.approx(generator, rel=1e-12)
    assert forward_flops(job) == pytest.approx(generator + discriminator, rel=1e-12)


def test_deepseek_v3s_further_layer_has_its_published_size() -> None:
    """deepseek-ai/DeepSeek-V3 README_WEIGHTS.md: 671B, and 11.5B unique parameters of the prediction module."""
    whole, main = ps.model("deepseek-v3"), model_of(ps.model("deepseek-v3"), Task.FINETUNE, Head.LANGUAGE_MODEL)
    assert count(whole).total - count(main).total == pytest.approx(11.5e9, rel=0.01)
    assert count(main).total == pytest.approx(671e9, rel=0.001)


@pytest.mark.parametrize("key", ["clip-vit-b-32", "llava-1.5-7b", "whisper-small", "electra-small", "dit-xl-2"])
def test_graphs_weigh_what_the_model_weighs(key: str) -> None:
    """A stage without pipeline holds every parameter but a task's own head."""
    decoder = 448 if key.startswith("whisper") else None
    job = workload(key, decoder_seq_len=decoder)
    found = cost(job)
    held = found.memory.update.weights_bytes / job.precision.weight_bytes
    assert held == pytest.approx(count(job.model).total, rel=0.006)


def test_a_frozen_tower_keeps_nothing_and_is_not_run_again() -> None:
    frozen, trained = (workload("llava-1.5-7b", trained_towers=names) for names in ((), ("vision",)))
    arguments = (ps.system("dgx-h100"), Plan(), SOFTWARE, ps.catalogue().calibration())
    tower = next(kind for kind in step_costs(frozen, *arguments).kinds if kind.first == 0).cost
    assert (tower.kept_bytes, tower.input_bytes, tower.backward_flops, tower.trained_weights) == (0, 0, 0, 0)
    with_gradients, without = cost(trained, recompute=Recompute.FULL), cost(frozen, recompute=Recompute.FULL)
    again = [found.hardware_flops - found.model_flops for found in (without, with_gradients)]
    layers = forward_flops(frozen, "vision.encoder")
    assert again[1] - again[0] == pytest.approx(8 * layers, rel=1e-9)
    gradients = [found.memory.update.gradients_bytes for found in (without, with_gradients)]
    assert gradients[1] - gradients[0] == pytest.approx(4 * VISION, rel=0.03)


def test_tower_and_model_take_their_times_together() -> None:
    """LLaVA's forward pass lasts as long as its language model's and its tower's."""
    both = workload("llava-1.5-7b", seq_len=2048)
    alone = replace(both, model=replace(both.model, towers=()))
    tower = forward_flops(both, "vision.")
    assert forward_flops(both) == pytest.approx(forward_flops(alone) + tower, rel=1e-12)
    assert cost(both).time.forward_seconds > cost(alone).time.forward_seconds
    assert cost(both).memory.total_bytes > cost(alone).memory.total_bytes + 2 * VISION


def test_whisper_hears_through_two_convolutions() -> None:
    job = workload("whisper-tiny", decoder_seq_len=448)
    h = job.model.hidden_size
    stem = 2 * 3000 * 240 * h + 2 * 1500 * 3 * h * h
    assert forward_flops(job, "encoder_embedding") == pytest.approx(stem, rel=1e-12)
    assert job.seq_len == 1500


def test_similarities_are_to_the_whole_global_batch() -> None:
    job = workload("clip-vit-b-32", global_batch_size=32768)
    graph = next(graph for part, _, graph in step_graphs(job, Plan(micro_batch_size=4), SOFTWARE, "sdpa")
                 if part == "head")  # fmt: skip
    logits = [graph.nodes[name]["operation"] for name in ("logits", "logits_back")]
    assert [(float(one.rows), float(one.columns), one.contraction) for one in logits] == 2 * [(4.0, 32768.0, 512)]
    assert nx.is_directed_acyclic_graph(graph)


@pytest.mark.parametrize(("key", "task"), [
    ("llava-1.5-7b", "pretrain"), ("llava-1.5-7b", "lora"), ("llava-1.5-7b", "freeze"),
    ("clip-vit-l-14", "pretrain"), ("clip-vit-l-14", "lora"), ("electra-base", "pretrain"),
])  # fmt: skip
def test_gradients_are_those_of_what_is_trained(key: str, task: str) -> None:
    """Two ways to count the same; in graphs an adapter reads the input of gate and up once."""
    job = workload(key, task=task)
    trained = trainable(job.model, job.task, job.head, job.lora_rank)
    assert cost(job).memory.update.gradients_bytes / job.precision.gradient_bytes == pytest.approx(trained, rel=0.04)


@pytest.mark.parametrize("task", list(Task))
def test_every_task_runs_through_every_tower(task: Task) -> None:
    for key in ("clip-vit-l-14", "llava-1.5-7b", "electra-base"):
        head = "classification" if key.startswith("clip") and task is Task.FREEZE else None
        found = cost(workload(key, task=task, head=head))
        assert found.model_flops > 0 and found.time.total_seconds > 0, key
    trained = {
        one: cost(workload("llava-1.5-7b", task=one)).memory.update.gradients_bytes for one in (task, "pretrain")
    }
    assert trained[task] <= trained["pretrain"]


def windowed(seq_len: int, window: int, has_chunks: bool) -> float:
    model: Model = replace(ps.model("llama3-8b"), window=window, windowed_layers=32, has_chunks=has_chunks)
    return forward_flops(replace(workload("llama3-8b", seq_len=seq_len), model=model))


@pytest.mark.parametrize("has_chunks", [False, True])
def test_a_window_as_wide_as_the_sequence_is_none(has_chunks: bool) -> None:
    whole = forward_flops(workload("llama3-8b", seq_len=4096))
    assert windowed(4096, 4096, has_chunks) == windowed(4096, 8192, has_chunks) == pytest.approx(whole, rel=1e-12)
    assert windowed(4096, 2048, has_chunks) < windowed(4096, 4095, has_chunks) < whole


def test_half_a_windows_band_is_what_a_query_sees() -> None:
    """s·w - w²/2 pairs of a causal band, counted twice as a causal square's are."""
    s, w, model = 8192, 1024, ps.model("llama3-8b")
    pairs = s * w - w * w / 2
    core = 2 * pairs * 4 * model.heads * model.head_dim * model.layers
    square = 4 * s * s * model.heads * model.head_dim * model.layers
    assert forward_flops(workload("llama3-8b", seq_len=s)) - windowed(s, w, False) == pytest.approx(square - core)


REFUSED = [
    ("llava-1.5-7b", {"seq_len": 576}, "seq_len: 576 leaves nothing beside the 576 tokens"),
    ("llava-1.5-7b", {"trained_towers": ["visoin"]}, "visoin is no frozen tower; its frozen towers are vision"),
    ("llama3-8b", {"trained_towers": ["vision"]}, "vision is no frozen tower; llama3-8b has none"),
    ("llama3-8b", {"head": "contrastive"}, "llama3-8b has no second tower to compare with"),
    ("llama3-8b", {"head": "replaced-token"}, "llama3-8b is no encoder"),
    ("whisper-tiny", {"seq_len": 512, "decoder_seq_len": 64}, "whisper-tiny always reads 1,500 tokens, not 512"),
    ("clip-vit-b-32", {"task": "freeze"}, "trains the head alone, and clip-vit-b-32 has none"),
    ("llava-1.5-7b", {"packed": True, "sample_tokens": 700, "seq_len": 2048}, "reads one image a sequence"),
    ("dit-xl-2", {"task": "freeze"}, "trains the head alone, and dit-xl-2 has none"),
]


@pytest.mark.parametrize(("key", "keys", "expected"), REFUSED)
def test_what_a_model_cannot_do_is_refused(key: str, keys: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        workload(key, **keys)
