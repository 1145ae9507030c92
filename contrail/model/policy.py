"""The policy: a causal language model with a LoRA adapter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from contrail.errors import ContrailError
from contrail.files import is_path
from contrail.model.card import write_card
from contrail.model.chat import Chat
from contrail.model.frozen_layers import FrozenLayers
from contrail.model.head import Head
from contrail.model.hidden_states import HiddenStates
from contrail.model.limits import context_limit
from contrail.model.lora import fused, unsupported

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ModelSource = Callable[[], Path]
"""Returns the directory of a transformers model, making it first where need be."""

LORA_NAME = "default"

# Linear layers of a type of model whose weights it reads without calling them, so that a LoRA would
# not act. (PEFT refuses to train `out_proj`.)
UNTRAINABLE = {
    name: {"out_proj", "dt_proj"}
    for name in ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")
}


class Policy:
    """The model that acts and learns.

    `model`: the PEFT model; only its adapter is trained. `chat`: its chat format. `max_context`:
    tokens of an episode at most. `cache_gb`: memory for the keys of episodes under way (see
    `contrail.engine.admission.cache_tokens`). `slow_because`: why contrail's own forwards are not
    right for the model, which then runs as transformers and PEFT run it ("" if they are right; see
    `contrail.training.verify`).
    `frozen`: the layers below the first trained one, if any. `head`: of the vocabulary, if it can
    be run apart. `kept`: what the frozen layers computed in rollouts, within `keeping`.
    """

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        max_context: int | None = None,
        cache_gb: float | None = None,
    ) -> None:
        self.model = model
        self.start: dict[str, torch.Tensor] | None = None
        self.chat = Chat(tokenizer)
        self.slow_because = ""
        self.frozen = FrozenLayers.of(model)
        self.head = Head.of(self.base)
        self.kept: HiddenStates | None = None
        limit = context_limit(model.config)
        self.max_context = limit if max_context is None else min(limit, max_context)
        self.cache_gb = cache_gb

    @property
    def base(self) -> PreTrainedModel:
        """The transformers model; its forward includes the adapter."""
        model: PreTrainedModel = self.model.get_base_model()  # type: ignore[assignment]
        return model

    @property
    def vocabulary(self) -> int:
        """Tokens that the model has embeddings of."""
        return embedded_tokens(self.base)

    @property
    def fast(self) -> bool:
        """Whether contrail's own forwards run the model."""
        return not self.slow_because

    @contextmanager
    def acting(self) -> Iterator[PreTrainedModel]:
        """Context manager: the model as it acts, base and adapter, for inference."""
        with self.plain(), self._fused(learn=False):
            yield self.base

    @contextmanager
    def learning(self) -> Iterator[PreTrainedModel]:
        """Context manager: the same model with gradients that flow to the LoRA.

        Modules are in evaluation mode: with dropout, the updated policy would differ from the
        acting one.
        """
        with self.plain(), self._fused(learn=True):
            yield self.base

    @contextmanager
    def plain(self) -> Iterator[PreTrainedModel]:
        """Context manager: the same model, as PEFT runs it."""
        training = self.model.training
        self.model.eval()
        try:
            yield self.base
        finally:
            self.model.train(training)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Context manager: the frozen layers' outputs in rollouts are kept, for an update."""
        self.kept = HiddenStates() if self.frozen is not None and self.fast else None
        try:
            yield
        finally:
            self.kept = None

    def _fused(self, learn: bool) -> AbstractContextManager[None]:
        return fused(self.model, LORA_NAME, learn=learn) if self.fast else nullcontext()

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by name: all that is trained."""
        named = self.model.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def snapshot(self) -> dict[str, torch.Tensor]:
        """A copy of the adapter, by the names of `parameters`."""
        return {name: item.detach().clone() for name, item in self.parameters.items()}

    def has(self, snapshot: Mapping[str, torch.Tensor]) -> bool:
        """Return whether the adapter is that of a snapshot, bit for bit."""
        return all(torch.equal(item, snapshot[name]) for name, item in self.parameters.items())

    @torch.no_grad()
    def load(self, snapshot: Mapping[str, torch.Tensor]) -> None:
        """Make the adapter that of a snapshot."""
        for name, parameter in self.parameters.items():
            parameter.copy_(snapshot[name])

    @contextmanager
    def using(self, snapshot: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """The policy with another adapter for the time being; its own is put back as it was."""
        own = [(parameter, parameter.data) for parameter in self.parameters.values()]
        try:
            for name, parameter in self.parameters.items():
                parameter.data = snapshot[name].to(parameter.device)
            yield
        finally:
            for parameter, data in own:
                parameter.data = data

    def begin_here(self) -> None:
        """Take the present LoRA for the one before any training, in place of none."""
        self.start = self.snapshot()

    @property
    def notes(self) -> list[str]:
        """Notes for the user about the model, one line each."""
        slow = f"model: {self.slow_because}; contrail uses plain forwards, which are slower"
        return [*self.chat.notes, slow] if self.slow_because else self.chat.notes

    @contextmanager
    def reference(
        self, snapshot: Mapping[str, torch.Tensor] | None = None
    ) -> Iterator[PreTrainedModel]:
        """The model with the adapter of a snapshot; without one, before any training."""
        snapshot = self.start if snapshot is None else snapshot
        if snapshot is not None:
            with self.using(snapshot), self.acting() as model:
                yield model
            return
        with self.plain() as model, self.model.disable_adapter():
            yield model

    def save(self, directory: Path) -> None:
        """Write the adapter as an ordinary PEFT directory."""
        # PEFT would make a model card out of a template, which takes longer than the weights do.
        self.model.create_or_update_model_card = _no_card  # type: ignore[method-assign]
        self.model.save_pretrained(str(directory), selected_adapters=[LORA_NAME])
        write_card(directory, self.base_name)

    @property
    def base_name(self) -> str:
        """The directory of the base model, or its hub id."""
        return str(self.model.peft_config[LORA_NAME].base_model_name_or_path)

    def restore(self, directory: Path, adapter: str = LORA_NAME) -> None:
        """Take up an adapter written by `save`, or elsewhere by PEFT.

        Args:
            directory: where it is.
            adapter: PEFT's name of the one to fill.

        Raises:
            ContrailError: the weights are not those of this adapter. PEFT would load what fits.
        """
        from peft import get_peft_model_state_dict, set_peft_model_state_dict
        from safetensors.torch import load_file

        file = directory / "adapter_model.safetensors"
        found = load_file(file)
        own = get_peft_model_state_dict(self.model, adapter_name=adapter)
        shapes = [{name: list(item.shape) for name, item in each.items()} for each in (found, own)]
        for name in sorted(found.keys() | own.keys()):
            has, needs = (each.get(name, "nothing") for each in shapes)
            if has != needs:
                raise ContrailError(
                    f"{file} does not fit adapter_config.json: {name} is {has}, not {needs}."
                )
        set_peft_model_state_dict(self.model, found, adapter_name=adapter)


def _no_card(output_dir: str) -> None:
    """Take the place of PEFT's model card."""


def load_base(
    name: str, *, dtype: str = "auto", device: str = "auto", trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model with frozen weights, and its tokenizer.

    Args:
        name: a directory, or a hub id.
        dtype: "auto" (see `fast_dtype`), "float32" or "bfloat16".
        device: "auto", "cpu" or "cuda".
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        ContrailError: it cannot be loaded.
    """
    transformers_logging.disable_progress_bar()
    if is_path(name) and not Path(name).is_dir():  # such as one that a LoRA names
        raise ContrailError(f"model: there is no directory {name}. Put the model there.")
    device, dtype = resolved(device, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            name, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
        )
    except Exception as error:  # a tokenizer's and a model's code may raise anything
        reason = " ".join(str(error).split())
        looked = "" if Path(name).is_dir() else " (No directory of that name is here.)"
        raise ContrailError(f"model: {name!r} cannot be loaded: {reason}{looked}") from error
    last = max(tokenizer.get_vocab().values())
    if last >= embedded_tokens(model):
        raise ContrailError(
            f"model: {name!r} has embeddings of {embedded_tokens(model)} tokens, and its tokenizer "
            f"has tokens up to number {last}. Use the tokenizer that the model was trained with."
        )
    model.requires_grad_(False)
    model.to(device)  # type: ignore[arg-type]
    return model, tokenizer


def embedded_tokens(model: PreTrainedModel) -> int:
    """How many tokens a model has embeddings of."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return int(model.config.get_text_config().vocab_size if weight is None else weight.shape[0])


def with_lora(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lora: LoraConfig,
    seed: int,
    max_context: int | None = None,
    cache_gb: float | None = None,
) -> Policy:
    """Return the policy made of a model and a fresh LoRA.

    Args:
        model: a model with frozen weights.
        tokenizer: the model's tokenizer.
        lora: the LoRA's settings; the target modules are named one by one (see `linear_modules`).
        seed: the seed of the LoRA's initial weights.
        max_context: the largest number of tokens of an episode; None for the model's own limit.
        cache_gb: memory for the keys of episodes under way; None for a share of the machine's.

    Raises:
        ContrailError: contrail cannot run this variant of LoRA exactly.
    """
    if refused := unsupported(lora):
        raise ContrailError(f"lora.{refused[0]}: {refused[1]}")
    # PEFT draws the adapter's weights from torch's global generator: lend it a seeded one.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Policy(get_peft_model(model, lora), tokenizer, max_context, cache_gb)


def resolved(device: str, dtype: str) -> tuple[str, str]:
    """Return the device and the precision that "auto" stands for on this machine."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return device, fast_dtype(device) if dtype == "auto" else dtype


def fast_dtype(device: str) -> str:
    """The precision in which this machine multiplies matrices fastest.

    A processor without bfloat16 instructions emulates them: measured 5 times slower than fp32.
    """
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # torch has no public name for these yet.
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


@torch.no_grad()
def _gives_features(module: torch.nn.Linear | Conv1D) -> bool:
    """Whether a layer gives a tensor; a router that derives from it gives its choice, too."""
    if type(module) in (torch.nn.Linear, Conv1D):
        return True
    return isinstance(module(module.weight.new_zeros(1, module.weight.shape[1])), torch.Tensor)


def linear_modules(model: PreTrainedModel) -> set[str]:
    """The names (last parts) of the linear layers, without the vocabulary head.

    Subclasses that return more than features, such as the routers of Llama 4, are left out.
    """
    head = model.get_output_embeddings()
    linear = {
        # "0" of a torch.nn.Sequential would be the name of the first layer, too.
        re.sub(r"^.*?((?:[^.]+\.\d+)|[^.]+)$", r"\1", name)
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not head
        and _gives_features(module)
    }
    return linear - UNTRAINABLE.get(model.config.model_type, set())
