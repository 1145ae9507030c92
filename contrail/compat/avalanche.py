"""The parts of Avalanche contrail builds on, imported quietly: it takes seconds, repairs no
torchvision, and warns of a missing solver that nothing here uses."""

from __future__ import annotations

import warnings

from contrail.compat.torchvision import repair

repair()

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks.scenarios.generic_scenario import CLExperience, EagerCLStream
    from avalanche.training.templates.base import BaseTemplate

__all__ = ["BaseTemplate", "CLExperience", "EagerCLStream"]
