"""The claims' verdicts, on made-up results whose truth is known."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial

import numpy
import pytest
from study_evidence import LABELS, SUBJECT, evidence

from contrail.studies.claims import CLAIMS
from contrail.studies.contrasts import extremes, spread
from contrail.studies.criteria import EQUAL
from contrail.studies.design import EASY, EXPERIMENTS, HARD, MIXTURE, Key, Subject
from contrail.studies.evidence import Evidence
from contrail.studies.summary import judged
from contrail.studies.tables import tables_of


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
    made = {claim.number: judged(claim, found) for claim in CLAIMS}
    assert {item["verdict"] for item in made.values()} == {"cannot be told"}
    assert {item["reason"] for item in made.values()} == {"one seed"}


@pytest.mark.parametrize(
    ("subject", "reasons"),
    [
        (
            dataclasses.replace(SUBJECT, environments=LABELS[:1]),
            dict.fromkeys(("9", "10", "11"), "the study has one environment"),
        ),
        (
            dataclasses.replace(SUBJECT, most_orders=1),
            {"10": "the study has one order (`orders`)"},
        ),
    ],
    ids=["one environment", "one order"],
)
def test_what_takes_several_is_not_told_of_one(subject: Subject, reasons: dict[str, str]):
    found = evidence(all_true, subject=subject)
    made = {claim.number: judged(claim, found) for claim in CLAIMS}
    for number, reason in reasons.items():
        assert made[number]["verdict"] == "cannot be told"
        assert made[number]["reason"] == reason


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


def judged_as(number: str, found: Evidence) -> dict[str, object]:
    return judged(next(claim for claim in CLAIMS if claim.number == number), found)


def columns_of(table: numpy.ndarray) -> list[Callable[[int], float]]:
    """Return functions of the seed, one for each column of (seeds, columns)."""

    def value(column: int, seed: int) -> float:
        return float(table[seed, column])

    return [partial(value, column) for column in range(table.shape[1])]


@pytest.mark.parametrize("columns", [2, 6])
@pytest.mark.parametrize("seeds", [3, 10])
def test_the_best_and_the_worst_of_equals_are_rarely_told_apart(columns: int, seeds: int):
    """Intervals allow for the choice: in one of twenty cases at most one is not around the truth.

    Student's t over values that each other seed has chosen depends on itself: of six orders without
    a difference, and ten seeds, it found one in every tenth study.
    """
    rng = numpy.random.default_rng(columns)
    cases, apart, above, below = 300, 0, 0, 0
    for _ in range(cases):
        values = columns_of(rng.normal(0, 0.1, (seeds, columns)))
        made = Evidence(SUBJECT, {}, range(seeds))
        apart += spread(made, values).interval[0] > 0
        most, least = extremes(made, values)
        above += most.interval[0] > 0
        below += least.interval[1] < 0
        assert most.interval[0] <= most.value <= most.interval[1]
        assert least.interval[0] <= least.value <= least.interval[1]
    # Of 300 at 5%, 26 or more have a probability of 0.5%; at 2.5% 17.
    assert apart <= 25
    assert max(above, below) <= 16


@pytest.mark.parametrize("far", [0.05, 0.3])
def test_the_best_and_the_worst_hold_the_truth(far: float):
    rng = numpy.random.default_rng(0)
    cases, missed, refuted = 300, 0, 0
    for _ in range(cases):
        values = columns_of(rng.normal(0, 0.1, (5, 4)) + numpy.linspace(-far, far, 4))
        made = Evidence(SUBJECT, {}, range(5))
        (low, high), (most, least) = spread(made, values).interval, extremes(made, values)
        missed += not low <= 2 * far <= high
        refuted += most.interval[1] <= 0 or least.interval[0] >= 0
        assert high > 2 * EQUAL or far < 0.1
    assert missed <= 25
    assert refuted <= 16


def test_the_best_and_the_worst_stay_within_what_can_be_true():
    values = columns_of(numpy.array([[0.0, 1.0], [1.0, 0.0]]))
    made = Evidence(SUBJECT, {}, range(2))
    most, least = extremes(made, values)
    for low, high in (most.interval, least.interval):
        assert -1 <= low < high <= 1
    assert spread(made, values).interval == [0, 1]


def test_the_worst_environment_is_not_too_low_where_environments_are_close():
    """The least of three noisy scores is below the least truth, the more so the closer they are."""

    def close(key: Key, row: int, column: str, difficulty: int) -> float:
        if row and key[0] == MIXTURE:
            return 0.6
        return {"a": 0.55, "b": 0.9, "c": 0.9}[column[0]] if row else 0.3

    found = evidence(close, sampled=True, scatter=0, tasks=24, seeds=range(60))
    for item in judged_as("11", found)["criteria"]:
        assert item["mean"] == pytest.approx(0.05, abs=0.03)
    (table,) = tables_of("mixture", found)
    worst = {row["label"]: row["cells"][-1] for row in table["rows"]}
    assert worst["mixture"]["mean"] == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize(
    ("number", "shift", "needs"),
    [("6", "actions=first", "actions: never"), ("7", "alias=1+distract=3", "alias: 1")],
)
def test_another_shift_is_not_taken_for_the_claimed_one(number: str, shift: str, needs: str):
    """A list that the first turn shows is not hidden; distractions are no other names."""
    subject = dataclasses.replace(SUBJECT, interfaces=(shift,))
    made = judged_as(number, evidence(all_true, subject=subject))
    assert made["verdict"] == "cannot be told"
    assert needs in made["reason"]


def test_what_was_not_learnt_is_not_said_to_be_kept():
    """The second environment gains; the first had gained nothing, so nothing could be forgotten."""

    def world(key: Key, row: int, column: str, difficulty: int) -> float:
        _, stages = key
        if len(stages) == 3:
            return 0.4 + (0.3 if row >= 2 and column[0] == stages[1] else 0.0)
        return 0.4

    made = judged_as("8", evidence(world))
    assert [item["verdict"] for item in made["criteria"]][1:] == ["holds", "holds"]
    assert made["verdict"] == "cannot be told"
    assert "gain of the first" in made["reason"]


def test_a_loss_by_the_interface_may_exceed_1():
    """What is gained is lost behind the other names, and more."""

    def world(key: Key, row: int, column: str, difficulty: int) -> float:
        if not row:
            return 0.0 if "~" not in column else 0.8
        return 1.0 if "~" not in column else 0.0

    found = evidence(world, scatter=0.01)
    loss = judged_as("7", found)["criteria"][1]
    assert loss["mean"] == pytest.approx(1.8, abs=0.05)
    cells = [row["cells"][1] for row in tables_of("interface", found)[1]["rows"]]
    for cell in (loss, *cells):
        assert cell["interval"][0] <= cell["mean"] <= cell["interval"][1]


def test_where_nothing_fails_there_is_no_commonest_failure():
    found = evidence(all_true, turns=lambda row: 10 if row == 0 else 4)
    for of_run in found.results.values():
        for result in of_run.values():
            for row in result["evaluations"]:
                for cell in row.values():
                    cell["failures"] = {"episodes": 100, "failed": 0, "modes": {}}
    made = judged_as("12", found)
    assert made["verdict"] == "cannot be told"
    assert made["reason"] == "no episode of a has failed after training on it"


def test_a_column_that_faults_have_taken_makes_no_number():
    """All test episodes of an environment were lost in one row of one seed."""
    found = evidence(all_true, unchecked=0.5)
    before = {claim.number: judged(claim, found) for claim in CLAIMS}
    cell = found.results["sequential", ("a",)][1]["evaluations"][-1]["b"]
    cell["scores"] = dict.fromkeys(cell["scores"], None)
    cell["success"] = None
    found = dataclasses.replace(found, _scores={})
    for claim in CLAIMS:
        made = judged(claim, found)
        json.dumps(made, allow_nan=False)
        for item in made["criteria"]:
            assert item["mean"] is None or math.isfinite(item["mean"])
    assert judged_as("8", found) == before["8"]
    for name in EXPERIMENTS:
        json.dumps(tables_of(name, found), allow_nan=False)
