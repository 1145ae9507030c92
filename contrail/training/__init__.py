"""Updates of the policy from episodes."""

from contrail.compat.torchvision import repair

repair()  # before a module of this package imports peft or trl
