"""The model card of a checkpoint: README.md as the Hugging Face hub reads it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.files import is_path
from contrail.model.card import loading
from contrail.names import visible
from contrail.registry.plugins import Plugins

UNDEFINED = "\N{EN DASH}"


def license_of(model: str, base: str, plugins: Plugins) -> str | None:
    """Return the licence of a base model, if it is known without a network.

    Args:
        model: as the configuration names it.
        base: its directory, or its hub id.
        plugins: the loaded ones: the source of a registered model may have an attribute `license`.
    """
    import yaml
    from huggingface_hub import ModelCard

    if model in plugins.models:
        return getattr(plugins.models[model].value, "license", None)
    readme = Path(base) / "README.md"
    if not readme.is_file():
        return None
    try:
        found = ModelCard.load(readme).data.get("license")
    except (ValueError, OSError, yaml.YAMLError):  # it has no header that can be read
        return None
    return found if isinstance(found, str) else None


def model_card(
    result: Mapping[str, Any],
    config: str,
    base: str,
    stage: int,
    *,
    license: str | None = None,
    own_license: bool = False,
    registered: bool = False,
) -> str:
    """Return the card of the LoRA after a stage.

    Args:
        result: the content of result.json, of a run that may not have ended.
        config: the resolved configuration, as YAML.
        base: the directory or hub id of the base model, or its registered name.
        stage: after which stage.
        license: of the weights, or of the base model.
        own_license: whether it is that of the weights.
        registered: whether `base` is a registered name.
    """
    parts = [
        f"---\n{_header(result, base, stage, license)}\n---",
        f"# After {_after(result, stage)}",
        "A LoRA that contrail trained over a stream of environments, and evaluated on all of them "
        "after every stage.",
        _table(["", ""], _facts(result, base, stage, license, own_license)),
        "## Success",
        "The share of test tasks that are solved, with 95% intervals over tasks and dice. Episodes "
        f"per task: {result['evaluate']['samples']}; decoding: {result['evaluate']['decoding']}.",
        _table(["", *map(_text, result["environments"])], _rows(result, stage)),
    ]
    if result.get("own_loras"):
        own = ", ".join(map(_text, _environments(result, stage))) or "no environment"
        parts.append(
            f"The strategy evaluates each environment with a LoRA of its own, and this one is that "
            f"of {own}: the success on the others is not its."
        )
    if stage == len(result["R"]) - 1 and (metrics := _metrics(result)):
        parts += ["## Metrics", _table(["", "", "formula"], metrics)]
    parts += [
        "## Use",
        loading(base, registered),
        "## Training",
        "Save this as config.yaml; `contrail run config.yaml` makes the run again.",
        f"```yaml\n{config.strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _header(result: Mapping[str, Any], base: str, stage: int, license: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    row = zip(result["environments"], result["R"][stage], strict=True)
    own = _environments(result, stage)
    scores = [
        EvalResult(
            task_type="reinforcement-learning",
            dataset_type=name,
            dataset_name=name,
            metric_type="success",
            metric_name="success on test tasks",
            metric_value=value,
        )
        for name, value in row
        if value is not None and name in own
    ]
    hub = None if is_path(base) or Path(base).is_dir() or "/" not in base else base
    data = ModelCardData(
        library_name="peft",
        pipeline_tag="text-generation",
        base_model=hub,
        base_model_relation=None if hub is None else "adapter",
        license=license,
        tags=["contrail", "lora", "reinforcement-learning", "continual-learning"],
        model_name=f"after {' > '.join(_trained(result, stage)) or 'no training'}",
        eval_results=scores or None,
    )
    return str(data.to_yaml())


def _environments(result: Mapping[str, Any], stage: int) -> list[str]:
    """Return the environments that were evaluated with the LoRA after a stage."""
    if not result.get("own_loras") or stage <= int(result["warmup"]):  # strategies begin after it
        return list(result["environments"])
    return list(result["own"][stage - 1])


def _trained(result: Mapping[str, Any], stage: int) -> list[str]:
    """Return the stages that the LoRA after a stage has been trained in."""
    names, warmup = list(result["stages"][:stage]), int(result["warmup"])
    if stage <= warmup:
        return names
    if result.get("restarts"):
        return [*names[:warmup], names[-1]]
    if result.get("own_loras"):
        own = result["own"][:stage]
        places = range(warmup, stage)
        return [*names[:warmup], *(names[place] for place in places if own[place] == own[-1])]
    return names


def _facts(
    result: Mapping[str, Any], base: str, stage: int, license: str | None, own_license: bool
) -> list[list[str]]:
    stages = [_text(name) for name in result["stages"]]
    versions = ", ".join(
        f"{name} {version}" for name, version in result["provenance"]["versions"].items()
    )
    commit = result["provenance"]["commit"]
    if license is None:
        terms = "not stated; that of the base model applies. `contrail export --license` states one"
    else:
        terms = license if own_license else f"{license}, that of the base model"
    trained = _trained(result, stage)
    alone = ""
    if trained != list(result["stages"][:stage]):
        alone = f", and was trained in {', '.join(map(_text, trained))} alone"
    return [
        ["base model", f"`{visible(base)}`"],
        ["stream", f"{' → '.join(stages)}; this is after stage {stage}{alone}"],
        ["strategy", _text(result["strategy"])],
        ["adapter", _text(result["adapter"])],
        ["seed", str(result["seed"])],
        ["command", "`contrail run config.yaml`"],
        ["versions", versions + (f", commit {commit}" if commit else "")],
        ["licence", terms],
    ]


def _rows(result: Mapping[str, Any], stage: int) -> list[list[str]]:
    rows = []
    for number in range(stage + 1):
        stage_name = _text(result["stages"][number - 1]) if number else ""
        alone = " alone" if result.get("restarts") and number > int(result["warmup"]) else ""
        name = f"{number}. {stage_name}{alone}" if number else "before training"
        cells = zip(result["R"][number], result["interval"][number], strict=True)
        rows.append([name, *(_value(value, ends) for value, ends in cells)])
    return rows


def _metrics(result: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name.replace("_", " "),
            _value(value, result["metric_intervals"][name]),
            f"`{visible(result['formulas'][name])}`",
        ]
        for name, value in result["metrics"].items()
        if value is not None
    ]


def _after(result: Mapping[str, Any], stage: int) -> str:
    return "no training" if not stage else f"stage {stage}, {_text(result['stages'][stage - 1])}"


def _value(value: float | None, ends: Sequence[float] | None) -> str:
    if value is None:
        return UNDEFINED
    return f"{value:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _text(text: object) -> str:
    """Return a name for a table in Markdown: characters of its own have no meaning there."""
    escaped = html.escape(visible(str(text)), quote=False)
    return "".join(f"\\{letter}" if letter in "\\|[]*_`" else letter for letter in escaped)
