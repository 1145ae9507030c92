"""The keys `grpo` and `lora` of stream.yaml, and the objects of trl and peft made from them.

They are the fields of trl.GRPOConfig and peft.LoraConfig that have an effect in contrail, which
plays the episodes, computes the log-probabilities and steps the optimizer itself. To allow another
field, add it here and to docs/stream.md.

trl and peft take seconds to import, so this module imports them only to make their objects.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from contrail.errors import ConfigError

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl.trainer.grpo_config import GRPOConfig

    from contrail.config.schema import RunConfig

T = TypeVar("T")

NOT_NEGATIVE: dict[str, Any] = {"min": 0}
SHARE: dict[str, Any] = {"min": 0, "max": 1}


@dataclass(frozen=True)
class GRPOSettings:
    """The loss and the optimizer. The defaults above the first empty line are contrail's own, all
    others are TRL's."""

    num_generations: int = field(default=8, metadata={"min": 2})
    generation_batch_size: int = field(default=32, metadata={"min": 2})
    steps_per_generation: int = field(default=1, metadata={"min": 1})
    learning_rate: float = field(default=5e-4, metadata=NOT_NEGATIVE)
    lr_scheduler_type: Literal[
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "polynomial",
        "inverse_sqrt",
        "warmup_stable_decay",
    ] = "constant"

    lr_scheduler_kwargs: dict[str, Any] | None = None
    warmup_steps: float = field(default=0.0, metadata=NOT_NEGATIVE)
    optim: Literal["adamw_torch_fused", "adamw_torch", "adafactor", "adagrad", "rmsprop", "sgd"] = (
        "adamw_torch_fused"
    )
    optim_args: str | None = None
    adam_beta1: float = field(default=0.9, metadata=SHARE)
    adam_beta2: float = field(default=0.999, metadata=SHARE)
    adam_epsilon: float = field(default=1e-8, metadata=NOT_NEGATIVE)
    weight_decay: float = field(default=0.0, metadata=NOT_NEGATIVE)
    max_grad_norm: float = field(default=1.0, metadata=NOT_NEGATIVE)

    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = (
        "dapo"
    )
    temperature: float = field(default=1.0, metadata={"min": 1e-6})
    num_iterations: int = field(default=1, metadata={"min": 1})
    scale_rewards: Literal["group", "batch", "none", True, False] = "group"
    importance_sampling_level: Literal["token", "sequence"] = "token"
    epsilon: float = field(default=0.2, metadata=NOT_NEGATIVE)
    epsilon_high: float | None = field(default=None, metadata=NOT_NEGATIVE)
    delta: float | None = field(default=None, metadata=NOT_NEGATIVE)
    off_policy_mask_threshold: float | None = field(default=None, metadata=NOT_NEGATIVE)
    beta: float = field(default=0.0, metadata=NOT_NEGATIVE)
    use_bias_correction_kl: bool = True
    top_entropy_quantile: float = field(default=1.0, metadata=SHARE)
    entropy_coef: float = field(default=0.0, metadata={"min": -1e3, "max": 1e3})
    use_adaptive_entropy: bool = False
    entropy_coef_min: float = field(default=0.0, metadata={"min": -1e3, "max": 1e3})
    entropy_coef_max: float = field(default=1.0, metadata={"min": -1e3, "max": 1e3})
    entropy_coef_delta: float = field(default=0.005, metadata=NOT_NEGATIVE)
    entropy_target: float = field(default=0.2, metadata=NOT_NEGATIVE)
    sapo_temperature_neg: float = field(default=1.05, metadata={"min": 1e-6})
    sapo_temperature_pos: float = field(default=1.0, metadata={"min": 1e-6})
    vespo_k_pos: float = field(default=2.0, metadata=NOT_NEGATIVE)
    vespo_lambda_pos: float = field(default=3.0, metadata=NOT_NEGATIVE)
    vespo_k_neg: float = field(default=3.0, metadata=NOT_NEGATIVE)
    vespo_lambda_neg: float = field(default=2.0, metadata=NOT_NEGATIVE)
    # Of a mixture of experts. contrail has no such loss (see `contrail.training.trl_loss`).
    router_aux_loss_coef: float | None = field(default=None, metadata={"min": 0, "max": 0})

    def __post_init__(self) -> None:
        """Refuse an update whose episodes are not whole groups, or not equal steps."""
        for part in ("num_generations", "steps_per_generation"):
            total, divisor = self.generation_batch_size, getattr(self, part)
            if total % divisor:
                below, above = total // divisor * divisor, (total // divisor + 1) * divisor
                whole = "generation_batch_size"
                raise ConfigError(
                    f"grpo.{whole} ({total}) is not a multiple of grpo.{part} ({divisor}). "
                    f"Set {whole} to {f'{below} or {above}' if below else above}.",
                    key=(whole if whole in changed(self) else part,),
                )


@dataclass(frozen=True)
class LoRASettings:
    """The adapter. The defaults above the empty line are contrail's own, all others are PEFT's."""

    r: int = field(default=16, metadata={"min": 1})
    lora_alpha: int = field(default=32, metadata={"min": 1})
    lora_dropout: float = 0.0
    target_modules: str | list[str] | None = "all-linear"
    task_type: Literal["CAUSAL_LM"] = "CAUSAL_LM"

    exclude_modules: str | list[str] | None = None
    target_parameters: list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, int] = field(default_factory=dict)
    # The others change the base model's weights: see `contrail.model.lora.unsupported`.
    init_lora_weights: Literal[True, False, "gaussian", "orthogonal"] = True
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    bias: Literal["none"] = "none"  # trained biases stay when the adapter is disabled
    fan_in_fan_out: bool = False
    modules_to_save: list[str] | None = None
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None
    ensure_weight_tying: bool = False

    def __post_init__(self) -> None:
        if self.lora_dropout != 0:
            raise ConfigError(
                "must be 0: with dropout the model that is updated would not be the model that "
                "acted, and episodes could not share their prefixes. Remove the key.",
                key=("lora_dropout",),
            )


_BATCH = (
    "use `grpo.generation_batch_size` (episodes of an update) and `grpo.steps_per_generation` "
    "(optimizer steps into which they are split)"
)
ADVICE: dict[str, dict[str, str]] = {
    "grpo": {
        "max_steps": "use `updates` of each stage of `stream`",
        "num_train_epochs": "use `updates` of each stage of `stream`",
        "per_device_train_batch_size": _BATCH,
        "gradient_accumulation_steps": _BATCH,
        "seed": "use the top-level key `seed`",
        "*[bf]*16*": "use the top-level key `dtype`",
        "max_completion_length": "use `max_context`; an answer's length belongs to the adapter",
        "top_[pk]": "use `grpo.temperature`: contrail learns from the distribution it samples",
        "*_checkpointing*": "contrail chooses it by the device",
        "*vllm*": "contrail plays the episodes itself",
        "*eval*": "use `evaluate`",
        "*ref_model*": "the reference of `beta` is the model before any training",
        "output_dir": "use the command line's --out",
        "save_*": "contrail keeps the run directory and resumes by itself",
        "report_to": "contrail's plugins do that (contrail_update and the other hooks)",
        "log*": "contrail's plugins do that (contrail_update and the other hooks)",
    },
    "lora": {"base_model_name_or_path": "use the top-level key `model`"},
}
"""What to use instead of the fields of TRL and PEFT that users are likeliest to try."""


def refuse_with_advice(section: str, written: Iterable[object]) -> None:
    """Refuse the keys of `ADVICE`.

    Raises:
        ConfigError: one is written.
    """
    for name in map(str, written):
        for pattern, instead in ADVICE[section].items():
            if fnmatch.fnmatchcase(name, pattern):
                raise ConfigError(f"cannot be set: {instead}.", key=(section, name))


def changed(settings: Any) -> list[str]:
    """Return the fields of settings that do not have their default."""
    default = {item.name: _default(item) for item in dataclasses.fields(settings)}
    return [name for name, value in default.items() if getattr(settings, name) != value]


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def grpo_config(config: RunConfig, output_dir: Path, **fixed: Any) -> GRPOConfig:
    """Return the run's trl.GRPOConfig, without access to the network or the disk.

    Args:
        config: the run's configuration.
        output_dir: a directory for trl; contrail writes nothing there.
        fixed: further fields, set by contrail.

    Raises:
        ConfigError: trl refuses a key of `grpo`, or there is no such device.
    """
    from contrail.compat.torchvision import repair

    repair()
    import torch
    from trl.trainer.grpo_config import GRPOConfig

    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise ConfigError("torch finds no CUDA device. Use `device: auto` or cpu.", key=("device",))
    grpo = config.grpo
    values = _values(grpo)
    del values["steps_per_generation"]  # trl derives it from the two batch sizes
    updates = sum(stage.updates for stage in config.stream)
    own = {
        "output_dir": str(output_dir),
        "seed": config.seed,
        "max_steps": max(1, updates * grpo.steps_per_generation * grpo.num_iterations),
        "per_device_train_batch_size": grpo.generation_batch_size // grpo.steps_per_generation,
        "gradient_accumulation_steps": 1,
        "use_cpu": config.device == "cpu" or not cuda,
        "bf16": False,  # the model has its dtype already; there is no autocast
        "fp16": False,
        "activation_checkpointing": False,
        "use_vllm": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "trust_remote_code": config.trust_remote_code,
    }
    return _construct("grpo", GRPOConfig, grpo, values | own | fixed)


def lora_config(config: RunConfig, target_modules: Sequence[str] | None = None) -> LoraConfig:
    """Return the run's peft.LoraConfig.

    Args:
        config: the run's configuration.
        target_modules: the modules' last names (q_proj, …), where the caller knows the model.
            Without them "all-linear" stays, beside which peft ignores layers_to_transform.

    Raises:
        ConfigError: peft refuses a key of `lora`.
    """
    from contrail.compat.torchvision import repair

    repair()
    from peft import LoraConfig

    values = _values(config.lora)
    if target_modules is not None:
        values["target_modules"] = list(target_modules)
    every = values["target_modules"] == "all-linear"
    if every:
        # Given as text, peft takes it for a pattern, beside which it refuses layers_to_transform.
        values["target_modules"] = None
    lora = _construct("lora", LoraConfig, config.lora, values)
    if every:
        lora.target_modules = "all-linear"
    return lora


def _values(settings: Any) -> dict[str, Any]:
    """Return copies of all values: trl and peft modify their arguments."""
    return dataclasses.asdict(settings)


def _construct(section: str, cls: type[T], settings: Any, values: dict[str, Any]) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of fields that trl sets itself
            return cls(**values)
    except (ValueError, TypeError, ImportError) as error:
        text = " ".join(str(error).split())
        named = [name for name in changed(settings) if _mentions(text, name, values.get(name))]
        raise ConfigError(
            f"{cls.__name__} refuses it: {text}", key=(section, *named[:1]), of_children=True
        ) from error


def _mentions(text: str, name: str, value: object) -> bool:
    return name in text or (isinstance(value, str) and value in text)
