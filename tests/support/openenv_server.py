"""Small OpenEnv servers, `python openenv_server.py PORT ...`, a process for each: guess a number.

The action "die" ends the server. The seed -1 takes half a second, and -2 is over at once.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app


class Guess(Action):
    message: str


class Answer(Observation):
    prompt: str
    choices: list[str]
    numbers: tuple[int, ...] = (1, 2, 3, 4, 5)


class Guessing(Environment[Guess, Answer, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Answer:
        if seed == -1:
            time.sleep(0.5)
        self.number = random.Random(seed).randint(1, 5)
        return self.answer(f"Which number? (seed {seed})", done=seed == -2)

    def step(self, action: Guess, timeout_s: float | None = None, **more: Any) -> Answer:
        if action.message == "die":
            os._exit(1)
        right = action.message == str(self.number)
        return self.answer("Right." if right else "Wrong.", done=right, reward=float(right))

    def answer(self, prompt: str, **more: Any) -> Answer:
        return Answer(prompt=prompt, choices=list("12345"), **more)

    @property
    def state(self) -> State:
        return State()


if __name__ == "__main__":
    app = create_fastapi_app(Guessing, Guess, Answer, max_concurrent_envs=8)
    first, *others = map(int, sys.argv[1:])
    # The imports take seconds: the others are forked.
    port = next((other for other in others if os.fork() == 0), first)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
