"""The objectives `distill` and `self`: learn from teachers at the policy's own decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail import ConfigError, ContrailError, nearest
from contrail.leaks import COUNTS

if TYPE_CHECKING:
    import torch

ANY = "*"
NO_GAME = ("name", "label", "max_turns", "workers", "step_timeout", "pass_rates")
"""Keys of an environment that do not say which game it is."""


@dataclass
class DistillConfig:
    """The keys of distill in stream.yaml."""

    teachers: Any = field(metadata={"path": ()})
    """The path of the teachers, or a path for each environment, where `*` stands for all others: a
    run (of the strategy `isolated` the LoRA after an environment's own stage, of any other the
    newest checkpoint), a checkpoint, or a LoRA as PEFT saves it."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Digests of the teachers; found when the stream is read. With other teachers, a run is another
    run."""

    def __post_init__(self) -> None:
        self.written: set[str] = set()  # the names that the user has written
        if (
            self.sha256
            and isinstance(self.teachers, dict)
            and self.teachers.keys() == self.sha256.keys()
            and not any(Path(path, "checkpoints").is_dir() for path in self.teachers.values())
        ):
            return  # as config.yaml has them
        named = {ANY: self.teachers} if isinstance(self.teachers, str) else self.teachers
        if (
            not isinstance(named, dict)
            or not named
            or set(map(type, named.values())) != {str}
            or "" in named.values()
        ):
            raise ConfigError(
                "it must be a path, or a path for each environment: `{babyai: runs/babyai}`.",
                key=("teachers",),
            )
        self.written = set(named)
        try:
            found = {name: contrail.lora_directories(Path(path)) for name, path in named.items()}
            teachers = dict(found.get(ANY, {}))
            for name, of in found.items():
                if name != ANY and name not in of and ANY not in of:
                    raise ContrailError(
                        f"the run {named[name]} trains on no {name!r}. {nearest(name, of)}"
                    )
                if name != ANY:
                    teachers[name] = of.get(name) or of[ANY]
            digests = {name: contrail.lora_digest(path) for name, path in teachers.items()}
        except ContrailError as error:
            raise ConfigError(str(error), key=("teachers",)) from error
        for name, digest in self.sha256.items():
            if name not in digests:
                raise ConfigError(
                    f"there is no teacher {name!r}. {nearest(name, digests)}",
                    key=("sha256", name),
                )
            if digest != digests[name]:
                raise ConfigError(
                    f"the LoRA {teachers[name]} has the digest {digests[name]}, not {digest}. "
                    "Restore it, or remove this key to take it as it is.",
                    key=("sha256", name),
                )
        self.sha256 = digests
        self.teachers = {name: str(path) for name, path in teachers.items()}


class Distill(contrail.Distillation):
    """On-policy distillation: the policy plays, and each environment's teacher corrects it.

    The loss is the reverse KL divergence to the teacher, exact over the candidates of a choice, or
    over the vocabulary for each token of free text. Rewards are not used. A stage over several
    environments, as with the strategy `mixture`, fuses their teachers into one policy, as in
    multi-teacher on-policy distillation (arXiv:2606.30406). A teacher is a LoRA on the policy's own
    base model, of any rank: it takes megabytes.
    """

    Config = DistillConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.named = self.config.written - {ANY}
        self._loaded: dict[str, contrail.Teacher] = {}  # by directory

    def begin(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        """Load the teachers of the stage's environments."""
        self._load(learner, stage)

    def replay(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        """Load theirs, too."""
        self._load(learner, stage)

    def notes(
        self, taught: Sequence[str], environments: Mapping[str, Mapping[str, Any]]
    ) -> list[str]:
        notes = []
        for label in taught:
            directory = self._named(label)[1]
            past = contrail.trained_on(Path(directory))
            if past is not None:
                notes += _of_another(label, environments[label], directory, past)
        if ANY in self.config.written and environments.keys() <= self.config.written:
            notes.append(
                f"teachers: {ANY!r} stands for no environment: each has a teacher of its own"
            )
        return notes

    def _load(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        for environment in stage.environments:
            name, directory = self._named(environment)
            if directory in self._loaded:
                continue
            try:
                digest = contrail.lora_digest(Path(directory))
                if digest != self.config.sha256[name]:
                    raise ContrailError(
                        f"{directory} has changed since the run began (digest {digest}, then "
                        f"{self.config.sha256[name]}). Restore it; or, to begin a run with what is "
                        "there now, remove `sha256` from the settings and choose another --out."
                    )
                self._loaded[directory] = contrail.Teacher.load(learner.policy, Path(directory))
            except ConfigError:
                raise
            except ContrailError as error:
                raise ConfigError(str(error), key=("teachers",)) from error

    def _named(self, environment: str) -> tuple[str, str]:
        teachers = self.config.teachers
        name = environment if environment in teachers else ANY
        if name not in teachers:
            known = ", ".join(map(repr, teachers))
            raise ConfigError(
                f"there is no teacher for the environment {environment!r}, only for {known}. Add "
                f"one, or {ANY!r} for all others.",
                key=("teachers",),
            )
        return name, teachers[name]

    def teacher(self, learner: contrail.Learner, environment: str) -> contrail.Teacher:
        return self._loaded[self._named(environment)[1]]


def _of_another(
    label: str, environment: Mapping[str, Any], directory: str, past: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return a note if a teacher has been trained on something else than what it is to teach.

    Raises:
        ConfigError: under this label, it has been trained on another environment, and never on
            this one.
    """
    name = environment["name"]
    alike = [item for item in past if item["name"] == name]
    labelled = [item for item in past if item["label"] == label]
    if labelled and not alike:
        raise ConfigError(
            f"{directory} has been trained on {labelled[0]['name']!r} under the label {label!r}, "
            f"which is {name!r} here. Choose a teacher of {name!r}.",
            key=("teachers",),
        )
    if any(_settings(item) == _settings(environment) for item in alike):
        return []
    who = f"the teacher of {label}, {directory}, "
    if not alike:
        others = ", ".join(dict.fromkeys(str(item["label"]) for item in past)) or "nothing"
        return [f"{who}has not been trained on {name!r}, but on {others}"]
    closest = next((item for item in labelled if item["name"] == name), alike[-1])
    then, now = _settings(closest), _settings(environment)
    differ = ", ".join(
        f"{key} {then.get(key)!r}, here {now.get(key)!r}"
        for key in dict.fromkeys([*now, *then])
        if now.get(key) != then.get(key)
    )
    return [f"{who}has been trained on {name!r} with other settings: {differ}"]


def _settings(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides which game an environment is, and not how many tasks it has."""
    return {
        key: value
        for key, value in environment.items()
        if key not in NO_GAME and key not in COUNTS and value is not None
    }


@dataclass
class SelfConfig:
    """The keys of self in stream.yaml."""

    ema: float | None = field(default=None, metadata={"min": 0, "max": 1})
    """The rate at which the teacher follows the policy: after a step, it is this share of the new
    policy and the rest of itself. By default the teacher is the policy of the moment; with 0 it is
    the policy at the beginning of the stage."""
    prompt: str = (
        "This is an example of how the task is solved:\n\n{demonstration}\n\n"
        "Now solve it yourself.\n\n{observation}"
    )
    """The first message to the teacher: `{demonstration}` stands for what the expert saw and
    answered, `{observation}` for the policy's first message."""

    def __post_init__(self) -> None:
        for name in ("{demonstration}", "{observation}"):
            if name not in self.prompt:
                raise ConfigError(f"it must contain {name}.", key=("prompt",))


class SelfDistill(contrail.Distillation):
    """Self-distillation from demonstrations (SDFT, arXiv:2601.19897).

    The policy plays without help; its teacher is the policy itself, which is shown a demonstration
    of the task in its first message. The loss is the reverse KL divergence to it, as of `distill`.
    Demonstrations are those of the environment's expert. A task without a successful one is left
    out, and so is an episode that is too long together with its demonstration.
    """

    Config = SelfConfig
    needs_expert = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._adapters: dict[str, contrail.Adapter] = {}
        self._demonstrations: dict[tuple[str, str], contrail.Episode] = {}
        self._average: dict[str, torch.Tensor] | None = None
        self._teacher: contrail.Teacher | None = None

    def begin(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        self._adapters |= stage.adapters

    def replay(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        self._adapters |= stage.adapters

    def start(self, learner: contrail.Learner) -> None:
        self._average = None

    def episodes(
        self, learner: contrail.Learner, tasks: Sequence[contrail.Task], play: contrail.Play
    ) -> list[list[contrail.Episode]]:
        if self._average is None and self.config.ema is not None:
            # The strategy may have changed the policy since `start`.
            self._average = learner.policy.snapshot()
        shown = play.demonstrations(tasks)
        self._demonstrations = {
            (task.environment, task.id): episode
            for task, episode in zip(tasks, shown, strict=True)
            if episode.success
        }
        kept = [task for task in tasks if (task.environment, task.id) in self._demonstrations]
        self.log("without_demonstration", 1 - len(kept) / len(tasks))
        if not kept:
            how = sorted({episode.fault or episode.ended for episode in shown})
            raise ContrailError(
                f"no demonstration of {len(shown)} tasks of "
                f"{', '.join(sorted({task.environment for task in tasks}))} succeeded: they ended "
                f"with {', '.join(how)}. The objective self needs an expert."
            )
        return play(kept, self.samples(learner))

    def weights(
        self,
        learner: contrail.Learner,
        groups: Sequence[Sequence[contrail.Episode]],
        minibatches: Sequence[Sequence[int]],
    ) -> list[torch.Tensor]:
        import torch

        most = learner.policy.max_context
        episodes = [episode for group in groups for episode in group]
        fits = torch.tensor([longest(self.shown(learner, item)) <= most for item in episodes])
        if episodes:
            self.log("too_long", 1 - float(fits.float().mean()))
        found = []
        for part in minibatches:
            kept = [place for place, index in enumerate(part) if fits[index]]
            weights = torch.zeros(len(part))
            weights[kept] = learner.environment_weights([episodes[part[place]] for place in kept])
            found.append(weights)
        return found

    def backward(self, learner: contrail.Learner, batch: contrail.Batch) -> float:
        if self.config.ema is not None:
            policy = learner.policy.snapshot()
            assert self._average is not None
            for name, value in self._average.items():
                value.lerp_(policy[name].to(value.device), self.config.ema)
        self._teacher = contrail.Teacher.of(learner.policy, self._average)
        return super().backward(learner, batch)

    def teacher(self, learner: contrail.Learner, environment: str) -> contrail.Teacher:
        assert self._teacher is not None
        return self._teacher

    def shown(self, learner: contrail.Learner, episode: contrail.Episode) -> contrail.Episode:
        """Return the episode with the demonstration in its first message."""
        demonstration = self._demonstrations[episode.environment, episode.task.id]
        text = "\n\n".join(f"{turn.observation}\n\n{turn.text}" for turn in demonstration.turns)
        adapter = self._adapters[episode.environment]
        chat = learner.policy.chat.using(adapter.tools)
        turns = list(episode.turns)
        for number, turn in enumerate(turns):
            if number and not turn.restart:
                continue
            # As `contrail.rollout.prompts` begins a context: with this turn, or all over again.
            before = [] if adapter.single_turn else turns[:number]
            first, *others = [item.observation for item in (*before, turn)]
            message = self.config.prompt.replace("{observation}", first)
            shown = [message.replace("{demonstration}", text), *others]
            written = [item.written for item in before]
            exchanges = [*zip(shown, written, strict=False)]
            prompt = chat.conversation(episode.system, exchanges, shown[-1])
            turns[number] = replace(turn, prompt=prompt)
        return replace(episode, turns=turns)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._average is None else {"average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average = state["average"]


def longest(episode: contrail.Episode) -> int:
    """Return the largest number of tokens that an episode has in the context at once."""
    turns = range(len(episode.turns))
    return max(len(episode.context(n)) + len(episode.turns[n].written) for n in turns)


@contrail.hookimpl
def contrail_objectives(register: Callable[[str, type[contrail.Objective]], None]) -> None:
    register("distill", Distill)
    register("self", SelfDistill)
