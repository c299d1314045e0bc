"""`quire`: the same verbs for every paper. One module per verb; none imports torch or a plugin before it is called."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from quire.cli import (
    check,
    demo,
    doctor,
    evaluate,
    export,
    listing,
    new,
    predict,
    runs,
    sample,
    show,
    study,
    test,
    train,
)
from quire.errors import ConfigError, PluginError, QuireError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERBS: dict[str, Callable[..., None]] = {
    "list": listing.command,
    "show": show.command,
    "sample": sample.command,
    "train": train.command,
    "evaluate": evaluate.command,
    "predict": predict.command,
    "test": test.command,
    "runs": runs.command,
    "study": study.command,
    "check": check.command,
    "new": new.command,
    "doctor": doctor.command,
    "demo": demo.command,
    "export": export.export_command,
    "import": export.import_command,
}
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
# Typer carries click along under a private name; this is click's class for what is wrong with a command line.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class _Verbs(TyperGroup):
    """The verbs, and after them the commands that installed plugins bring; a plugin loads when its command is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        from quire import registry

        return list(dict.fromkeys([*super().list_commands(ctx), *registry.names("command")]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb, or what is known of a plugin's command without importing it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from quire import registry

        offered = [entry for entry in registry.descriptions("command") if entry.name == cmd_name]
        if not offered:
            return None
        return TyperCommand(cmd_name, short_help=offered[0].summary, rich_help_panel="Commands of installed papers")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does it, but a plugin's command is loaded; for the shell's completion it is not."""
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        name = args[0]
        command = super().get_command(ctx, name)
        if command is None:
            known = self.list_commands(ctx)
            if name not in known:
                raise ConfigError(
                    f"there is no command {name!r}{nearest(name, known)}", remedy="`quire --help` lists all."
                )
            command = _load_command(name)
        return name, command, args[1:]

    def invoke(self, ctx: Any) -> None:
        """Call the command; what its function returns is no exit code."""
        super().invoke(ctx)


def _load_command(name: str) -> Any:
    """The click command of the Typer app that a plugin offers as `name`."""
    from quire import registry

    found = registry.get(name, "command")
    if not isinstance(found, typer.Typer):
        project = registry.describe(name, "command").distribution
        raise PluginError(f"the command {name!r} of {project} is a {type(found).__name__}, not a typer.Typer")
    command = typer.main.get_command(found)
    completion = {"--install-completion", "--show-completion"}  # quire's own serve its plugins' commands too
    command.params = [parameter for parameter in command.params if not completion.intersection(parameter.opts)]
    command.no_args_is_help = False  # a command that lacks something is an error, here as everywhere
    return command


app = typer.Typer(
    cls=_Verbs,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Every research paper is a plugin: train, evaluate and predict with the same verbs.",
)
for _name, _function in VERBS.items():
    app.command(_name)(_function)


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from quire import __version__

        typer.echo(__version__)
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """The console script: run the command line of this process and exit with its code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    code = run_command_line(arguments, debug="--debug" in sys.argv)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End one of several processes at once: while the interpreter is taken down, threads of the group abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_command_line(arguments: Sequence[str], *, debug: bool = False) -> int:
    """Run `quire` with `arguments` and tell the exit code: 0, 1 for failures, 2 for a user's mistake, 130 for Ctrl-C.

    A mistake is one line on stderr, with `debug` the traceback before it. Errors in the code itself are raised.
    """
    from quire.cli.output import note, warnings_as_notes

    with warnings_as_notes(in_full=debug):
        try:
            return app(list(arguments), prog_name="quire", standalone_mode=False) or 0
        except (KeyboardInterrupt, typer.Abort):
            return INTERRUPTED
        except (QuireError, OSError, UsageError) as error:
            if debug:
                traceback.print_exc()
            note(f"error: {_sentence(error)}")
            return error.exit_code if isinstance(error, QuireError) else 2


def _sentence(error: Exception) -> str:
    if isinstance(error, QuireError):
        return _place_as_typed(error)
    return _refusal(error) if isinstance(error, OSError) else _wrong_usage(error)


def _place_as_typed(error: QuireError) -> str:
    from quire.cli.output import shown_path

    if error.where is not None and error.where.file is not None:
        error.where = replace(error.where, file=shown_path(error.where.file))
    return str(error)


def _refusal(error: OSError) -> str:
    """What the operating system refused, and the way out of it."""
    from quire.cli.output import shown_path

    place = f"{shown_path(_destination(Path(error.filename)))}: " if isinstance(error.filename, str | Path) else ""
    what = error.strerror or str(error) or type(error).__name__
    remedy = {
        errno.EACCES: ". Choose a place that you may write to and read from, or change its permissions.",
        errno.EPERM: ". Choose a place that you may write to and read from, or change its permissions.",
        errno.EROFS: ". Choose a place that can be written to.",
        errno.ENOSPC: ". Make room on the disk; a training that it ended continues with `quire train --resume RUN`.",
    }.get(error.errno or 0, "")
    return f"{place}{what[:1].lower()}{what[1:]}{remedy}"


def _destination(path: Path) -> Path:
    """`path`, or the folder of a file whose temporary name (of quire.storage) says nothing to a user."""
    return path.parent if path.name.startswith(".quire-") else path


def _wrong_usage(error: Any) -> str:
    """Click's message as a sentence, and where the command's options are described."""
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if error.ctx is not None else "quire"
    return f"{message[:1].lower()}{message[1:]}. `{command} --help` shows what it takes."
