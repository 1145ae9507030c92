"""An environment package for verifiers: say a word backwards, then its length by a tool."""

from __future__ import annotations

from typing import Any

import verifiers as vf
from datasets import Dataset

WORDS = [
    a + b for a in ("star", "moon", "rain", "snow") for b in ("light", "fall", "boat", "house")
]


def backwards(completion: Any, answer: str, **_: Any) -> float:
    said = completion[-1]
    text = said["content"] if isinstance(said, dict) else said.content
    return float(text.strip() == answer)


def load_environment(seed: int = 0) -> vf.Environment:
    rows = Dataset.from_list([{"question": f"Reverse {w}.", "answer": w[::-1]} for w in WORDS * 2])
    return vf.SingleTurnEnv(dataset=rows, rubric=vf.Rubric(funcs=[backwards]))
