"""The objectives `distill` and `self`: learn from teachers at the policy's own decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import contrail
from contrail import ConfigError, ContrailError, nearest

ANY = "*"


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
        if self.sha256:
            return
        named = {ANY: self.teachers} if isinstance(self.teachers, str) else self.teachers
        if not isinstance(named, dict) or not named or set(map(type, named.values())) != {str}:
            raise ConfigError(
                "it must be a path, or a path for each environment: `{babyai: runs/babyai}`.",
                key=("teachers",),
            )
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
            self.sha256 = {name: contrail.lora_digest(path) for name, path in teachers.items()}
        except ContrailError as error:
            raise ConfigError(str(error), key=("teachers",)) from error
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
        self._loaded: dict[str, contrail.Teacher] = {}  # by directory

    def begin(self, learner: contrail.Learner, stage: contrail.Stage) -> None:
        """Load the teachers of the stage's environments."""
        for environment in stage.environments:
            name, directory = self._named(environment)
            if directory in self._loaded:
                continue
            try:
                digest = contrail.lora_digest(Path(directory))
                if digest != self.config.sha256[name]:
                    raise ContrailError(
                        f"{directory} has changed since the run began (digest {digest}, then "
                        f"{self.config.sha256[name]}). Restore it, or choose another --out."
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
            raise ConfigError(
                f"there is no teacher for the environment {environment!r}. "
                f"{nearest(environment, teachers)}",
                key=("teachers",),
            )
        return name, teachers[name]

    def teacher(self, learner: contrail.Learner, environment: str) -> contrail.Teacher:
        return self._loaded[self._named(environment)[1]]


@contrail.hookimpl
def contrail_objectives(register: Callable[[str, type[contrail.Objective]], None]) -> None:
    register("distill", Distill)
