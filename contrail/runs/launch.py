"""Starts a run: reads the stream file, and looks at what is in the run directory already.

The heavy imports come after that, so that mistakes and finished runs are answered at once.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from contrail.compat.loading import load_libraries
from contrail.config import RunConfig, Source, differences, load
from contrail.errors import ConfigError, ContrailError, PluginError
from contrail.names import visible
from contrail.registry.plugins import Plugins
from contrail.runs.directory import RunDirectory, default_directory
from contrail.runs.estimate import Estimate, Known
from contrail.runs.extend import extends
from contrail.runs.interrupt import Interruption, ending_at_once
from contrail.stream.listing import listed

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run_stream(
    origin: Path | Source,
    overrides: Sequence[str] = (),
    *,
    plugins: Plugins | None = None,
    out: Path | None = None,
    quiet: bool = False,
    measured: bool = True,
) -> RunDirectory:
    """Run a stream to its end, or go on with it where it was interrupted.

    Args:
        origin: the stream file, or its content where `out` is given.
        overrides: `key=value` each.
        plugins: those loaded already; by default the installed ones.
        out: the run directory; by default one under runs/, named after the file and the overrides.
        quiet: show nothing while it works.
        measured: say at the beginning of a long run what it will cost.

    Raises:
        ContrailError: something the user can put right.
    """
    begun = (time.monotonic(), time.process_time()) if measured else None
    source = origin if isinstance(origin, Source) else Source(origin)
    with source.located():
        config, plugins = load(source, overrides, plugins)
        if out is None:
            assert source.path is not None
            out = default_directory(source.path, overrides)
        files = RunDirectory(out)
        files.check_writable()
        extended = check_same(files, config, plugins)
        if extended or not files.result.is_file():
            if not quiet:
                _say_listing(config)
            with Interruption().handling() as interruption, listed(config, plugins) as listing:
                if not quiet:
                    for label, notes in listing.notes.items():
                        for note in notes:
                            print(f"{visible(label)}: {visible(note)}", file=sys.stderr, flush=True)
                with ending_at_once("interrupted before the run began; nothing was lost"):
                    load_libraries(quiet=quiet)
                    from contrail.runs import assemble

                try:
                    assemble.run(config, plugins, files, listing, interruption, quiet, begun)
                except OSError as error:
                    if error.errno not in NO_ROOM:
                        raise
                    raise ContrailError(
                        f"{error.filename or files.path} cannot be written: {error.strerror}. Make "
                        "room, then give the same command: it goes on from the last checkpoint."
                    ) from error
        elif not quiet:
            print(
                f"{files.path} has ended and is not run again. To run what you have changed, "
                "choose another --out.",
                file=sys.stderr,
            )
    return files


def estimate_stream(
    origin: Path | Source,
    overrides: Sequence[str] = (),
    *,
    plugins: Plugins | None = None,
    quiet: bool = False,
    known: dict[str, Known] | None = None,
) -> Estimate:
    """Return what a run of a stream would cost, from a few measured steps. Nothing is written.

    Args:
        origin: the stream file, or its content.
        overrides: `key=value` each.
        plugins: those loaded already; by default the installed ones.
        quiet: show nothing while it works.
        known: what other runs have measured, which is not measured again; what this one measures
            is added.

    Raises:
        ContrailError: something the user can put right.
    """
    begun = time.monotonic(), time.process_time()
    source = origin if isinstance(origin, Source) else Source(origin)
    name = source.path.stem if source.path is not None else "stream"
    with source.located():
        config, plugins = load(source, overrides, plugins)
        if not quiet:
            _say_listing(config)
        with Interruption().handling(), listed(config, plugins) as listing:
            with ending_at_once("interrupted; nothing was written"):
                load_libraries(quiet=quiet)
                from contrail.runs import assemble
            if not quiet:
                print("measuring a few steps …", file=sys.stderr, flush=True)
            return assemble.estimate(config, plugins, listing, name, begun, known)


def _say_listing(config: RunConfig) -> None:
    labels = ", ".join(item.label for item in config.environments)
    print(f"listing the tasks of {labels} …", file=sys.stderr, flush=True)


def check_same(files: RunDirectory, config: RunConfig, plugins: Plugins) -> bool:
    """Refuse to go on with a run under another configuration, unless it extends the run's own.

    Returns:
        Whether it extends it (see `contrail.runs.extend`).

    Raises:
        ConfigError: the directory holds a run, and its configuration is another.
    """
    if not files.config.is_file():
        return False
    try:
        old, _ = load(files.config, (), plugins)
    except (ConfigError, PluginError) as error:
        raise ConfigError(
            f"{files.path} holds a run whose configuration no longer loads: {error} "
            "Choose another --out."
        ) from error
    changed = differences(old, config)
    if changed and extends(old, config, [key for key, _, _ in changed], plugins):
        return True
    if changed:
        key, before, after = changed[0]
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ConfigError(
            f"{files.path} holds a run with another configuration: {key} is {before!r} there and "
            f"{after!r} now{more}. Choose another --out, or remove it."
        )
    return False
