"""What a run writes as result.json."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from contrail.intervals import Estimate
from contrail.metrics.drift import FORMULA, at_the_end, drift
from contrail.metrics.reliance import FORMULA as RELIANCE
from contrail.metrics.reliance import at_the_end as reliance_at_the_end
from contrail.metrics.reliance import reliance
from contrail.metrics.transfer import (
    METRICS,
    TaskScores,
    change,
    matrix,
    over,
    turnover_by_environment,
)
from contrail.runs import chance, provenance
from contrail.runs.no_signal import summary
from contrail.runs.run import Run


def result_of(run: Run) -> dict[str, Any]:
    """Return the content of result.json."""
    judged = {
        "environments": run.environments,
        "registered": {item.label: item.name for item in run.config.environments},
        "stages": run.stages,
        "trained": run.trained,
        "own": run.own,
        "played": run.played,
        "curves": run.curves,
        "curve_readings": run.curve_readings,
        "warmup": run.config.warmup is not None,
        "begun_from": run.begun and asdict(run.begun),
        "evaluations": [
            {name: item.summary() for name, item in row.items()} for row in run.evaluations
        ],
    }
    results = TaskScores.read(judged, first=0)
    start = min(int(run.config.warmup is not None), results.stages)
    cells, changes = matrix(results), change(results, start)
    by_chance = {
        label: random.scores
        for label, players in run.baselines.items()
        if (random := players.get("random")) is not None
    }
    gains = over(results, by_chance)
    stream = TaskScores.read(judged, first=start)
    found = {name: metric(stream) for name, metric in METRICS.items()}
    drifts = drift(judged)
    formulas = {name: metric.formula for name, metric in METRICS.items()}
    if drifts:
        found["drift"], formulas["drift"] = at_the_end(drifts), FORMULA
    originals = _originals(run)
    lost = reliance(results, originals)
    aliases = [
        item.label
        for item in run.config.environments
        if item.shift is not None and item.shift.alias is not None
    ]
    if any(label in originals for label in aliases):
        found["interface_reliance"] = reliance_at_the_end(results, originals, aliases)
        formulas["interface_reliance"] = RELIANCE
    if run.restarts:  # no agent goes from stage to stage, so there is nothing to transfer
        found = dict.fromkeys(found, Estimate(None, None))
    evaluate = run.config.evaluate
    return {
        "name": run.name,
        "title": run.config.name,
        "model": run.config.model,
        "adapter": run.config.adapter.name,
        "strategy": run.config.strategy.name,
        "seed": run.config.seed,
        **judged,
        "R": [[cell.value for cell in row] for row in cells],
        "interval": [[cell.interval for cell in row] for row in cells],
        "change": {
            "value": [[cell.value for cell in row] for row in changes],
            "interval": [[cell.interval for cell in row] for row in changes],
            "tasks": [[cell.count for cell in row] for row in changes],
        },
        "over_random": {
            "value": [[cell.value for cell in row] for row in gains],
            "interval": [[cell.interval for cell in row] for row in gains],
        },
        "no_signal": summary(run.made, run.no_signal),
        "at_chance": chance.summary(run),
        "training": run.training,
        "faults": {
            name: {**found, "episodes": found["faults"] + run.sound(name)}
            for name, found in run.faults.items()
        },
        "waits": [asdict(wait) for wait in run.waits],
        "notes": run.notes,
        "restarts": run.restarts,
        "own_loras": run.own_loras,
        "turnover": {} if run.restarts else turnover_by_environment(stream, start),
        **({"drift": drifts} if drifts else {}),
        **({"interface": lost} if lost else {}),
        "metrics": {name: item.value for name, item in found.items()},
        "metric_intervals": {name: item.interval for name, item in found.items()},
        "episode_metrics": {
            item.name: item.about()
            for item in run.plugins.episode_metrics
            if not item.optional or _given(run, item.name)
        },
        "formulas": formulas,
        "failure_modes": {rule.name: rule.description for rule in run.plugins.failure_rules},
        "evaluate": {
            "samples": evaluate.samples,
            "decoding": evaluate.decoding,
            "temperature": run.config.grpo.temperature,
        },
        "baselines": {
            label: {name: item and item.summary() for name, item in players.items()}
            for label, players in run.baselines.items()
        },
        "budget": asdict(run.budget),
        "provenance": {
            "started": run.started,
            "ended": provenance.now(),
            **run.software,
            "source_files": run.source_files,
            "hardware": provenance.hardware(run.config.device, run.dtype, run.config.threads),
        },
    }


def _given(run: Run, metric: str) -> bool:
    """Return whether an evaluation has a metric of an episode."""
    rows = run.evaluations
    return any(metric in scores.metrics for row in rows for scores in row.values())


def _originals(run: Run) -> dict[str, str]:
    """Return the original of each shifted column that is played through the same adapter."""
    config = run.config
    found = {item.label: config.original(item.label) for item in config.environments}
    return {
        label: original
        for label, original in found.items()
        if original is not None and config.adapter_of(label) == config.adapter_of(original)
    }
