"""What a run needs, made and found to fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contrail.model.policy import Policy
from contrail.runs.begun import Begun
from contrail.runs.composition import Composition
from contrail.stage import Stage
from contrail.stream.scenario import Scenario
from contrail.training.learner import Learner


@dataclass
class Prepared:
    """What a run needs."""

    scenario: Scenario
    """The environments, their adapters and test tasks."""
    stages: Sequence[Stage]
    """The stages to train: the stream's, as the strategy has changed them."""
    policy: Policy
    learner: Learner
    strategy: Composition
    begun: Begun | None = None
    """What the policy is of, if the run begins with that of another one."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of it, a line each."""
