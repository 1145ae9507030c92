"""ScienceWorld by AgentGym's rules: its tasks and their order, no simplifications, its rewards."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from contrail import ConfigError, Task
from contrail.envs.sciworld.environment import SciWorld, SciWorldConfig
from contrail.envs.sciworld.tasks import KINDS
from contrail.envs.shared.agentgym import number_of, numbers_in, task_id

ORDER = """
boil melt freeze change-the-state-of-matter-of use-thermometer
measure-melting-point-known-substance measure-melting-point-unknown-substance power-component
power-component-renewable-vs-nonrenewable-energy test-conductivity
test-conductivity-of-unknown-substances find-living-thing find-non-living-thing find-plant
find-animal chemistry-mix chemistry-mix-paint-secondary-color chemistry-mix-paint-tertiary-color
lifespan-longest-lived lifespan-shortest-lived lifespan-longest-lived-then-shortest-lived
identify-life-stages-1 identify-life-stages-2
""".split()  # noqa: SIM905 (a literal would take 23 lines)
"""AgentGym's tasks. It leaves out growing plants, inclined planes and genetics."""

FIRST = dict(zip(ORDER, accumulate([0, *(KINDS[name].all for name in ORDER[:-1])]), strict=True))
"""AgentGym's number of each task's first variation."""

LAST = FIRST[ORDER[-1]] + KINDS[ORDER[-1]].all - 1

MOVES = 100
"""An episode ends with more: ScienceWorld counts 11 for `wait`, 2 for `wait1`, none for looking."""

ACTIONS = """
open/close OBJ: a container or a door
activate/deactivate OBJ: a device
connect OBJ to OBJ: parts of a circuit
disconnect OBJ
use OBJ [on OBJ]: a device or a tool
look around: the room
look at OBJ: a thing closely
look in OBJ: what a container holds
examine OBJ: what is on or in a thing
read OBJ: a note or a book
move OBJ to OBJ: a thing into a container
pick up OBJ: into the inventory
put down OBJ: out of the inventory
pour OBJ into OBJ: a liquid
dunk OBJ into OBJ: a container into a liquid
mix OBJ: what a container holds, chemically
go to LOC: another place
eat OBJ: food
flush OBJ: a toilet
focus on OBJ: say which thing the task is about
wait: let 10 steps pass
wait1: let 1 step pass
task: the task again
inventory: what you have
""".strip()


class AgentGymSciWorld(SciWorld):
    """ScienceWorld with `like: agentgym`.

    A task's id is "agentgym-N": variations are numbered through, task by task. The rewards of an
    episode add up to its score, 0 to 100, or -100 after a wrong decision.
    """

    system_prompt = (
        "You are an agent in a world of science. Each turn you see what has happened and answer "
        f"with an action that helps to finish the task. The actions:\n{ACTIONS}"
    )
    max_turns = 30
    forms = ()  # another framework's interface stays as it is there
    worst = -100
    points = 1

    def __init__(self, config: SciWorldConfig | None = None) -> None:
        given = SciWorldConfig() if config is None else config
        names = ORDER if given.tasks == [*KINDS] else given.tasks
        if unknown := [name for name in names if name in KINDS and name not in ORDER]:
            raise ConfigError(
                f"sciworld: AgentGym leaves out {', '.join(unknown)}. Take them out of tasks, or "
                "leave out like."
            )
        if given.simplifications not in ([], ["easy"]):
            raise ConfigError(
                "sciworld: AgentGym plays without simplifications. Leave out simplifications, or "
                "like."
            )
        if given.test_ids and given.variations:
            raise ConfigError("sciworld: test_ids names the variations. Leave out variations.")
        super().__init__(replace(given, tasks=[*names], simplifications=[]))

    def tasks(self, split: str) -> list[Task]:
        """Return AgentGym's tasks in its order: of `test_ids`, or in ScienceWorld's own split."""
        numbers = [FIRST[task.id.partition("/")[0]] + task.seed for task in super().tasks(split)]
        if self.config.test_ids:
            tests = numbers_in(self.config.test_ids)
            numbers = [n for n in range(LAST + 1) if (n in tests) == (split == "test")]
        found = [(number, start_of(number)[0]) for number in sorted(numbers)]
        return [
            Task("sciworld", task_id(number), number, split, KINDS[name].difficulty)
            for number, name in found
            if name in self.config.tasks
        ]

    def _start_of(self, task: Task) -> tuple[str, int]:
        return start_of(number_of(task.id))

    def _ended(self) -> bool:
        return super()._ended() or int(self._world.getNumMoves()) > MOVES


def start_of(number: int) -> tuple[str, int]:
    """Return the ScienceWorld task and the variation of AgentGym's task.

    Raises:
        ValueError: AgentGym has no such task.
    """
    if not 0 <= number <= LAST:
        raise ValueError(f"AgentGym has no task {number} of sciworld; its last is {LAST}.")
    name = [name for name in ORDER if FIRST[name] <= number][-1]
    return name, number - FIRST[name]
