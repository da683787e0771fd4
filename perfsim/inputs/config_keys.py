"""The keys of a Hugging Face config.json, each checked when asked for; no misspelt key is taken for an absent one."""

from collections.abc import Sequence
from typing import Any

from perfsim.inputs import explain
from perfsim.inputs.architecture import MAX_WIDTH
from perfsim.inputs.files import Document, raise_problems
from perfsim.inputs.positions import Loc

SIMILAR = 0.75
KV_WORDS = ("kv", "key_value", "query_group")  # what a misspelt num_key_value_heads holds

# Keys of published configs that say nothing about a model's shape, though some look like keys that do.
HARMLESS = frozenset(
    (
        *("architectures", "auto_map", "model_type", "torch_dtype", "transformers_version", "use_cache"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "num_labels", "initializer_range", "n_ctx"),
        *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "embd_pdrop", "resid_pdrop"),
        *("classifier_dropout", "hidden_dropout", "hidden_dropout_prob"),
        *("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "rope_scaling", "rope_theta"),
        *("layer_types", "max_window_layers", "sliding_window", "sliding_window_pattern", "use_sliding_window"),
        "quantization_config",
    )
)


class Keys:
    """One table of a config.json; the problems of all its tables are collected and raised together by `finish`."""

    def __init__(self, document: Document, table: dict[str, Any] | None = None, parent: "Keys | None" = None) -> None:
        """Tables inside a table are made by `table`."""
        self._document = document
        self._table = document.data if table is None else table
        self._prefix: Loc = ()
        self._asked: dict[str, bool] = {}  # whether each key must be there
        self._wrong: set[str] = set()
        self._problems: list[tuple[Loc, str, str]] = parent._problems if parent else []
        self._tables: list[Keys] = parent._tables if parent else []
        self._tables.append(self)

    def expect(self, key: str) -> None:
        """Demand that the file says something about `key`, be it null."""
        self._asked[key] = True

    def either(self, key: str, other: str) -> str:
        """Whichever of two names of one thing the file uses, `key` where it uses none."""
        if key != other and key in self._table and other in self._table and self._table[key] != self._table[other]:
            self.refuse(other, f"is another name of {key}, which says something else", "remove one of the two")
        return key if key in self._table or other not in self._table else other

    def whole(self, key: str, default: int | None = None, low: int = 1, high: int = MAX_WIDTH) -> int:
        """The whole number in [low, high] at `key`; `default`, if there is one, where it is absent or null."""
        value = self._get(key, default is None)
        if value is None:
            return low if default is None else default
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, f"expected a whole number, got {explain.shown(value)}", "write a plain whole number")
            return low
        if not low <= value <= high:
            todo = f"at least {low:,}" if value < low else f"at most {high:,}"
            self.refuse(key, f"{explain.shown(value)} is not allowed", f"write a number of {todo}")
            return low
        return value

    def flag(self, key: str, default: bool) -> bool:
        """The true or false at `key`; `default` where it is absent or null."""
        value = self._get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.refuse(key, f"expected true or false, got {explain.shown(value)}", "write true or false")
        return default

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """The text at `key`, one of `allowed`; `default`, if there is one, where it is absent or null."""
        value = self._get(key, default is None)
        if value is None:
            return allowed[0] if default is None else default
        if not isinstance(value, str) or value not in allowed:
            close = explain.nearest(str(value), allowed) if isinstance(value, str) else []
            todo = f"did you mean {close[0]}?" if close else "write one of these"
            self.refuse(key, f"{explain.shown(value)} is none of {', '.join(allowed)}", todo)
            return allowed[0]
        return value

    def items(self, key: str, length: int | None = None) -> list[Any]:
        """The list at `key`, of `length` entries where one is given; an empty one where it is absent or null."""
        value = self._get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(key, f"expected a list, got {explain.shown(value)}", "write a list in brackets: [...]")
            return []
        if length is not None and len(value) != length and not self._wrong:
            self.refuse(key, f"{len(value)} entries for {length} layers", "write one entry a layer")
        return value

    def size(self, key: str) -> int:
        """How many entries the table at `key` has; 0 where there is none."""
        value = self._get(key)
        return len(value) if isinstance(value, dict) else 0

    def table(self, key: str) -> "Keys":
        """The table at `key`; an empty one where it is absent or null."""
        value = self._get(key)
        if value is not None and not isinstance(value, dict):
            self.refuse(key, f"expected a table, got {explain.shown(value)}", "write a table in braces: {...}")
            value = None
        inner = Keys(self._document, value or {}, self)
        inner._prefix = (*self._prefix, key)
        return inner

    def quotient(self, key: str, by: str) -> int:
        """The number at `key` divided by the one at `by`, which must leave no remainder; both have been asked for."""
        number, divisor = self._table.get(key), self._table.get(by)
        if not isinstance(number, int) or not isinstance(divisor, int) or {key, by} & self._wrong:
            return 1
        if number % divisor:
            self.refuse(by, f"{divisor} does not divide {key} {number}", f"write a divisor of {key}")
        return max(number // divisor, 1)

    def refuse(self, key: str, what: str, todo: str) -> None:
        """Keep a problem of the value at `key`."""
        self._wrong.add(key)
        self._problems.append(((*self._prefix, key), what, todo))

    def finish(self) -> None:
        """Raise InputError with every problem of the file; return when there are none."""
        for table in self._tables:
            table._find_misspelt()
        raise_problems(self._document, self._problems)

    def _get(self, key: str, is_required: bool = False) -> Any:
        self._asked[key] = self._asked.get(key, False) or is_required
        value = self._table.get(key)
        if is_required and value is None and key in self._table:
            self.refuse(key, "is null", "write its value")
        return value

    def _find_misspelt(self) -> None:
        """Report every key that was asked for and is absent, unless it may be and no key of the table looks like it."""
        strangers = [key for key in self._table if key not in self._asked and key not in HARMLESS]
        for key, is_required in self._asked.items():
            if key in self._table:
                continue
            if meant := _look_alike(key, strangers, is_required):
                self._problems.append(((*self._prefix, meant), "no such key", f"did you mean {key}?"))
                strangers.remove(meant)
            elif is_required:
                self._problems.append(((*self._prefix, key), "is missing", "add it"))


def _look_alike(key: str, strangers: list[str], is_required: bool) -> str | None:
    """The key of `strangers` that was probably meant to be `key`."""
    if key in ("num_key_value_heads", "num_kv_heads", "kv_n_heads"):
        about_kv = [name for name in strangers if "head" in name and any(word in name.lower() for word in KV_WORDS)]
        if about_kv:
            return about_kv[0]
    close = explain.nearest(key, strangers, cutoff=0.6 if is_required else SIMILAR)
    return close[0] if close else None
