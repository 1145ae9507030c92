"""The claims' verdicts, on made-up results whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

from contrail.studies.claims import CLAIMS
from contrail.studies.criteria import EQUAL
from contrail.studies.design import EASY, EXPERIMENTS, HARD, MIXTURE, Key, Subject, runs_of
from contrail.studies.evidence import Evidence
from contrail.studies.summary import judged
from contrail.studies.tables import tables_of

LABELS = ("a", "b", "c")
SUBJECT = Subject(
    LABELS,
    interfaces=("alias=1", "actions=never"),
    halves={label: {EASY: [1], HARD: [2]} for label in LABELS},
)
TASKS = 400  # half of them easy
SEEDS = range(4)

World = Callable[[Key, int, str, int], float]
"""The success of a run at a row of R, on a column and a difficulty."""


def evidence(
    world: World,
    *,
    turns: Callable[[int], float] = lambda row: 10.0,
    unchecked: float = 0.0,
    scatter: float = 0.004,
    seeds: range = SEEDS,
    tasks: int = TASKS,
    sampled: bool = False,
    seed: int = 0,
) -> Evidence:
    """Make results with the success of `world`; seeds scatter by `scatter`, or tasks are played."""
    rng = numpy.random.default_rng(seed)
    columns = [
        name
        for label in LABELS
        for name in (label, *(f"{label}~{interface}" for interface in SUBJECT.interfaces))
    ]
    difficulties = {f"t{n}": 1 + (n % 2) for n in range(tasks)}
    results: dict[Key, dict[int, dict[str, object]]] = {}
    for key in dict.fromkeys(key for name in EXPERIMENTS for key in runs_of(name, SUBJECT)):
        strategy, stages = key
        rows = 2 if strategy == MIXTURE else len(stages) + 1
        for run_seed in seeds:
            evaluations = []
            for row in range(rows):
                cells = {}
                for column in columns:
                    p = [
                        numpy.clip(world(key, row, column, d) + rng.normal(0, scatter), 0, 1)
                        for d in (1, 2)
                    ]
                    scores = {
                        task: float(rng.random() < p[d - 1]) if sampled else float(p[d - 1])
                        for task, d in difficulties.items()
                    }
                    cells[column] = {
                        "scores": {f"{column[0]}/{task}": s for task, s in scores.items()},
                        "success": float(numpy.mean(list(scores.values()))),
                        "turns": turns(row) + rng.normal(0, 0.01),
                        "generated_tokens": 20 * turns(row) + rng.normal(0, 0.01),
                        "difficulties": {f"{column[0]}/{t}": d for t, d in difficulties.items()},
                        "failures": {
                            "episodes": 100,
                            "failed": 100,
                            "modes": {"unchecked": round(100 * unchecked), "loops": 20},
                        },
                    }
                evaluations.append(cells)
            trained = [[label for label in LABELS if any(s[0] == label for s in stages)]]
            results.setdefault(key, {})[run_seed] = {
                "environments": columns,
                "evaluations": evaluations,
                "trained": trained * (rows - 1),
                "own": trained * (rows - 1),
                "warmup": False,
            }
    return Evidence(SUBJECT, results, list(seeds), checking=LABELS)


def verdicts(found: Evidence) -> dict[str, str]:
    return {claim.number: judged(claim, found)["verdict"] for claim in CLAIMS}


BASE = {1: 0.4, 2: 0.2}


def all_true(key: Key, row: int, column: str, difficulty: int) -> float:
    """Every claim is true here."""
    strategy, stages = key
    label, _, interface = column.partition("~")
    base = BASE[difficulty]
    if row == 0:
        return base
    if strategy == MIXTURE:
        return 0.75
    if len(stages) == 3 and row < 3:
        return base + (0.5 if label in stages[:row] else 0.0)
    if len(stages) == 3:
        place = [*SUBJECT.orders].index(stages)
        # On average 0.75 as after the mixture, with a worse worst environment.
        return 0.75 + 0.04 * (place - 2.5) + {"a": -0.15, "b": 0.0, "c": 0.15}[label]
    within = "." in stages[0] or (len(stages) == 2 and stages[0] == stages[1])
    if within:
        first, second = (stage.partition(".")[2] for stage in stages)
        if (first, second) == (EASY, HARD):
            return 0.95
        return 0.7
    if len(stages) == 1:
        own, _, own_interface = stages[0].partition("~")
        if label == own:
            return base + (0.5 if interface == own_interface else 0.2)
        if interface.startswith("actions"):
            return base - 0.15
        return base + {("a", "b"): 0.15, ("b", "a"): -0.15}.get((own, label), 0.0)
    raise AssertionError(key)


def all_false(key: Key, row: int, column: str, difficulty: int) -> float:
    """Every claim is false here, though the model learns what it is trained on."""
    strategy, stages = key
    label, _, interface = column.partition("~")
    base = BASE[difficulty] + 0.2
    if row == 0:
        return base
    if strategy == MIXTURE:
        return {"a": 0.6, "b": 0.6, "c": 0.55}[label]
    if len(stages) == 3 and row < 3:
        gained = {1: 0.4, 2: 0.0}[row] if label == stages[0] else 0.0
        return base + gained - (0.1 if row == 2 and label == stages[1] else 0.0)
    if len(stages) == 3:
        return 0.9
    if "." in stages[0] or (len(stages) == 2 and stages[0] == stages[1]):
        if [stage.partition(".")[2] for stage in stages] == [EASY, HARD]:
            return base - 0.1
        return base - 0.05
    if len(stages) == 1:
        # What one environment teaches helps everywhere, the more the farther away it is.
        own = stages[0].partition("~")[0]
        if label == own and not interface:
            return base + 0.06
        return base + (0.12 if label == own else 0.3)
    raise AssertionError(key)


def test_where_every_claim_is_true_each_holds():
    found = verdicts(evidence(all_true, turns=lambda row: 10 if row == 0 else 4, unchecked=0.5))
    assert found == dict.fromkeys((claim.number for claim in CLAIMS), "holds")


def test_where_every_claim_is_false_none_holds():
    found = verdicts(evidence(all_false, turns=lambda row: 4 if row == 0 else 10, unchecked=0.05))
    # Chosen by the other seeds, orders that do not differ have a difference of about 0: the claim
    # that they differ is not shown, and by a rule for differences above 0 it is not refuted either.
    assert found.pop("10") == "cannot be told"
    assert set(found.values()) == {"does not hold"}


@pytest.mark.parametrize("unchecked", [0.0, 0.5])
def test_where_a_model_learns_nothing_no_claim_holds(unchecked: float):
    def nothing(key: Key, row: int, column: str, difficulty: int) -> float:
        return BASE[difficulty]

    found = verdicts(evidence(nothing, unchecked=unchecked, scatter=0))
    # That a gain of 0 is not large is true.
    assert {name for name, verdict in found.items() if verdict != "cannot be told"} <= {"4"}
    assert "holds" not in found.values()


def test_by_chance_alone_a_claim_rarely_holds():
    """Rows that differ by the dice only: a claim holds in at most about one of twenty studies."""

    def nothing(key: Key, row: int, column: str, difficulty: int) -> float:
        return BASE[difficulty]

    held = dict.fromkeys((claim.number for claim in CLAIMS), 0)
    studies = 60
    for number in range(studies):
        found = evidence(
            nothing, sampled=True, scatter=0, seeds=range(3), tasks=24, seed=number, unchecked=0.5
        )
        for name, verdict in verdicts(found).items():
            held[name] += verdict == "holds"
    # Of 60 at 2.5% (one side), 6 or more have a probability of 0.3%.
    assert max(held.values()) <= 5, held


def test_an_interval_of_a_share_is_one_of_shares():
    """Seeds that scatter widely, as where one policy has collapsed."""
    found = evidence(all_true, scatter=0.4, seeds=range(3))
    checked = 0
    for name in EXPERIMENTS:
        for table in tables_of(name, found):
            least, most = (-2, 2) if table["signed"] else (0, 1)  # or a difference of differences
            for cell in (cell for row in table["rows"] for cell in row["cells"] if cell):
                if cell["interval"] is not None:
                    assert least <= cell["interval"][0] <= cell["interval"][1] <= most
                    checked += 1
    assert checked > 100


def test_one_seed_tells_nothing():
    found = evidence(all_true, seeds=range(1), unchecked=0.5)
    assert set(verdicts(found).values()) == {"cannot be told"}


def test_a_missing_run_leaves_its_seed_out():
    found = evidence(all_true, unchecked=0.5)
    before = {claim.number: judged(claim, found) for claim in CLAIMS}
    del found.results[("sequential", ("a",))][3]
    after = {claim.number: judged(claim, found) for claim in CLAIMS}
    assert [item["seeds"] for item in before["4"]["criteria"]] == [4]
    assert [item["seeds"] for item in after["4"]["criteria"]] == [3]
    assert after["8"] == before["8"]


def test_about_equal_is_not_no_difference_found():
    """A wide interval around 0 shows no equality."""

    def noisy(key: Key, row: int, column: str, difficulty: int) -> float:
        return all_true(key, row, column, difficulty)

    found = evidence(noisy, sampled=True, tasks=24, scatter=0.2, seeds=range(2))
    claim = next(claim for claim in CLAIMS if claim.number == "9")
    made = judged(claim, found)
    ends = made["criteria"][-1]["interval"]
    assert ends[1] - ends[0] > 2 * EQUAL
    assert made["verdict"] == "cannot be told"
