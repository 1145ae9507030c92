"""Results like result.json's."""

from __future__ import annotations

import numpy as np

from contrail.metrics import transfer
from contrail.plugins.metrics.episode import METRICS

NAMES = [
    "babyai",
    "textcraft",
    "webshop",
    "textworld-express-coin-collector",
    "alfworld_pick_and_place",
    "supercalifragilisticexpialidocious",
    "[bold]brackets|bars",
    "guess-number",
]


def make_result(count=2, stages=(("babyai",), ("textcraft",))):
    """A result like result.json's; with three environments or more, one cell is undefined."""
    environments, rng = NAMES[:count], np.random.default_rng(0)
    scores = [(rng.random((len(stages) + 1, 32)) < 0.5).astype(float) for _ in environments]
    if count > 2:
        scores[2][1] = np.nan
    evaluation = {
        "turns": 10.84,
        "generated_tokens": 625.2,
        "invalid_action_rate": None,
        "fault_rate": 0.0,
        "tasks": 32,
    }
    trained = [list(stage) for stage in stages]
    judged = {
        "environments": environments,
        "stages": ["+".join(stage) for stage in stages],
        "trained": trained,
        "own": trained,
        "played": [dict.fromkeys(stage, 160) for stage in stages],
        "curves": [{} for _ in stages],
        "evaluations": [
            {
                name: {
                    "success": None if np.isnan(own[i]).all() else float(own[i].mean()),
                    "reward": None if np.isnan(own[i]).all() else float(own[i].mean()),
                    "scores": {
                        f"{k:02d}": None if np.isnan(score) else float(score)
                        for k, score in enumerate(own[i])
                    },
                    **evaluation,
                }
                for name, own in zip(environments, scores, strict=True)
            }
            for i in range(len(stages) + 1)
        ],
    }
    results = transfer.TaskScores.read(judged)
    cells, changes = transfer.matrix(results), transfer.change(results)
    found = {name: metric(results) for name, metric in transfer.METRICS.items()}
    return {
        "name": "quick",
        "model": "smollm2-135m",
        "adapter": "choose",
        "strategy": "sequential",
        "seed": 3,
        **judged,
        "R": [[cell.value for cell in row] for row in cells],
        "interval": [[cell.interval for cell in row] for row in cells],
        "change": {
            "value": [[cell.value for cell in row] for row in changes],
            "interval": [[cell.interval for cell in row] for row in changes],
            "tasks": [[cell.count for cell in row] for row in changes],
        },
        "over_random": {
            "value": [[None for _ in row] for row in cells],
            "interval": [[None for _ in row] for row in cells],
        },
        "metrics": {name: item.value for name, item in found.items()},
        "metric_intervals": {name: item.interval for name, item in found.items()},
        "formulas": {name: metric.formula for name, metric in transfer.METRICS.items()},
        "episode_metrics": {m.name: m.about() for m in METRICS if not m.optional},
        "evaluate": {"samples": 1, "decoding": "sample", "temperature": 0.5},
        "budget": {
            "updates": 40,
            "episodes": 2560,
            "generated_tokens": 1234567,
            "cpu_seconds": 700.4,
            "wall_seconds": 3725.0,
        },
    }


MIXED = (("babyai",), ("textcraft",), ("babyai", "textcraft", "webshop"))
