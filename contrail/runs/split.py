"""`contrail split`: which tasks are easy and which are hard, by a policy's own pass rate."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from contrail.compat.loading import load_libraries
from contrail.config import EnvironmentConfig, RunConfig, Source, load, plain, task_source
from contrail.environment import SPLITS, Task
from contrail.errors import ConfigError, ContrailError
from contrail.files import write_atomically
from contrail.progress.reporter import Reporter
from contrail.registry.plugins import Plugins
from contrail.runs.interrupt import Interruption, ending_at_once
from contrail.runs.sources import source_files
from contrail.stream.listing import Listing, listed
from contrail.stream.scenario import Scenario, make_scenario
from contrail.tasks.selection import test_tasks
from contrail.tasks.split import FORMAT, as_json, digest, read_content


@dataclass(frozen=True)
class SplitOptions:
    """How tasks are split."""

    samples: int = 8
    """Episodes of each task."""
    tasks: int = 128
    """The largest number of training tasks; of test tasks there are `evaluate.tasks`."""
    threshold: float = 0.5
    """A task is easy if its pass rate is at least this."""


def split_stream(
    origin: Path | Source,
    overrides: Sequence[str],
    options: SplitOptions,
    plugins: Plugins,
    *,
    out: Path,
    quiet: bool = False,
) -> dict[str, Any]:
    """Play the tasks of a stream's environments with its model, and write their pass rates.

    The same call goes on with a file that an interruption has left.

    Args:
        origin: the stream file; of its stages only the environments and adapters matter.
        overrides: `key=value` each.
        options: how tasks are split.
        plugins: the loaded ones.
        out: the file to write.
        quiet: show no progress.

    Returns:
        The content of the file.

    Raises:
        ContrailError: something the user can put right.
    """
    source = origin if isinstance(origin, Source) else Source(origin)
    with source.located():
        config, plugins = load(source, overrides, plugins)
        chosen = _environments(config)
        with _locked(out):
            content = _begin(out, config, options, plugins)
            entries = {item.label: _entry(out, content, item, config) for item in chosen}
            with Interruption().handling() as interruption, listed(config, plugins) as listing:
                with ending_at_once("interrupted; the same command goes on"):
                    load_libraries(quiet=quiet)
                    from contrail.runs.begun import begun_from  # they import torch
                    from contrail.runs.policies import make_policy

                scenario = make_scenario(config, plugins, listing)
                begun = begun_from(config, plugins, scenario)
                policy = make_policy(config, plugins)
                with Reporter(0, len(chosen) * len(SPLITS), quiet) as reporter:
                    for note in begun.notes if begun is not None else ():
                        reporter.say(note)
                    measure = _Measure(config, options, scenario, policy, plugins, reporter)
                    for environment in chosen:
                        rates = entries[environment.label]["pass_rates"]
                        for split in SPLITS:
                            if split in rates:
                                continue
                            tasks = _tasks(listing, environment.label, split, config, options)
                            rates[split] = measure(environment, split, tasks, interruption.check)
                            _write(out, content)
    return content


class _Measure:
    """Plays tasks with a policy."""

    def __init__(
        self,
        config: RunConfig,
        options: SplitOptions,
        scenario: Scenario,
        policy: Any,
        plugins: Plugins,
        reporter: Reporter,
    ) -> None:
        self._config = config
        self._samples = options.samples
        self._scenario = scenario
        self._policy = policy
        self._plugins = plugins
        self._reporter = reporter

    def __call__(
        self, environment: EnvironmentConfig, split: str, tasks: Sequence[Task], check: Any
    ) -> dict[str, float]:
        """Return the pass rate of each task, by id; a task all of whose episodes were faults has
        none."""
        from contrail.runs.evaluate import evaluate

        label, config = environment.label, self._config
        title = f"split {label}, {split} tasks"
        self._reporter.start("evaluation", title, len(tasks) * self._samples)
        scores, _ = evaluate(
            self._policy,
            self._scenario.pool,
            label,
            tasks,
            self._scenario.adapters[label],
            seed=config.seed,
            samples=self._samples,
            temperature=config.grpo.temperature,
            greedy=config.evaluate.decoding == "greedy",
            end_after_invalid=config.answers.end_after_invalid,
            progress=self._reporter.advance,
            check=check,
            # Others than those of an evaluation: a task that was lucky here is hard or easy by its
            # luck, and the same luck in the first row of R would look like forgetting later.
            dice=f"split {label}",
        )
        rates = {task: rate for task, rate in scores.scores.items() if rate is not None}
        success = scores.success
        self._reporter.done("success –" if success is None else f"success {success:.2f}")
        if len(rates) < len(tasks):
            self._reporter.say(f"{label}: {len(tasks) - len(rates)} tasks left out: faults")
        if not rates:
            raise ContrailError(f"{label!r}: every episode of the {split} tasks was a fault.")
        return rates


def counts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of easy and hard tasks: a row per environment and split."""
    return [
        {
            "environment": item["label"],
            "split": split,
            "easy": sum(rate >= content["threshold"] for rate in rates.values()),
            "hard": sum(rate < content["threshold"] for rate in rates.values()),
            "pass_rate": sum(rates.values()) / len(rates),
        }
        for item in content["environments"]
        for split, rates in item["pass_rates"].items()
    ]


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make the file's directory, and keep other processes from writing the file.

    Raises:
        ContrailError: another one is at it, or nothing can be written there.
    """
    if out.is_dir():
        raise ConfigError(
            f"--out {out}: it is a folder. Name the file to write, such as {out / 'split.json'}."
        )
    lock = FileLock(out.parent / f".{out.name}.lock")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):  # the lock would take some errors for a hold
            pass
        lock.acquire(timeout=0)
    except Timeout:
        raise ContrailError(
            f"another process is writing to {out}. Wait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}. Choose another.") from error
    try:
        yield
    finally:
        lock.release()


def _environments(config: RunConfig) -> list[EnvironmentConfig]:
    """Return the environments to split.

    Raises:
        ConfigError: one has a split already.
    """
    for item in config.environments:
        if item.pass_rates is not None:
            raise ConfigError(f"{item.label!r} has pass rates already. Remove its `pass_rates`.")
    return list(config.environments)


def _tasks(
    listing: Listing, label: str, split: str, config: RunConfig, options: SplitOptions
) -> list[Task]:
    found = listing.tasks[label][split]
    return test_tasks(found, options.tasks if split == "train" else config.evaluate.tasks)


def _begin(out: Path, config: RunConfig, options: SplitOptions, plugins: Plugins) -> dict[str, Any]:
    """Return the content to go on with: that of the file, or none yet.

    Raises:
        ConfigError: the file is something else, or of another policy, or other code.
    """
    policy = _policy(config, options, plugins)
    sources = source_files(config, plugins)
    new = {
        "format": FORMAT,
        "threshold": options.threshold,
        "policy": policy,
        "source_files": sources,
        "environments": [],
    }
    if not out.exists():
        return new
    found = read_content(out)
    before = {**_mapping(found.get("policy")), "threshold": found["threshold"]}
    now = {**policy, "threshold": options.threshold}
    other = [name for name in now if name not in before or before[name] != now[name]]
    if other:
        raise ConfigError(
            f"--out {out}: the file is the split of another policy, or with other options "
            f"({', '.join(other)}). Choose another, or remove it."
        )
    known = _mapping(found.get("source_files"))
    for name, version in sources.items():
        if known.get(name, version) != version:
            raise ConfigError(
                f"--out {out}: {name} has been edited since that split began, which would mix "
                "versions of it. Choose another, or remove it."
            )
    return {**found, "source_files": {**known, **sources}}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _policy(config: RunConfig, options: SplitOptions, plugins: Plugins) -> dict[str, Any]:
    """Return all that decides how a task is played, but for its environment and the adapter."""
    return {
        "model": config.model,
        # A run that is named as the model may get on between two calls.
        "lora": _lora(config, plugins),
        "seed": config.seed,
        "dtype": config.dtype,
        "max_context": config.max_context,
        "past_thoughts": config.answers.past_thoughts,
        "end_after_invalid": config.answers.end_after_invalid,
        "samples": options.samples,
        "train_tasks": options.tasks,
        "test_tasks": config.evaluate.tasks,
        "decoding": config.evaluate.decoding,
        "temperature": config.grpo.temperature,
    }


def _lora(config: RunConfig, plugins: Plugins) -> str | None:
    """Return a digest of the LoRA that the model is or has; None if it has none."""
    if config.model in plugins.models or not Path(config.model).is_dir():
        return None
    with ending_at_once("interrupted; the same command goes on"):
        load_libraries(quiet=True)
        from contrail.runs.policies import LoRADirectory  # it imports torch

    found = LoRADirectory.find(config.model, plugins)
    return None if found is None else digest(found.path / "adapter_model.safetensors")


def _entry(
    out: Path, content: dict[str, Any], environment: EnvironmentConfig, config: RunConfig
) -> dict[str, Any]:
    """Return the entry of an environment, which is added if there is none.

    Raises:
        ConfigError: there is one, of another adapter.
    """
    source = as_json(task_source(environment))
    adapter = as_json(plain(config.adapter_of(environment.label)))
    for item in content["environments"]:
        known: dict[str, Any] = item
        if known["environment"] != source:
            continue
        if known.get("adapter") != adapter:
            raise ConfigError(
                f"--out {out}: the file has the pass rates of {environment.label!r} through "
                "another adapter. Choose another, or remove it."
            )
        return known
    entry: dict[str, Any] = {
        "label": environment.label,
        "environment": source,
        "adapter": adapter,
        "pass_rates": {},
    }
    content["environments"].append(entry)
    return entry


def _write(out: Path, content: dict[str, Any]) -> None:
    try:
        write_atomically(out, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise ContrailError(f"{out} cannot be written: {error.strerror}.") from error
