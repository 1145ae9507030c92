"""The verdicts of several studies side by side: where they agree, and where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contrail.studies.criteria import OPEN

AGREE = "agree"
DISAGREE = "disagree"


def side_by_side(studies: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the claims that any of the studies judges, in the order of the paper's.

    Studies disagree on a claim if it holds in one and does not hold in another. Where a verdict
    cannot be told, or is missing, this cannot be told either, unless two others disagree.

    Args:
        studies: of each study, the content of its experiments' JSON files. Where several judge a
            claim, the last one counts.

    Returns:
        Of each claim its `number`, `claim` and `agreement` ("agree", "disagree" or "cannot be
        told"); and, with an item for each study, its `verdicts` and `criteria`: a text and the
        `mean` and `interval` of each study. What a study has not judged is None.
    """
    judged = [
        {claim["number"]: claim for experiment in study for claim in experiment["claims"]}
        for study in studies
    ]
    numbers = sorted({number for claims in judged for number in claims}, key=_place)
    return [_beside([claims.get(number) for claims in judged]) for number in numbers]


def _beside(claims: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    first = next(claim for claim in claims if claim is not None)
    criteria = [
        {item["text"]: item for item in (claim["criteria"] if claim is not None else ())}
        for claim in claims
    ]
    texts = dict.fromkeys(text for of_study in criteria for text in of_study)
    verdicts = [None if claim is None else str(claim["verdict"]) for claim in claims]
    return {
        "number": first["number"],
        "claim": first["claim"],
        "verdicts": verdicts,
        "agreement": _agreement(verdicts),
        "criteria": {
            text: [_estimate(of_study.get(text)) for of_study in criteria] for text in texts
        },
    }


def _agreement(verdicts: Sequence[str | None]) -> str:
    told = {verdict for verdict in verdicts if verdict not in (None, OPEN)}
    if len(told) > 1:
        return DISAGREE
    return AGREE if told and all(verdict in told for verdict in verdicts) else OPEN


def _estimate(criterion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if criterion is None or criterion["mean"] is None:
        return None
    return {"mean": criterion["mean"], "interval": criterion["interval"]}


def _place(number: str) -> tuple[int, str]:
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits), number
