"""`perfsim`: the command, its global options, and the one place where an error becomes a line and an exit code."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from perfsim import __version__
from perfsim.errors import PerfsimError

COMMANDS = {  # name: (module, one line for --help)
    "sweep": ("perfsim.cli.sweep", "Find the best GPUs and plans for a scenario."),
    "recommend": ("perfsim.cli.recommend", "Say which cards to take for a deadline and a budget."),
    "fit": ("perfsim.cli.fit", "Show which cards can train a model, how, and how much at once."),
    "estimate": ("perfsim.cli.estimate", "Cost one plan, part by part."),
    "explain": ("perfsim.cli.explain", "Say why two plans differ, and what would make one fit."),
    "trace": ("perfsim.cli.trace", "Write one plan's step as a trace for Perfetto."),
    "launch": ("perfsim.cli.launch", "Write the file that starts a plan with the tool you use."),
    "validate": ("perfsim.cli.validate", "Hold predictions against measured runs or kernels."),
    "read-log": ("perfsim.cli.read_log", "Hold a prediction against the logs of your own run."),
    "calibrate": ("perfsim.cli.calibrate", "Fit the numbers of cards to your own measurements."),
    "measure": ("perfsim.cli.measure", "Measure your Nvidia card: kernels, collectives, training, power."),
    "specs": ("perfsim.cli.specs", "List, show and check cards, systems and models."),
    "support": ("perfsim.cli.support", "Say which software runs on which card."),
    "roofline": ("perfsim.cli.roofline", "Show a card's roofline, and a model's kernels under it."),
    "graph": ("perfsim.cli.graph", "Print or write a model's compute graph."),
}

USERS_FAULT, DEFECT, INTERRUPTED, NO_READER = 2, 70, 130, 141


class Perfsim(click.Group):
    """A group that imports a command when it is asked for, and ends every run with a documented exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of --help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list of --help without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`; a misspelt one is answered with the nearest."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(_no_such_command(args[0]))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no exception but click's own leaves here."""
        _never_fail_to_encode()
        is_debug = bool(ctx.params.get("debug"))
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            _stop(["perfsim: interrupted"], INTERRUPTED, is_debug)
        except PerfsimError as error:
            _stop(str(error).split("\n"), USERS_FAULT, is_debug)
        except SystemExit as stop:
            if not isinstance(stop.__context__, BrokenPipeError):
                raise
            _leave_closed_pipe()
        except BrokenPipeError:
            _leave_closed_pipe()
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _stop([f"perfsim: {place}{error.strerror or error}"], USERS_FAULT, is_debug)
        except Exception as error:
            what = f"{type(error).__name__}: {error}".replace("\n", " ")
            advice = "" if is_debug else "; please report it with the traceback that `perfsim --debug ...` prints"
            _stop([f"perfsim: a defect in perfsim: {what}{advice}"], DEFECT, is_debug)


def _no_such_command(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
    return f"no such command {name!r}; {advice}"


def _never_fail_to_encode() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _stop(lines: Sequence[str], code: int, is_debug: bool) -> NoReturn:
    """Print `lines` to stderr, after the current exception's traceback where asked for, and exit with `code`."""
    from perfsim.units import printable

    if is_debug:
        import traceback

        traceback.print_exc()
    for line in lines:
        click.echo(printable(line), err=True)
    raise click.exceptions.Exit(code)


def _leave_closed_pipe() -> NoReturn:
    """Exit quietly when the reader of stdout, such as `head`, is gone; Python would flush into it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(NO_READER)


@click.group(cls=Perfsim, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--specs",
    "folders",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also read cards, systems and models from this folder; may be given more than once.",
)
@click.option("--debug", is_flag=True, help="Print the traceback of any error.")
@click.version_option(__version__, prog_name="perfsim")
@click.pass_context
def main(ctx: click.Context, folders: tuple[Path, ...], debug: bool) -> None:
    """Which Nvidia GPU, how many, split how: time, memory, energy and cost of training transformers.

    \b
    Start with:  perfsim sweep bert
    Exit codes:  0 an answer, 1 nothing fits, 2 a file or option cannot be used.
    """  # noqa: D301  click reads the backspace
    ctx.obj = list(folders)
