"""ScienceWorld's 30 tasks: how their variations are split, how long they take, which can be set."""

from __future__ import annotations

from typing import Any, NamedTuple

from contrail import ConfigError, nearest


class Kind(NamedTuple):
    """A task of ScienceWorld."""

    train: int
    """The number of training variations, the first ones."""
    dev: int
    """The end of the development variations, which follow."""
    all: int
    """The end of the test variations, which are the rest."""
    difficulty: str
    """By the longest of six gold paths: "easy" up to 30 actions, "medium" up to 60, "hard"
    above."""

    def variations(self, part: str) -> range:
        """Return the numbers of the variations of "train", "dev" or "test"."""
        ends = {"train": (0, self.train), "dev": (self.train, self.dev)}
        return range(*ends.get(part, (self.dev, self.all)))


KINDS = {
    "boil": Kind(14, 21, 30, "hard"),
    "change-the-state-of-matter-of": Kind(14, 21, 30, "hard"),
    "chemistry-mix": Kind(16, 24, 32, "medium"),
    "chemistry-mix-paint-secondary-color": Kind(18, 27, 36, "easy"),
    "chemistry-mix-paint-tertiary-color": Kind(18, 27, 36, "easy"),
    "find-animal": Kind(150, 225, 300, "easy"),
    "find-living-thing": Kind(150, 225, 300, "easy"),
    "find-non-living-thing": Kind(150, 225, 300, "easy"),
    "find-plant": Kind(150, 225, 300, "easy"),
    "freeze": Kind(14, 21, 30, "hard"),
    "grow-fruit": Kind(62, 93, 126, "hard"),
    "grow-plant": Kind(62, 93, 126, "hard"),
    "identify-life-stages-1": Kind(6, 9, 14, "medium"),
    "identify-life-stages-2": Kind(4, 6, 10, "easy"),
    "inclined-plane-determine-angle": Kind(84, 126, 168, "hard"),
    "inclined-plane-friction-named-surfaces": Kind(692, 1038, 1386, "hard"),
    "inclined-plane-friction-unnamed-surfaces": Kind(80, 120, 162, "hard"),
    "lifespan-longest-lived": Kind(62, 93, 125, "easy"),
    "lifespan-longest-lived-then-shortest-lived": Kind(62, 93, 125, "easy"),
    "lifespan-shortest-lived": Kind(62, 93, 125, "easy"),
    "measure-melting-point-known-substance": Kind(218, 327, 436, "medium"),
    "measure-melting-point-unknown-substance": Kind(150, 225, 300, "hard"),
    "melt": Kind(14, 21, 30, "hard"),
    "mendelian-genetics-known-plant": Kind(60, 90, 120, "hard"),
    "mendelian-genetics-unknown-plant": Kind(240, 360, 480, "hard"),
    "power-component": Kind(10, 15, 20, "easy"),
    "power-component-renewable-vs-nonrenewable-energy": Kind(10, 15, 20, "easy"),
    "test-conductivity": Kind(450, 675, 900, "easy"),
    "test-conductivity-of-unknown-substances": Kind(300, 450, 600, "easy"),
    "use-thermometer": Kind(270, 405, 540, "easy"),
}
"""By name, as the simulator itself splits them."""

SIMPLIFICATIONS = (
    "easy",
    "teleportAction",
    "selfWateringFlowerPots",
    "openContainers",
    "openDoors",
    "noElectricalAction",
)
ELECTRICAL = ("power-component", "conductivity")  # in the names of tasks that need electricity


def check(config: Any) -> None:
    """Refuse impossible settings of sciworld.

    Raises:
        ConfigError: names the key and its possible values.
    """
    if config.test_ids and not config.like:
        raise ConfigError("sciworld: test_ids is for like: agentgym.")
    known = {"tasks": tuple(KINDS), "simplifications": SIMPLIFICATIONS}
    for key, choices in known.items():
        for value in getattr(config, key):
            if value not in choices:
                raise ConfigError(f"sciworld: {key} holds {value!r}. {nearest(value, choices)}")
    if not config.tasks:
        raise ConfigError("sciworld: tasks is empty; leave it out for all 30.")
    if config.test_part not in ("dev", "test"):
        raise ConfigError(f"sciworld: test_part is {config.test_part!r}; it must be dev or test.")
    electrical = [task for task in config.tasks if any(word in task for word in ELECTRICAL)]
    if "noElectricalAction" in config.simplifications and electrical:
        raise ConfigError(
            f"sciworld: with noElectricalAction, {', '.join(electrical)} cannot be solved. Leave "
            "them out of tasks, or use easy, which keeps electricity where it is needed."
        )
