"""How a framework of a period runs a step: what it fuses, launches, overlaps and keeps in memory."""

from dataclasses import dataclass
from typing import Literal

Fusion = Literal["eager", "fused", "compiled"]
AttentionKernel = Literal["naive", "sdpa", "flash-1", "flash-2", "flash-3", "cudnn"]
OptimizerKernel = Literal["loop", "foreach", "fused"]
OffloadKind = Literal["optimizer", "parameters", "activations"]
SelectionKind = Literal["core", "per-op", "qkv", "qkv-output", "products"]
ScheduleKind = Literal["gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "dualpipe"]

OTHER_FRAMEWORKS = ("tensorflow", "jax", "paddle", "llm.c")  # those that do not run on PyTorch


@dataclass(frozen=True)
class Software:
    """One entry of specs/software; its file tells the source and the basis of every number.

    fusion: "eager", one kernel an operation; "fused", hand-fused (apex, Megatron, Transformer Engine); "compiled".
    attention: the kernel it runs; "sdpa" is PyTorch's choice of flash-2 or, for older cards, a memory-efficient kernel.
    gemm_efficiency: products on tensor cores relative to the card's gemm_fraction, which benchmarks reach.
    memory_efficiency: elementwise bandwidth relative to the card's bandwidth_fraction.
    host_seconds: the CPU's time to launch one kernel of the forward or backward pass.
    """

    key: str
    name: str
    framework: str
    first_release: str  # ISO dates of the period that the entry describes
    last_release: str
    fusion: Fusion
    attention: AttentionKernel
    vocabulary_multiple: int  # the vocabulary's rows on a rank are padded to it; 1: not at all
    has_fused_qkv: bool  # one product for query, key and value
    has_bias_copy: bool  # addmm writes the bias first, as a kernel of its own
    has_contiguous_copies: bool  # query, key and value are copied head by head
    has_serial_norm_gradient: bool  # gamma and beta in a kernel whose few blocks walk all rows (eager LayerNorm)
    has_fused_epilogue: bool  # activations and bias gradients ride in the products (cuBLASLt)
    has_fp32_residual: bool  # autocast: norms and residuals in fp32, casts around every product
    has_fp32_softmax: bool  # autocast: attention's softmax, written out, runs and is kept in fp32
    has_graph_breaks: bool  # compiled piece by piece: norms, residual sums and casts stay kernels of their own
    repeats_keys: bool  # grouped keys and values are copied out to one a query head
    zeroes_gradients: bool  # gradients are zeroed, not freed, so that every micro-batch adds to them
    reduction_reads: float  # times a compiled row reduction reads its row; 1: the row stays on the chip
    random_bytes: float  # per value, a dropout's random numbers drawn by a kernel of their own; 0: drawn in place
    activation_kept_bytes: float  # per value, what the activation keeps besides its input
    schedules: tuple[ScheduleKind, ...]  # of pipelines, that it can run
    offloads: tuple[OffloadKind, ...]  # what it can keep in host memory
    tensor_core_multiple: int  # 16-bit products need dimensions of this multiple for tensor cores; 1: any but odd ones
    gemm_efficiency: float
    memory_efficiency: float
    elementwise_traffic: float  # bytes moved over the least that the listed kernels need
    attention_efficiency: float  # flash kernels relative to the card's attention_fraction
    host_seconds: float
    optimizer: OptimizerKernel
    adam_bytes_per_parameter: float  # HBM traffic of one Adam update with fp32 states, clipping and zeroing included
    adam_kernels_per_tensor: float  # 0: multi-tensor kernels
    optimizer_host_seconds: float  # per optimizer kernel
    synchronisation_seconds: float  # reading a value back: loss, gradient norm
    synchronises_per_tensor: bool  # old clip_grad_norm_
    step_seconds: float  # fixed host time of a step
    loss_bytes_per_logit: float  # moved, forward and backward
    loss_stream_bytes: float  # of them, those of casts and fills; the others are the softmax's
    logit_bytes: float  # held at the peak, per logit
    accumulation_bytes_per_parameter: float  # HBM traffic of adding a micro-batch's gradient
    sharded_bytes_per_parameter: float  # HBM traffic of gather and scatter buffers per micro-batch, ZeRO-3
    has_early_stop_recompute: bool  # recomputation ends with the last saved tensor
    selective_recompute: SelectionKind  # what selective recomputation does again: graphs.recompute
    workspace_bytes: float  # cuBLAS and the like, inside the allocator
    fuses_weight_gradients: bool  # products add to the main gradient and keep an empty one of each weight's shape
    has_sequence_parallel: bool  # tensor parallelism splits norms and sums too: Megatron since 2022, torchtitan
    has_gather_buffer: bool  # sequence parallelism gathers into a buffer that stays
    gradient_bucket_copies: float  # of all gradients, kept by data parallelism
    reduced_bytes_per_gradient: float  # at most: the format in which gradients are added up and reduced
    gradient_bucket_bytes: float  # reduced at once beside the backward pass; 0: all gradients after it
    gradient_bucket_rank_bytes: float  # a bucket holds at least this for every data-parallel rank
    tensor_parallel_overlap: Literal["none", "backward", "all"]
    gather_passes: int  # times ZeRO-3 moves the parameters in a micro-batch, the reduce-scatter included
    has_single_nic: bool  # ZeRO-3 traffic goes through one NIC of the node
    context_bytes: float  # CUDA context and loaded kernels
    collective_bytes: float  # NCCL buffers
    activation_reserve: float  # kept over what the listed tensors need
    reserve: float  # allocator's reserved over allocated
    memory_spread: float  # standard deviation of log(needed / predicted) bytes of a GPU

    @property
    def has_tf32_convolutions(self) -> bool:
        """Convolutions of fp32 images run in TF32 where the card has it: torch.backends.cudnn.allow_tf32, since 1.7.

        Source: pytorch/pytorch docs/source/notes/cuda.rst, "TensorFloat-32 (TF32) on Ampere (and later) devices".
        """
        return self.framework not in OTHER_FRAMEWORKS and self.last_release >= "2020-10-27"
