"""An environment of verifiers with several turns, scored by how often "up" was said."""

import verifiers as vf
from datasets import Dataset


class Counter(vf.MultiTurnEnv):
    async def setup_state(self, state, **_):
        state["count"] = 0
        return state

    async def env_response(self, messages, state, **_):
        state["count"] += messages[-1]["content"] == "up"
        return [{"role": "user", "content": f"It is {state['count']}."}]


async def counted(state) -> float:
    return state["count"] / 4


def load_environment(**_):
    rows = [{"question": f"Count {number}.", "answer": ""} for number in range(10)]
    return Counter(dataset=Dataset.from_list(rows), rubric=vf.Rubric(funcs=[counted]), max_turns=6)
