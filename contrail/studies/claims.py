"""The claims of the study, each with its rule.

Figures of the study are second-hand: its results are not public as files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean

from contrail.studies.contrasts import (
    average,
    criterion,
    extremes,
    gain,
    gain_term,
    held_in_terms,
    held_out_terms,
    lead_of_unchecked,
    learnt,
    minus,
    spread,
    unchecked,
)
from contrail.studies.criteria import EQUAL, LARGE, OFTEN, Criterion
from contrail.studies.design import EASY, HARD, Key, alone, mixture, shifted, twice
from contrail.studies.evidence import FIRST, LAST, Evidence


@dataclass(frozen=True)
class Claim:
    """A claim of the study.

    Attributes:
        number: in the table of claims.
        experiment: the one that it takes.
        text: the claim.
        published: the study's figures.
        rule: what is compared, in words.
        criteria: what must hold.
    """

    number: str
    experiment: str
    text: str
    published: str
    rule: str
    criteria: Callable[[Evidence], Sequence[Criterion]]


CLAIMS: list[Claim] = []


def _claim(
    number: str, experiment: str, text: str, published: str, rule: str
) -> Callable[[Callable[[Evidence], Sequence[Criterion]]], None]:
    def register(criteria: Callable[[Evidence], Sequence[Criterion]]) -> None:
        CLAIMS.append(Claim(number, experiment, text, published, rule, criteria))

    return register


NO_HALVES = "no environment has easy and hard tasks"
ONE = "the study has one environment"
ONE_ORDER = "the study has one order (`orders`)"


@_claim(
    "1",
    "within",
    "Trained on easy tasks, hard tasks rise",
    "hard tasks: WebShop 17.4 to 77.5, AlfWorld 14.5 to 49.4 (7B)",
    "success on hard tasks after two stages of easy ones, less that before; mean of environments",
)
def _easy_to_hard(evidence: Evidence) -> Sequence[Criterion]:
    terms = []
    for label in evidence.subject.split:
        run = twice(label, EASY, EASY)
        hard = (evidence.subject.halves or {})[label][HARD]
        terms.append(evidence.change((run, FIRST), (run, LAST), label, hard))
    return [criterion(evidence, "gain on hard tasks", terms, NO_HALVES)]


@_claim(
    "2",
    "within",
    "Easy, then hard beats easy alone and hard alone",
    "BabyAI +2.0 and +3.3",
    "success on all tasks after a stage of easy and one of hard tasks, less that after two stages "
    "of easy, and of hard ones; mean of environments",
)
def _curriculum(evidence: Evidence) -> Sequence[Criterion]:
    found = []
    for which in (EASY, HARD):
        terms = [
            evidence.change(
                (twice(label, which, which), LAST), (twice(label, EASY, HARD), LAST), label
            )
            for label in evidence.subject.split
        ]
        found.append(criterion(evidence, f"less {which} alone", terms, NO_HALVES))
    return found


@_claim(
    "3",
    "transfer",
    "Turns and tokens fall with training",
    "BabyAI 3B: 10.76 to 4.19 turns, 624.58 to 160.60 tokens",
    "turns and tokens of an episode on the trained environment before training, less those after "
    "it, as a share of those before; mean of environments",
)
def _shorter(evidence: Evidence) -> Sequence[Criterion]:
    def fall(metric: str, seed: int) -> float | None:
        falls: list[float] = []
        for label in evidence.subject.environments:
            rows = [evidence.played(alone(label), seed, label, row) for row in (FIRST, LAST)]
            before, after = (row.get(metric) for row in rows)
            if not before or after is None:
                return None
            falls.append((before - after) / before)
        return mean(falls)

    return [
        Criterion(
            f"fall of {name}", evidence.of_seeds(partial(fall, metric), (-math.inf, 1)), low=0
        )
        for name, metric in (("turns", "turns"), ("tokens", "generated_tokens"))
    ]


@_claim(
    "4",
    "transfer",
    "Held-in gains are large",
    "AlfWorld 13.19 to 91.81 (3B), +65.44 (7B)",
    f"gain of an environment by training on it, above {LARGE:g}; mean of environments",
)
def _held_in(evidence: Evidence) -> Sequence[Criterion]:
    return [Criterion("held-in gain", evidence.quantity(held_in_terms(evidence)), low=LARGE)]


@_claim(
    "5a",
    "transfer",
    "Mean held-out gains are small",
    "+3.32 (3B), +3.44 (7B)",
    f"gain of an environment by training on another, within {EQUAL:g} of 0; mean of all pairs; "
    "where the held-in gain is above 0",
)
def _held_out(evidence: Evidence) -> Sequence[Criterion]:
    terms = held_out_terms(evidence)
    return [
        learnt(evidence),
        criterion(evidence, "held-out gain", terms, ONE, -EQUAL, EQUAL),
    ]


@_claim(
    "5b",
    "transfer",
    "The sign of held-out gains varies",
    "after BabyAI -3.23 (7B), elsewhere above 0",
    "the gain of the pair that gains most, and of the one that loses most; the intervals allow for "
    "the choice among all pairs",
)
def _signs(evidence: Evidence) -> Sequence[Criterion]:
    gains = [partial(gain, evidence, *pair) for pair in evidence.subject.pairs]
    reason = "" if gains else ONE
    most, least = extremes(evidence, gains)
    return [
        Criterion("gain of the best pair", most, low=0, reason=reason),
        Criterion("gain of the worst pair", least, high=0, reason=reason),
    ]


@_claim(
    "6",
    "interface",
    "An environment that lists its actions hurts one that does not",
    "BabyAI to WebShop 28.59 to 10.25 (7B)",
    "gain of an environment whose list is hidden by training on another whose list is shown; mean "
    "of all pairs",
)
def _listing(evidence: Evidence) -> Sequence[Criterion]:
    hidden = [name for name in evidence.subject.interfaces if name == "actions=never"]
    terms = [
        evidence.change((alone(one), FIRST), (alone(one), LAST), shifted(other, name))
        for one, other in evidence.subject.pairs
        for name in hidden
    ]
    why = "no interface hides the list (`actions: never`)"
    return [criterion(evidence, "gain with the list hidden", terms, why, high=0, low=None)]


@_claim(
    "7",
    "interface",
    "Transfer falls with shift in interface and in semantics",
    "a correlation",
    "held-in gain, less the gain on the same environment with its actions renamed; and less the "
    "gain by training on another environment (mean of all pairs); where the held-in gain is above "
    "0",
)
def _shift(evidence: Evidence) -> Sequence[Criterion]:
    # Of a shift with other keys beside the alias, what these cost would be counted as well.
    renamed = [name for name in evidence.subject.interfaces if re.fullmatch(r"alias=\d+", name)]
    labels = evidence.subject.environments
    by_interface = [
        minus(gain_term(evidence, label, label), gain_term(evidence, label, shifted(label, name)))
        for label in labels
        for name in renamed
    ]
    by_semantics = [
        minus(gain_term(evidence, other, other), gain_term(evidence, one, other))
        for one, other in evidence.subject.pairs
    ]
    why = "no interface renames the actions, and nothing else (`alias: 1`)"
    return [
        learnt(evidence),
        criterion(evidence, "loss by interface", by_interface, why, bounds=(-2, 2)),
        criterion(evidence, "loss by semantics", by_semantics, ONE, bounds=(-2, 2)),
    ]


@_claim(
    "8",
    "sequence",
    "The second environment gains, the first is hardly forgotten",
    "WebShop, then TextCraft: TextCraft 80.88 to 82.50, WebShop 86.50 to 86.32",
    "gain of the second environment of a sequence by its stage, above 0; change of the first in "
    f"it, above -{EQUAL:g}; mean of the pairs that the orders begin with; where the gain of the "
    "first by its own stage is above 0",
)
def _pairs(evidence: Evidence) -> Sequence[Criterion]:
    before, second, first = [], [], []
    for (one, other), order in evidence.subject.beginnings.items():
        run = (evidence.subject.strategies[0], order)
        before.append(evidence.change((run, FIRST), (run, 1), one))
        second.append(evidence.change((run, 1), (run, 2), other))
        first.append(evidence.change((run, 1), (run, 2), one))
    learnt_first = criterion(evidence, "gain of the first", before, ONE)
    return [
        replace(learnt_first, needed=True),
        criterion(evidence, "gain of the second", second, ONE),
        criterion(evidence, "change of the first", first, ONE, low=-EQUAL),
    ]


@_claim(
    "9",
    "mixture",
    "All in sequence is about as good as all mixed",
    "about equal",
    f"average success after the sequence, mean of its orders, less that after the mixture, within "
    f"{EQUAL:g}; where both are above the untrained model",
)
def _sequence_or_mixture(evidence: Evidence) -> Sequence[Criterion]:
    mixed = mixture(evidence.subject)
    runs = [(evidence.subject.strategies[0], order) for order in evidence.subject.orders]
    gains = [average(evidence, (run, FIRST), (run, LAST)) for run in runs]
    mixed_gain = [average(evidence, (mixed, FIRST), (mixed, LAST))]
    differences = [average(evidence, (mixed, LAST), (run, LAST)) for run in runs]
    reason = "" if len(evidence.subject.environments) > 1 else ONE
    return [
        Criterion("gain by the sequence", evidence.quantity(gains), low=0, needed=True),
        Criterion("gain by the mixture", evidence.quantity(mixed_gain), low=0, needed=True),
        Criterion(
            "sequence less mixture", evidence.quantity(differences), -EQUAL, EQUAL, reason=reason
        ),
    ]


@_claim(
    "10",
    "sequence",
    "The order matters",
    "reports of the paper disagree",
    f"average success after the best order, less that after the worst, above {EQUAL:g}; the "
    "interval allows for the choice among all orders",
)
def _order(evidence: Evidence) -> Sequence[Criterion]:
    strategy, labels = evidence.subject.strategies[0], evidence.subject.environments

    def average_after(order: tuple[str, ...], seed: int) -> float:
        return mean([evidence.mean((strategy, order), seed, label) for label in labels])

    averages = [partial(average_after, order) for order in evidence.subject.orders]
    reason = "" if len(averages) > 1 else ONE if len(labels) == 1 else ONE_ORDER
    difference = spread(evidence, averages)
    return [Criterion("best order less worst", difference, low=EQUAL, reason=reason)]


@_claim(
    "11",
    "mixture",
    "The mixture has the best balance over environments",
    "-",
    "success on the worst environment after the mixture, less that after the sequence (mean of its "
    "orders), and after training on one environment, with its share of the updates (mean of them)",
)
def _balance(evidence: Evidence) -> Sequence[Criterion]:
    subject = evidence.subject
    others = {
        "sequence": [(subject.strategies[0], order) for order in subject.orders],
        "one environment": [alone(label) for label in subject.environments],
    }

    def worst(run: Key, seed: int) -> float:
        return evidence.worst(run, seed, subject.environments)

    def lead(runs: Sequence[Key], seed: int) -> float:
        return worst(mixture(subject), seed) - mean([worst(run, seed) for run in runs])

    return [
        Criterion(
            f"less {name}",
            evidence.of_seeds(partial(lead, runs), (-1, 1)),
            low=0,
            reason="" if len(subject.environments) > 1 else ONE,
        )
        for name, runs in others.items()
    ]


@_claim(
    "12",
    "transfer",
    "The commonest failure everywhere is confidence without verification",
    "at least 10% in every environment",
    "failed episodes after training on an environment: the share of those that say that they are "
    f"done without a check, above {OFTEN:g}, and less the share of the commonest other failure, "
    "above 0; in every environment; where the held-in gain is above 0",
)
def _unchecked(evidence: Evidence) -> Sequence[Criterion]:
    found = [learnt(evidence)]
    for label in evidence.subject.environments:
        known = label in evidence.checking
        why = "" if known else f"no action of {label} says that the agent is done, or checks"
        share = evidence.quantity([partial(unchecked, evidence, label)], (0, 1)) if known else None
        lead = lead_of_unchecked(evidence, label) if known else None
        if share is not None and not share.parts and evidence.results.get(alone(label)):
            why = f"no episode of {label} has failed after training on it"
        found += [
            Criterion(f"share in {label}", share, low=OFTEN, reason=why),
            Criterion(f"less the next in {label}", lead, low=0, reason=why),
        ]
    return found


def claims_of(experiments: Sequence[str]) -> list[Claim]:
    """Return the claims that take one of the experiments."""
    return [claim for claim in CLAIMS if claim.experiment in experiments]
