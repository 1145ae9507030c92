"""Teachers: frozen policies on the base model of another policy, each the size of a LoRA."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftConfig
from safetensors import SafetensorError

from contrail.errors import ContrailError
from contrail.files import is_path
from contrail.model.frozen_layers import FrozenLayers
from contrail.model.head import Head
from contrail.model.lora import fused, unsupported
from contrail.model.policy import LORA_NAME, Policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What is more than matrices beside the weights: a teacher would change the policy's own modules.
NOT_BESIDE = ("modules_to_save", "trainable_token_indices", "target_parameters")
UNFIT = (ValueError, RuntimeError, TypeError, AttributeError, KeyError)  # what PEFT raises
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


class Teacher:
    """A frozen policy on the base model of another one.

    Attributes:
        acting: returns a context manager, within which the base model is the teacher's.
        kept: whether the frozen layers of the policy are frozen in the teacher, too, so that their
            outputs in the rollout are also the teacher's.
    """

    def __init__(
        self, acting: Callable[[], AbstractContextManager[PreTrainedModel]], kept: bool
    ) -> None:
        self.acting = acting
        self.kept = kept

    @classmethod
    def of(cls, policy: Policy, snapshot: Mapping[str, torch.Tensor] | None = None) -> Teacher:
        """Return the policy as it was at a snapshot; without one, as it is when it teaches."""

        @contextmanager
        def acting() -> Iterator[PreTrainedModel]:
            assert snapshot is not None
            with policy.using(snapshot), policy.acting() as model:
                yield model

        return cls(policy.acting if snapshot is None else acting, kept=True)

    @classmethod
    def load(cls, policy: Policy, directory: Path) -> Teacher:
        """Return the teacher that is a LoRA of the policy's base model, of any rank and modules.

        PEFT keeps it beside the policy's own, as another adapter of the same model.

        Args:
            policy: whose base model it is.
            directory: as PEFT saves a LoRA.

        Raises:
            ContrailError: it is no such LoRA.
        """
        settings = _settings(directory, policy)
        name = f"teacher{len(policy.model.peft_config)}"
        flags = {id(item): item.requires_grad for item in policy.model.parameters()}
        with torch.random.fork_rng(devices=[]):
            try:
                policy.model.add_adapter(name, settings)
                policy.restore(directory, name)
            except (*UNFIT, OSError, SafetensorError) as error:
                _remove(policy, name)
                reason = " ".join(str(error).split())
                raise ContrailError(f"{directory} does not fit the model: {reason}") from error
            except ContrailError:
                _remove(policy, name)
                raise
        for parameter in policy.model.parameters():
            parameter.requires_grad = flags.get(id(parameter), False)
        with _active(policy, name, learn=True):
            below = FrozenLayers.of(policy.model)
            head = Head.of(policy.base)
        own = policy.frozen
        kept = own is None or (below is not None and below.count >= own.count)

        @contextmanager
        def acting() -> Iterator[PreTrainedModel]:
            fast = fused(policy.model, name) if policy.fast else nullcontext()
            with _active(policy, name), policy.plain(), fast:
                policy.head, before = head, policy.head
                try:
                    yield policy.base
                finally:
                    policy.head = before

        return cls(acting, kept)


@contextmanager
def _active(policy: Policy, name: str, learn: bool = False) -> Iterator[None]:
    """Context manager: PEFT runs the adapter of this name. `learn`: it requires gradients."""
    tuner: Any = policy.model.base_model
    flags = [(parameter, parameter.requires_grad) for parameter in policy.model.parameters()]
    try:
        tuner.set_adapter(name, inference_mode=not learn)
        yield
    finally:
        tuner.set_adapter(LORA_NAME)
        for parameter, flag in flags:
            parameter.requires_grad = flag


def _remove(policy: Policy, name: str) -> None:
    if name in policy.model.peft_config:
        policy.model.delete_adapter(name)
        policy.model.base_model.set_adapter(LORA_NAME)  # type: ignore[operator]


def _settings(directory: Path, policy: Policy) -> LoraConfig:
    """Return the settings of a LoRA that can teach the policy.

    Raises:
        ContrailError: it is of another model, or contrail cannot run it exactly.
    """
    file = directory / "adapter_config.json"
    try:
        settings = PeftConfig.from_pretrained(str(directory))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ContrailError(f"{file} cannot be read: {error}") from error
    if not isinstance(settings, LoraConfig):
        raise ContrailError(f"{file}: a teacher is a LoRA, not {type(settings).__name__}.")
    own = str(policy.model.peft_config[LORA_NAME].base_model_name_or_path)
    base = str(settings.base_model_name_or_path)
    if not same_model(base, own):
        raise ContrailError(
            f"{directory} is a LoRA of the model {base!r}, and the policy's model is {own!r}. A "
            "teacher needs the policy's base model."
        )
    refused = unsupported(settings)
    extra = next((name for name in NOT_BESIDE if getattr(settings, name, None)), None)
    if refused or extra:
        name, why = refused or (extra, "a teacher must be low-rank matrices alone.")
        raise ContrailError(f"{file}: {name}: {why}")
    settings.inference_mode = True
    settings.lora_dropout = 0.0  # it would only act in training
    return settings


def same_model(one: str, other: str) -> bool:
    """Return whether two names are of one base model.

    Directories on this machine are compared by their weights, unless they are the same one, and
    names of a hub as they are. Of a directory elsewhere only the last part is known.
    """
    if one == other:
        return True
    places = [Path(one), Path(other)]
    if all(place.is_dir() for place in places):
        return places[0].resolve() == places[1].resolve() or _weights(places[0]) == _weights(
            places[1]
        )
    if not is_path(one) and not is_path(other):
        return one.lower() == other.lower()
    return places[0].name.lower() == places[1].name.lower()


def _weights(directory: Path) -> dict[str, str]:
    """Return the checksums of a model's weights by file."""
    found = {}
    for file in sorted(item for pattern in WEIGHTS for item in directory.glob(pattern)):
        with file.open("rb") as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
