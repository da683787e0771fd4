"""Optimizers: what each keeps for a parameter, and the bytes that one update moves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Optimizer:
    """One way to update parameters.

    moments: values per parameter in the precision's state format; own_bytes: bytes per parameter in a format of its
    own, scales included, which its own fused kernels work on. is_factored: the second moment is kept as sums over the
    rows and columns of each matrix, in fp32. orthogonalises: matrices inside the layers keep one moment, whose
    update is made orthogonal; all else is AdamW's. is_paged: state in unified memory, outside the framework's
    allocator; the driver moves what does not fit. update_bytes: one fused update of fp32 values, read and written.
    """

    key: str
    update_bytes: float
    moments: float = 0.0
    own_bytes: float = 0.0
    is_factored: bool = False
    orthogonalises: bool = False
    is_paged: bool = False


# A moment quantised in blocks, each with a scale in fp32: 8 bits and 256 values (bitsandbytes-foundation/bitsandbytes
# bitsandbytes/optim/optimizer.py, Dettmers et al. 2021, arXiv 2110.02861, which had 2,048; pytorch/ao torchao/optim),
# 4 bits and 128 values (pytorch/ao torchao/optim; Li et al. 2023, arXiv 2309.01507)
BYTES_8_BIT, BYTES_4_BIT = 1.0 + 4.0 / 256.0, 0.5 + 4.0 / 128.0

# update_bytes: an fp32 gradient is read (4), the weight (8) and every moment (8) read and written. LAMB writes its
# update, reads it for the norms with the weight, and again to apply it (You et al. 2019, arXiv 1904.00962, algorithm
# 2); Adafactor reads the gradient for the sums, for the update's norm and for the update (Shazeer and Stern 2018, arXiv
# 1804.04235, algorithm 4); Muon writes, measures and reads a 16-bit copy (KellerJordan/Muon muon.py), its products
# apart. Lion: Chen et al. 2023 (arXiv 2302.06675). Paged: Dettmers et al. 2023 (arXiv 2305.14314, section 3).
OPTIMIZERS = {
    o.key: o
    for o in (
        Optimizer("sgd", 20.0, 1.0),
        Optimizer("sgd-plain", 12.0),
        Optimizer("adam", 28.0, 2.0),
        Optimizer("adamw", 28.0, 2.0),
        Optimizer("lamb", 44.0, 2.0),
        Optimizer("adafactor", 20.0, is_factored=True),
        Optimizer("lion", 20.0, 1.0),
        Optimizer("muon", 26.0, 1.0, orthogonalises=True),
        Optimizer("adam8bit", 12.0 + 4.0 * BYTES_8_BIT, own_bytes=2.0 * BYTES_8_BIT),
        Optimizer("adamw8bit", 12.0 + 4.0 * BYTES_8_BIT, own_bytes=2.0 * BYTES_8_BIT),
        Optimizer("adam4bit", 12.0 + 4.0 * BYTES_4_BIT, own_bytes=2.0 * BYTES_4_BIT),
        Optimizer("adamw4bit", 12.0 + 4.0 * BYTES_4_BIT, own_bytes=2.0 * BYTES_4_BIT),
        Optimizer("paged-adamw", 28.0, own_bytes=8.0, is_paged=True),
        Optimizer("paged-adamw8bit", 12.0 + 4.0 * BYTES_8_BIT, own_bytes=2.0 * BYTES_8_BIT, is_paged=True),
        Optimizer("none", 0.0),
    )
}
