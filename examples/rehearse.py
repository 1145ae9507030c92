"""A whole strategy: a share of every update comes from the tasks of earlier stages."""

from dataclasses import dataclass

import contrail


@dataclass
class RehearseConfig:
    fraction: float = 0.25


class Rehearse(contrail.Strategy):
    Config = RehearseConfig

    def begin(self, learner, stages):
        self.earlier = {stage: list(stages[:index]) for index, stage in enumerate(stages)}

    def draw(self, stage, update, count, rng):
        earlier = self.earlier[stage]
        old = round(self.config.fraction * count) if earlier else 0
        chosen = [earlier[i].sample(1, rng)[0] for i in rng.integers(len(earlier), size=old)]
        return [*stage.sample(count - old, rng), *chosen]


@contrail.hookimpl
def contrail_strategies(register):
    register("rehearse", Rehearse)
