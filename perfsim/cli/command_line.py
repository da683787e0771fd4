"""The command that gives an answer again, as one would type it."""

import shlex
from collections.abc import Iterator

import click

OUTPUTS = ("plot", "json_file", "csv_file", "md_file")


def command_text(ctx: click.Context) -> str:
    """What was asked for on the command line, without where the answer goes."""
    return " ".join(quoted(word) for word in _words(ctx))


def quoted(word: str) -> str:
    r"""The word as a shell takes it, in double quotes where that reads better.

    >>> quoted("--gpu '2x T4'"), quoted("2x T4"), quoted("bert")
    ('"--gpu \'2x T4\'"', "'2x T4'", 'bert')
    """
    return f'"{word}"' if "'" in word and not set(word) & set('"$`!\\') else shlex.quote(word)


def _words(ctx: click.Context) -> Iterator[str]:
    if ctx.parent:
        yield from _words(ctx.parent)
    yield ctx.info_name if ctx.parent and ctx.info_name else "perfsim"
    for parameter in ctx.command.params:
        name = parameter.name or ""
        is_given = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        value = ctx.params.get(name)
        if not is_given or value is None or name in OUTPUTS:
            continue
        option = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else ""
        if isinstance(parameter, click.Option) and parameter.is_flag:
            yield option
            continue
        for one in value if isinstance(value, tuple) else (value,):
            yield from filter(None, (option, str(one)))
