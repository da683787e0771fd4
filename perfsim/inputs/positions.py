"""On which line of a TOML or JSON text each key stands (the parsers forget), and what no parser should be given."""

import re
from collections.abc import Iterator

Loc = tuple[str | int, ...]

# Before parsing, because tomllib needs seconds and gigabytes for a key of thousands of parts.
MAX_KEY_DOTS, MAX_LEVELS, MAX_NUMBER_LENGTH = 16, 64, 400

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\Z)'
    r"|'''.*?(?:'{3,5}|\Z)"
    r'|"(?:\\[^\n]|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*|[ \t\r]+|[^\s\"'#\[\]{}=:,]+|.",
    re.DOTALL,
)
_SEPARATORS = ("[", "{", "=", ":", ",", "\n")
_BLANK = ("#", " ", "\t", "\r")


def tokens(text: str) -> Iterator[tuple[str, int]]:
    """The words, brackets and line ends of a TOML or JSON text, each with its line; no comments, no blanks."""
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token[0] not in _BLANK:
            yield token, line
        line += token.count("\n")


def excess(text: str) -> tuple[int, str] | None:
    """The line and the words for the first thing in `text` that is beyond the limits above; None when all is well."""
    level = dots = 0
    for token, line in tokens(text):
        if token in ("[", "{"):
            level += 1
        elif token in ("]", "}"):
            level -= 1
        if token in _SEPARATORS:
            dots = 0
        elif token[0] not in "\"'":
            dots += token.count(".")
            if len(token) > MAX_NUMBER_LENGTH and token[0] in "+-.0123456789" and dots <= MAX_KEY_DOTS:
                return line, f"a number of {len(token):,} characters; write at most {MAX_NUMBER_LENGTH}"
        if dots > MAX_KEY_DOTS:
            return line, f"a key of more than {MAX_KEY_DOTS} parts; shorten it"
        if level > MAX_LEVELS:
            return line, f"brackets nested more than {MAX_LEVELS} deep; flatten them"
    return None


class Positions:
    """Lines of every key of a text that its parser has accepted; `repeated` lists keys that JSON holds twice."""

    def __init__(self, text: str, is_json: bool) -> None:
        self._tokens = [*tokens(text), ("", text.count("\n") + 1)]
        self._next = 0
        self.lines: dict[Loc, int] = {(): 1}
        self.repeated: list[Loc] = []
        if is_json:
            self._value(())
        else:
            self._statements()

    def line(self, loc: Loc) -> int:
        """The line of `loc`, or of the nearest table around it that the text has."""
        while loc not in self.lines:
            loc = loc[:-1]
        return self.lines[loc]

    def _peek(self) -> str:
        return self._tokens[self._next][0]

    def _take(self) -> tuple[str, int]:
        self._next += 1
        return self._tokens[self._next - 1]

    def _skip(self, *unwanted: str) -> None:
        while self._peek() in unwanted:
            self._next += 1

    def _statements(self) -> None:
        table: Loc = ()
        lengths: dict[Loc, int] = {}  # of arrays of tables
        self._skip("\n")
        while self._peek():
            if self._peek() == "[":
                table = self._header(lengths)
            else:
                self._pair(table)
            self._skip("\n")

    def _header(self, lengths: dict[Loc, int]) -> Loc:
        line = self._take()[1]
        is_array = self._peek() == "["
        self._skip("[")
        loc: Loc = ()
        for part in self._key("]"):
            if loc in lengths:
                loc += (lengths[loc] - 1,)
            loc += (part,)
            self.lines.setdefault(loc, line)
        self._skip("]")
        if is_array:
            lengths[loc] = lengths.get(loc, 0) + 1
        if loc in lengths:
            loc += (lengths[loc] - 1,)
        self.lines[loc] = line
        return loc

    def _key(self, end: str) -> list[str]:
        parts = []
        while self._peek() not in (end, ""):
            token = self._take()[0]
            parts += [token[1:-1]] if token[0] in "\"'" else [part for part in token.split(".") if part]
        return parts

    def _pair(self, table: Loc, end: str = "=") -> None:
        line = self._tokens[self._next][1]
        parts = self._key(end)
        self._skip(end)
        for n in range(1, len(parts)):
            self.lines.setdefault((*table, *parts[:n]), line)
        loc = (*table, *parts)
        if loc in self.lines:
            self.repeated.append(loc)
        self.lines[loc] = line
        self._value(loc)

    def _value(self, loc: Loc) -> None:
        self._skip("\n")
        if self._peek() == "[":
            self._list(loc)
        elif self._peek() == "{":
            self._inline_table(loc)
        else:
            while self._peek() not in (",", "]", "}", "\n", ""):
                self._next += 1

    def _list(self, loc: Loc) -> None:
        self._take()
        self._skip("\n", ",")
        index = 0
        while self._peek() not in ("]", ""):
            self.lines[*loc, index] = self._tokens[self._next][1]
            self._value((*loc, index))
            self._skip("\n", ",")
            index += 1
        self._take()

    def _inline_table(self, loc: Loc) -> None:
        self._take()
        self._skip("\n", ",")
        while self._peek() not in ("}", ""):
            if self._peek()[0] in "\"'" and self._tokens[self._next + 1][0] == ":":
                self._pair(loc, ":")
            else:
                self._pair(loc)
            self._skip("\n", ",")
        self._take()
