"""The kinds of layer a model stacks, its towers' with them: how many, where, and what sets them apart."""

from dataclasses import dataclass, replace

from perfsim.core.model import Model, Tower


@dataclass(frozen=True)
class Block:
    """Layers that are alike: how many, where, and what sets them apart from the model's other layers.

    They lie among the `span` layers from layer `first` on, spread evenly. tower: the one they belong to.
    """

    name: str
    count: int
    first: int = 0
    span: int = 0
    is_moe: bool = False
    has_cross_attention: bool = False
    is_encoder: bool = False
    window: int = 0
    is_mtp: bool = False
    tower: Tower | None = None


def blocks(model: Model) -> list[Block]:
    """The kinds of layer a model stacks, in order; counts add up to its layers (encoder and tower layers included).

    Towers come first, encoder layers before decoder layers, dense layers before those with experts, and those that
    predict tokens beyond the next one last.

    >>> import perfsim as ps
    >>> [(b.name, b.count) for b in blocks(ps.model("t5-base"))]
    [('encoder', 12), ('decoder', 12)]
    >>> [(b.name, b.count, b.first) for b in blocks(ps.model("llava-1.5-7b"))]
    [('vision.encoder', 24, 0), ('decoder', 32, 24)]
    """
    found: list[Block] = []
    first = 0
    for tower in model.towers:
        own = blocks(tower.model)
        found += [replace(b, name=f"{tower.name}.{b.name}", first=first + b.first, tower=tower) for b in own]
        first += tower.model.split_layers
    if model.encoder_layers:
        found.append(Block("encoder", model.encoder_layers, first, model.encoder_layers, is_encoder=True))
        first += model.encoder_layers
    windowed = min(model.windowed_layers, model.layers) if model.window else 0
    for is_moe, count in ((False, model.layers - model.moe_layers), (True, model.moe_layers)):
        local = round(count * windowed / model.layers)
        kind = "moe" if is_moe else ("encoder" if model.kind in ("encoder", "vit") else "decoder")
        cross = model.encoder_layers > 0
        for name, n, window in ((kind, count - local, 0), (f"{kind}-window", local, model.window)):
            if n:
                found.append(Block(name, n, first, count, is_moe, cross, False, window))
        first += count
    if model.mtp_layers:
        found.append(Block("mtp", model.mtp_layers, first, model.mtp_layers, bool(model.moe), is_mtp=True))
    return found
