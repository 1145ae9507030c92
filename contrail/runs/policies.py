"""The policy of a run, or of what `contrail eval` is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig

from contrail.config import LoRASettings, RunConfig, find_model, load, lora_config
from contrail.errors import ConfigError, ContrailError
from contrail.model.policy import Policy, linear_modules, load_base, with_lora
from contrail.registry.plugins import Plugins
from contrail.runs.directory import CHECKPOINTS, STATE, RunDirectory, read_checkpoint
from contrail.training.verify import verify


@dataclass(frozen=True)
class LoRADirectory:
    """A directory as PEFT saves it: a checkpoint of a run, or any other."""

    path: Path
    config: RunConfig | None = None
    """Of the run that the checkpoint belongs to, if any."""

    @classmethod
    def find(cls, name: str, plugins: Plugins) -> LoRADirectory | None:
        """Return the LoRA that a name of a model stands for: of a run the newest checkpoint; None,
        if it is a registered name, or the directory has none.

        Raises:
            ContrailError: the run has no checkpoint, or its configuration cannot be read.
        """
        if name in plugins.models:  # and not a directory that is called so
            return None
        path = Path(name)
        if (path / "adapter_config.json").is_file():
            above = path.resolve().parent
            # `contrail export` writes a result beside it; else it may be a checkpoint of a run.
            if (path / "result.json").is_file():
                config = path / "config.yaml"
            elif above.name == CHECKPOINTS:
                config = above.parent / "config.yaml"
            else:
                return cls(path)
            return cls(path, load(config, (), plugins)[0] if config.is_file() else None)
        if (path / "config.yaml").is_file():
            newest = RunDirectory(path).last_checkpoint()
            if newest is None:
                raise ContrailError(
                    f"{path} has no checkpoint yet. The command that began the run goes on with it."
                )
            return cls(newest[0], load(path / "config.yaml", (), plugins)[0])
        return None

    def settings(self) -> LoraConfig:
        """Return the LoRA's settings, and the name of its model (`base_model_name_or_path`).

        Raises:
            ContrailError: it is no LoRA, or its adapter_config.json cannot be read.
        """
        file = self.path / "adapter_config.json"
        try:
            settings = PeftConfig.from_pretrained(str(self.path))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ContrailError(f"{file} cannot be read: {error}") from error
        if not isinstance(settings, LoraConfig):
            raise ContrailError(
                f"{file}: contrail takes LoRAs only, not {type(settings).__name__}."
            )
        if not settings.base_model_name_or_path:
            raise ContrailError(f"{file} names no model. Set base_model_name_or_path.")
        if settings.revision and not Path(settings.base_model_name_or_path).is_dir():
            raise ContrailError(
                f"{file} names the revision {settings.revision!r} of its model, and contrail loads "
                "the newest. Download that revision, and set base_model_name_or_path to its "
                "directory."
            )
        settings.inference_mode = False
        settings.lora_dropout = 0.0  # as in every policy: what is updated must be what has acted
        return settings


def make_policy(config: RunConfig, plugins: Plugins, start: Path | None = None) -> Policy:
    """Return the configured model with a fresh LoRA, or with the one that the configuration
    names.

    Args:
        config: the run's.
        plugins: the loaded ones.
        start: the run's own checkpoint before any training, if it has one. It stands for a LoRA
            that the configuration names, which may have changed since.

    Raises:
        ContrailError: the model cannot be loaded, or does not fit the configuration.
    """
    lora = LoRADirectory.find(config.model, plugins)
    if lora is not None:
        policy = _begun_policy(config, lora, plugins, start)
    elif start is not None and os.path.isabs(config.model) and not os.path.isdir(config.model):
        policy = _trained_policy(LoRADirectory(start), plugins, config, key="model")  # it is gone
    else:
        policy = _fresh_policy(config, plugins)
    _keep_or_drop_thoughts(policy, config)
    return policy


def with_dtype_of(config: RunConfig, state: Mapping[str, Any]) -> RunConfig:
    """Return a run's configuration with the dtype of its checkpoint in place of `auto`: one run
    computes in one type, also where it goes on on another machine."""
    return replace(config, dtype=state.get("dtype", "auto")) if config.dtype == "auto" else config


def _keep_or_drop_thoughts(policy: Policy, config: RunConfig) -> None:
    if config.answers.past_thoughts == "drop":
        try:
            policy.chat.drop_past_thoughts()
        except ContrailError as error:
            raise ConfigError(
                f"{error}. Remove the key, or write `keep`.", key=("answers", "past_thoughts")
            ) from error


def _begun_policy(
    config: RunConfig, lora: LoRADirectory, plugins: Plugins, start: Path | None
) -> Policy:
    """Return the policy of a configuration that names a LoRA."""
    if config.lora != LoRASettings():
        raise ConfigError(
            f"{config.model} has a LoRA, with settings of its own. Remove `lora`.", key=("lora",)
        )
    if start is not None:
        read_checkpoint(start)
    return _trained_policy(LoRADirectory(start or lora.path), plugins, config, key="model")


def find_policy(name: str, plugins: Plugins) -> tuple[str, LoRADirectory | None]:
    """Return what a command line names as a policy: a model, and the LoRA if it is one of a model.

    Args:
        name: a run, a checkpoint, a directory of PEFT's, or a model.
        plugins: the loaded ones.

    Raises:
        ContrailError: there is no such policy.
    """
    model = find_model(name, Path.cwd(), plugins.models, key=None)
    return model, LoRADirectory.find(model, plugins)


def named_policy(
    name: str, lora: LoRADirectory | None, plugins: Plugins
) -> tuple[Policy, LoRADirectory | None]:
    """Return the policy that a run, a PEFT directory or a model's name stands for, and its LoRA.

    Args:
        name: of a run, a PEFT directory or a model.
        lora: found under the name, if there is one.
        plugins: the loaded ones.

    Raises:
        ContrailError: the model cannot be loaded.
    """
    try:
        return _found_policy(name, lora, plugins), lora
    except (ContrailError, OSError) as error:
        if lora is None or (lora.path / "adapter_config.json").is_file():
            raise
        # The run has gone on, and removed the checkpoint.
        newer = LoRADirectory.find(name, plugins)
        if newer is None:
            raise ContrailError(
                f"{lora.path} has been removed since. Name the run, to take its newest checkpoint."
            ) from error
    return _found_policy(name, newer, plugins), newer


def _found_policy(name: str, lora: LoRADirectory | None, plugins: Plugins) -> Policy:
    if lora is None:
        return _bare_policy(name, plugins)
    if lora.config is None:
        return _trained_policy(lora, plugins)
    if (lora.path / STATE).is_file():
        config = with_dtype_of(lora.config, read_checkpoint(lora.path))
        policy = make_policy(config, plugins, start=lora.path)
        policy.restore(lora.path)
    else:  # `contrail export` has written it
        policy = _trained_policy(lora, plugins, lora.config)
        _keep_or_drop_thoughts(policy, lora.config)
    return policy


def _fresh_policy(config: RunConfig, plugins: Plugins) -> Policy:
    name = config.model
    if name in plugins.models:
        name = str(plugins.models[name].value())
    base, tokenizer = load_base(
        name,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    lora = lora_config(config, target_modules=None)
    if lora.target_modules == "all-linear":
        lora = lora_config(config, target_modules=sorted(linear_modules(base)))
    try:
        policy = with_lora(base, tokenizer, lora, config.seed, config.max_context, config.cache_gb)
    except (ValueError, RuntimeError, TypeError, AttributeError, KeyError) as error:
        # What only peft and this model can tell.
        modules = sorted({name.rpartition(".")[2] for name in linear_modules(base)})
        raise ConfigError(
            f"peft refuses it: {' '.join(str(error).split())} "
            f"The model's linear modules: {', '.join(modules)}.",
            key=("lora",),
            of_children=True,
        ) from error
    if lora.init_lora_weights in (False, "orthogonal") or lora.use_dora:
        policy.begin_here()  # it changes the model, if by rounding alone, before any training
    verify(policy)
    return policy


def _trained_policy(
    lora: LoRADirectory,
    plugins: Plugins,
    config: RunConfig | None = None,
    key: str | None = None,
) -> Policy:
    """Return the model that a LoRA belongs to, with it."""
    where = ""
    try:
        settings = lora.settings()
        name = str(settings.base_model_name_or_path)
        if name in plugins.models:  # as an exported run names it
            name = settings.base_model_name_or_path = str(plugins.models[name].value())
        where = f" onto its model {name!r}"
        if config is None:
            base, tokenizer = load_base(name)
            policy = with_lora(base, tokenizer, settings, seed=0)
        else:
            base, tokenizer = load_base(
                name,
                dtype=config.dtype,
                device=config.device,
                trust_remote_code=config.trust_remote_code,
            )
            policy = with_lora(
                base, tokenizer, settings, config.seed, config.max_context, config.cache_gb
            )
        policy.restore(lora.path)
    except (ContrailError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{lora.path}: its LoRA cannot be loaded{where}: {reason}",
            key=None if key is None else (key,),
        ) from error
    policy.begin_here()
    verify(policy)
    return policy


def _bare_policy(name: str, plugins: Plugins) -> Policy:
    """Return a model without a LoRA: the B matrices of a fresh one are 0, so that it changes
    nothing."""
    if name in plugins.models:
        name = str(plugins.models[name].value())
    base, tokenizer = load_base(name)
    lora = LoraConfig(r=1, task_type="CAUSAL_LM", target_modules=sorted(linear_modules(base)))
    policy = with_lora(base, tokenizer, lora, seed=0)
    verify(policy)
    return policy
