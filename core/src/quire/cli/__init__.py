"""`quire`: the same verbs for every paper. One module per verb; none imports torch or a plugin before it is called."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from quire.errors import QuireError

VERBS = (
    "list",
    "show",
    "sample",
    "train",
    "evaluate",
    "predict",
    "runs",
    "study",
    "check",
    "doctor",
    "demo",
    "export",
    "import",
)


class _Verbs(TyperGroup):
    """The verbs, and after them the commands that installed plugins bring; a plugin loads when its command is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        from quire import registry

        own = list(super().list_commands(ctx))
        return own + [name for name in registry.names("command") if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from quire import registry

        if cmd_name not in registry.names("command"):
            return None
        return TyperCommand(
            cmd_name,
            callback=lambda: _run_plugin_command(cmd_name, ctx.args or sys.argv[sys.argv.index(cmd_name) + 1 :]),
            short_help=registry.describe(cmd_name, "command").summary,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
            add_help_option=False,
        )


def _run_plugin_command(name: str, arguments: list[str]) -> None:
    from quire import registry

    registry.get(name, "command")(args=arguments, prog_name=f"quire {name}")


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Every research paper is a plugin: train, evaluate and predict with the same verbs.",
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from quire import __version__

        typer.echo(__version__)
        raise typer.Exit


def _register() -> None:
    from quire.cli import check, demo, doctor, evaluate, export, listing, predict, runs, sample, show, study, train

    for module, name in (
        (listing, "list"),
        (show, "show"),
        (sample, "sample"),
        (train, "train"),
        (evaluate, "evaluate"),
        (predict, "predict"),
        (runs, "runs"),
        (study, "study"),
        (check, "check"),
        (doctor, "doctor"),
        (demo, "demo"),
    ):
        app.command(name)(module.command)
    app.command("export")(export.export_command)
    app.command("import")(export.import_command)


_register()


def main() -> None:
    """The console script. A user's mistake is one line and exit code 2 (1 for a training that failed)."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(args=[argument for argument in arguments if argument != "--debug"], prog_name="quire")
    except QuireError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
