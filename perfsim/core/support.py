"""What software runs on a card: facts, each with its source."""

from dataclasses import dataclass
from typing import Literal

State = Literal["yes", "partial", "emulated", "no", "unknown"]
CURRENT, UNKNOWN = "current", "unknown"

# what a job can need of a card besides units for its number format: files of specs/support
NEEDED = (
    "flash-attention-1",
    "flash-attention-2",
    "flash-attention-3",
    "cudnn-attention",
    "torch-compile",
    "fp8",
    "nvfp4",
    "mxfp4",
    "bitsandbytes-4bit",
)
_TOLD = ("bf16", "flash-attention-2", "torch-compile")  # what a card's sentence says that it lacks


@dataclass(frozen=True)
class Fact:
    """What is known of one thing on one card.

    first, last: the versions between which it works; "current": still, "unknown": not looked up, "": never. lines:
    builds that hold code for the card, by their last versions. date: of the source, ISO; "" where the source tells it.
    """

    key: str
    name: str
    state: State
    first: str = UNKNOWN
    last: str = UNKNOWN
    lines: tuple[str, ...] = ()
    detail: str = ""
    source: str = ""
    date: str = ""

    @property
    def has_ended(self) -> bool:
        """Its last version is known to be out."""
        return self.state != "no" and self.last not in (CURRENT, UNKNOWN)


@dataclass(frozen=True)
class Support:
    """What is known of a card's software.

    first_code_day: ordinal of the day from which any toolkit's code runs on the card; 0: not known.
    """

    key: str
    name: str
    compute_capability: str
    facts: tuple[Fact, ...]
    first_code_day: float = 0.0

    def fact(self, key: str) -> Fact:
        """What is known of `key`; unknown where nothing is."""
        return next((fact for fact in self.facts if fact.key == key), Fact(key, key, "unknown"))

    @property
    def lacks(self) -> dict[str, bool]:
        """Of everything that a job can need, whether it is known not to run; what is unknown may run."""
        return {key: self.fact(key).state == "no" for key in NEEDED}

    @property
    def limits(self) -> str:
        """What a user of the card has to live with, "" for nothing: wheels that have ended, what does not run.

        >>> import perfsim as ps
        >>> ps.support("T4").limits
        'no bf16 (emulated), no FlashAttention-2'
        """
        return ", ".join(filter(None, (self._wheels if self.fact("pytorch").has_ended else "", self._missing)))

    @property
    def sentence(self) -> str:
        """The verdict in a line.

        >>> import perfsim as ps
        >>> ps.support("L4").sentence
        'L4: sm_89, PyTorch 1.7 and newer'
        """
        parts = filter(None, (f"sm_{self.compute_capability.replace('.', '')}, {self._wheels}", self._missing))
        return f"{self.name}: {'; '.join(parts)}"

    @property
    def _wheels(self) -> str:
        wheels = self.fact("pytorch")
        if wheels.state == "unknown":
            return "PyTorch wheels unknown"
        if wheels.has_ended:
            return f"last in the {wheels.lines[-1]} wheels (PyTorch {wheels.last})"
        return "current PyTorch" if wheels.first == UNKNOWN else f"PyTorch {wheels.first} and newer"

    @property
    def _missing(self) -> str:
        facts = [self.fact(key) for key in _TOLD]
        words = {"no": "", "emulated": " (emulated)"}
        return ", ".join(f"no {fact.name}{words[fact.state]}" for fact in facts if fact.state in words)
