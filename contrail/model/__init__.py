"""The policy: a transformers model with LoRA, its chat format, and forwards over token trees."""

from contrail.compat.torchvision import repair

repair()  # before a module of this package imports peft or trl
