"""The layers below the first trained one, whose outputs no update changes.

If the LoRA is in the upper layers only, the update need not run the lower ones again: it begins
with their outputs from the rollout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft import PeftModel


class FrozenLayers:
    """The first layers of a model, none of which is trained.

    Args:
        layers: all layers of the model.
        count: the number of frozen layers, at least one.
    """

    def __init__(self, layers: torch.nn.ModuleList, count: int) -> None:
        self.count = count
        self._below = list(layers[:count])
        self._first = layers[count]

    @classmethod
    def of(cls, model: PeftModel) -> FrozenLayers | None:
        """Those of a model; None if its first layer is trained, or something beside its layers."""
        names = [name for name, item in model.named_parameters() if item.requires_grad]
        for path, layers in model.named_modules():
            if not isinstance(layers, torch.nn.ModuleList) or not names:
                continue
            within = [
                name.removeprefix(f"{path}.") for name in names if name.startswith(f"{path}.")
            ]
            numbers = [int(name.partition(".")[0]) for name in within]
            if len(within) == len(names) and min(numbers) > 0:
                found = cls(layers, min(numbers))
                return found if found._works(model) else None
        return None

    @contextmanager
    def recorded(self) -> Iterator[list[torch.Tensor]]:
        """Within, each forward adds the first trained layer's input (n, width) to the list."""
        record: list[torch.Tensor] = []

        def keep(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            record.append((args[0] if args else kwargs["hidden_states"])[0].detach())

        hook = self._first.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            yield record
        finally:
            hook.remove()

    @contextmanager
    def replaced(self, hidden_states: torch.Tensor) -> Iterator[None]:
        """Context manager: forwards skip the frozen layers, whose outputs are `hidden_states` (n,
        width)."""

        def put(
            module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (hidden_states.unsqueeze(0), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden_states.unsqueeze(0)}

        with ExitStack() as stack:
            hook = self._first.register_forward_pre_hook(put, with_kwargs=True)
            stack.callback(hook.remove)
            for layer in self._below:
                layer.forward = _pass_on
                stack.callback(delattr, layer, "forward")
            yield

    def _works(self, model: PeftModel) -> bool:
        """Return whether skipping gives the same as computing: layers may be called in unexpected
        ways."""
        tokens = torch.tensor([[1, 2, 3]], device=model.device)
        with torch.no_grad():
            try:
                with self.recorded() as record:
                    full = model(input_ids=tokens, use_cache=False).logits
                with self.replaced(record[0]):
                    skipped = model(input_ids=tokens, use_cache=False).logits
            except (TypeError, KeyError, IndexError, AttributeError, RuntimeError):
                return False
        return torch.equal(full, skipped)


def _pass_on(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return hidden_states
