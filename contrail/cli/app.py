"""The command line: its global options, its commands, and its entry point."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer
import typer.core

import contrail
from contrail.cli import environments, export, lists, new, play, runs, split, study, watch
from contrail.cli.options import key_in_place_of
from contrail.cli.output import telling_of_output
from contrail.errors import DEBUG, ContrailError
from contrail.registry.plugins import load_plugins
from contrail.runs.interrupt import Interruption, ending_at_once


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command. One that is interrupted says so, without a traceback.

        An option that is a key of a stream file is refused with the way to set it.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            raise typer.Exit(_ended_by(interruption)) from None
        except Exception as error:
            if type(error).__name__ == "NoSuchOption":  # a class of Typer's that is not public
                _add_key(error)
            raise


def _ended_by(interruption: KeyboardInterrupt) -> int:
    """Say that the process is interrupted; return its exit code."""
    print("\ninterrupted", file=sys.stderr)
    return int(getattr(interruption, "exit_code", 130))


def _add_key(error: Any) -> None:
    if hint := key_in_place_of(error.option_name, error.ctx.command, sys.argv[1:]):
        error.message = f"{error.message}. {hint}"


cli = typer.Typer(
    cls=_Commands,
    help="What does training an LLM agent on a new environment do to the others?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        print(f"contrail {contrail.__version__}")
        raise typer.Exit


def _set_debug(value: bool) -> None:
    if value:
        os.environ[DEBUG] = "1"  # worker processes inherit it


@cli.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            callback=_set_debug,
            help="Print the traceback of every exception that a plugin raises.",
        ),
    ] = False,
) -> None:
    pass


cli.command()(runs.run)
cli.command()(runs.compare)
cli.command()(runs.report)
cli.command()(watch.watch)
cli.command("eval")(runs.evaluate)
cli.command()(split.split)
cli.command()(study.study)
cli.command()(play.play)
cli.command()(environments.environments)
cli.command()(lists.strategies)
cli.command()(lists.adapters)
cli.command()(lists.models)
cli.command()(lists.objectives)
cli.command("plugins")(lists.list_plugins)
cli.command()(environments.check)
cli.command()(new.new)
cli.command()(export.export)


def main() -> None:
    """The entry point: errors for humans end with one message and exit code 2."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of the libraries; they are for developers
    if "--debug" in sys.argv[1:2]:
        _set_debug(True)  # plugins are imported before the options are read
    try:
        with ending_at_once("interrupted; nothing had begun"):
            plugins = load_plugins()
            plugins.hook.contrail_commands(cli=cli)
            command = typer.main.get_command(cli)  # it takes a moment
        with telling_of_output(), Interruption().handling():
            command(obj=plugins, prog_name="contrail")
    except KeyboardInterrupt as interruption:  # where no command has begun, or one has ended
        raise SystemExit(_ended_by(interruption)) from None
    except ContrailError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
