"""What people type for a card: "RTX 4090", "a100 80gb", "NVIDIA A100-SXM4-80GB", "4070ti"."""

import re
from collections.abc import Iterable

_MAKERS = {"nvidia", "geforce", "tesla", "generation", "gpu", "graphics", "card", "with", "design", "edition"}
_FAMILIES = {"gtx", "rtx", "quadro"}
_VARIANTS = re.compile(
    r"\d+gb|sxm\d?|pcie|nvl|ws|server|ada|pascal|workstation|blackwell|\d+w|ls"
)  # what may stay unsaid, if only one card is left


def words(name: str) -> tuple[str, ...]:
    """The words of a name, spelt one way.

    >>> words("GeForce RTX4070Ti 16 GB")
    ('rtx', '4070', 'ti', '16gb')
    """
    text = re.sub(r"[^a-z0-9.]+", " ", name.lower())
    text = re.sub(r"\b(gtx|rtx)(?=[a-z]?\d)", r"\1 ", text)
    text = re.sub(r"\b(\d+)\s*(gib|gb|g)\b", r"\1gb", text)
    text = re.sub(r"(\d)(ti|super)\b", r"\1 \2", text)
    return tuple(word for word in text.split() if word not in _MAKERS)


def matching(name: str, keys: Iterable[str]) -> list[str]:
    """The keys that `name` can mean: the one of the same words, else all that differ in what people leave out."""
    wanted = set(words(name))
    spelt = {key: set(words(key)) for key in keys}
    same = [key for key, own in spelt.items() if own == wanted]
    return same or [key for key, own in spelt.items() if wanted - _FAMILIES and _is_short_for(wanted, own)]


def _is_short_for(wanted: set[str], own: set[str]) -> bool:
    boards = {"sxm"} if any(word.startswith("sxm") for word in own) else set()
    unsaid = own - wanted - _FAMILIES
    return wanted <= own | _FAMILIES | boards and all(map(_VARIANTS.fullmatch, unsaid))
