"""The content of a study's JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from contrail.comparison.plan import run_directory
from contrail.runs.sources import differing
from contrail.studies.claims import Claim, claims_of
from contrail.studies.criteria import OPEN, judge, together
from contrail.studies.evidence import Evidence
from contrail.studies.plan import RUNS, WARM, StudyPlan
from contrail.studies.tables import tables_of, warm_up_table

PAPER = (
    "Does Reinforcement Fine-Tuning Improve Generalization of LLM Agents? An Empirical Study "
    "(arXiv:2603.12011; ICML 2026, PMLR 306:137948-137970)"
)
RULE = (
    "A criterion holds if its 95% interval over seeds lies within the region, does not hold if the "
    "interval lies outside, and cannot be told otherwise. A claim holds if all of its criteria do, "
    "and does not hold if one of them does not."
)


def summarise(
    name: str,
    plan: StudyPlan,
    evidence: Evidence,
    warm: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the content of the study's JSON file.

    Args:
        name: of the study.
        plan: its runs.
        evidence: their results.
        warm: the results of the warm-up, by seed.
    """
    ended = [
        f"{RUNS}/{run_directory(*run, seed)}"
        for run, of_seeds in {WARM: warm, **evidence.results}.items()
        for seed in of_seeds
    ]
    first = next(run for of_seeds in plan.runs.values() for run in of_seeds.values())
    return {
        "name": name,
        "experiment": plan.name,
        "experiments": list(plan.experiments),
        "left_out": dict(plan.left_out),
        "paper": PAPER,
        "rule": RULE,
        "model": next(iter(warm.values()))["model"] if warm else first.config.model,
        "adapter": first.config.adapter.name,
        "environments": list(evidence.subject.environments),
        "seeds": list(plan.seeds),
        "test_tasks": first.config.evaluate.tasks,
        "runs": {
            "planned": sum(map(len, plan.runs.values())),
            "ended": sum(map(len, evidence.results.values())),
            "directories": ended,
        },
        "warmup": bool(warm),
        "edited": differing(
            [
                result["provenance"].get("source_files", {})
                for of_seeds in (warm, *evidence.results.values())
                for result in of_seeds.values()
            ]
        ),
        "tables": [
            *([warm_up_table(replace(evidence, results={WARM: warm}))] if warm else []),
            *(table for name in plan.experiments for table in tables_of(name, evidence)),
        ],
        "claims": [judged(claim, evidence) for claim in claims_of(plan.experiments)],
    }


def judged(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """Return a claim with its figures and its verdict, as JSON values."""
    criteria = [judge(criterion) for criterion in claim.criteria(evidence)]
    verdict, reason = together(criteria)
    return {
        "number": claim.number,
        "experiment": claim.experiment,
        "claim": claim.text,
        "published": claim.published,
        "rule": claim.rule,
        "criteria": [asdict(item) for item in criteria],
        "verdict": verdict,
        "reason": reason if verdict == OPEN else "",
    }
