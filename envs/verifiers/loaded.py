"""An environment of verifiers, loaded once for all the episodes that are played side by side."""

from __future__ import annotations

import importlib
import json
import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from contrail import ConfigError, ContrailError
from contrail.envs.shared.lent_random import LentRandom
from contrail.envs.shared.loop import Loop
from contrail.leaks import split_rows

_loaded: dict[str, Loaded] = {}


class Loaded:
    """The environment, its event loop, and its rows.

    Attributes:
        environment: what the package's `load_environment` returns.
        parts: the environment, and those of a group.
        limits: the largest number of turns of each, as it is without contrail's own.
        loop: where all its rollouts run.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        self.loop = Loop()
        self._users = 0
        try:
            with _guarded():
                self.environment = _load(name, arguments)
        except ContrailError:
            self.loop.close()
            raise
        self.parts = [self.environment, *getattr(self.environment, "envs", ())]
        self.limits = [int(getattr(part, "max_turns", -1) or -1) for part in self.parts]

    @classmethod
    def taken(cls, name: str, arguments: Mapping[str, Any]) -> Loaded:
        """Return the environment of this name and arguments, for one more user."""
        key = json.dumps([name, dict(arguments)], sort_keys=True, default=str)
        if key not in _loaded:
            _loaded[key] = cls(name, arguments)
            _loaded[key]._key = key
        _loaded[key]._users += 1
        return _loaded[key]

    _key = ""

    def give_back(self) -> None:
        """Take one user off; with the last, the environment ends."""
        self._users -= 1
        if self._users == 0:
            del _loaded[self._key]
            teardown = getattr(self.environment, "_teardown", None)
            if teardown is not None:
                self.loop.run(teardown())
            self.loop.close()

    def limit_turns(self, most: int) -> None:
        """Let the environment itself end, and score, a rollout after so many turns."""
        for part, limit in zip(self.parts, self.limits, strict=True):
            if hasattr(part, "max_turns"):
                part.max_turns = limit if 0 < limit <= most else most

    @cached_property
    def notes(self) -> list[str]:
        """What a user should know about the rows and the rewards."""
        _, repeats = self._divided
        notes = []
        if repeats:
            notes.append(f"{repeats} rows repeat another, and are left out.")
        if any(type(rubric).__name__ == "JudgeRubric" for rubric in _rubrics(self.environment)):
            notes.append(
                f"A model judges the answers of {self.name}: a repeated answer may get another "
                "reward."
            )
        return notes

    @property
    def rows(self) -> dict[str, dict[int, Mapping[str, Any]]]:
        """The rows of each split, by number; each row once."""
        return self._divided[0]

    @property
    def has_both(self) -> bool:
        """Whether the rows to test on are a dataset of their own."""
        built = (getattr(self.environment, name, None) for name in ("dataset", "eval_dataset"))
        return all(dataset is not None for dataset in built)

    @cached_property
    def _divided(self) -> tuple[dict[str, dict[int, Mapping[str, Any]]], int]:
        """The rows of each split by number, and how many repeat another.

        Raises:
            ConfigError: a split has none.
        """
        with _guarded():
            trained = _rows(self.environment, "dataset")
            tested = _rows(self.environment, "eval_dataset")
        # An environment to evaluate on has no other rows: a part of them is for training.
        rows, repeats = split_rows(trained, tested) if trained else split_rows(tested)
        for split, known in rows.items():
            if not known:
                raise ConfigError(
                    f"verifiers: {self.name} has no rows for the split {split!r}: its dataset has "
                    f"{len(trained) + len(tested)}, and 5 different ones are the fewest."
                )
        return rows, repeats


def _rows(environment: Any, name: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a dataset, in the form in which verifiers hands them to a rollout."""
    build = getattr(environment, f"build_{name}", None)
    dataset = build() if build is not None else getattr(environment, name)
    return [] if dataset is None else list(dataset.to_list())


def _load(name: str, arguments: Mapping[str, Any]) -> Any:
    """Return the environment.

    Raises:
        ConfigError: verifiers is of another generation, or cannot load it.
    """
    verifiers = importlib.import_module("verifiers")
    load = getattr(verifiers, "load_environment", None)
    if load is None:
        raise ConfigError(
            f"verifiers: version {getattr(verifiers, '__version__', '?')} has no load_environment. "
            "The bridge takes environments of versions 0.1 to 0.3: pip install 'verifiers<0.4'."
        )
    log = logging.getLogger("verifiers")
    log.setLevel(logging.CRITICAL)  # what is wrong here stands in the error
    try:
        return load(name, **arguments)
    except (ValueError, RuntimeError) as error:
        cause = error.__cause__ or error
        text = " ".join(str(cause).split()).rstrip(".")
        if isinstance(cause, ImportError) and cause.name == name.split("/")[-1].replace("-", "_"):
            text = f"there is no module {cause.name}. Install the environment's package"
        raise ConfigError(f"verifiers: {name} cannot be loaded: {text}.") from error
    finally:
        # What a reward function raises, verifiers counts as 0 and tells at ERROR.
        log.setLevel(logging.WARNING)


@contextmanager
def _guarded() -> Iterator[None]:
    """Context manager: while something is built, `random` is lent and datasets shows no bars; the
    handlers that verifiers installs for Ctrl-C and the like are undone.
    """
    from datasets.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with LentRandom()():
            yield
    finally:
        if shown:
            bars.enable_progress_bar()
        for number, handler in kept.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _rubrics(thing: Any) -> Iterator[Any]:
    """Yield the rubrics of an environment, also those in groups."""
    rubric = getattr(thing, "rubric", None)
    inner = [*getattr(thing, "rubrics", ()), *getattr(thing, "envs", ())]
    if rubric is not None and rubric is not thing:
        inner.append(rubric)
    for other in inner:
        yield other
        yield from _rubrics(other)
