"""contrail's environments and streams for other libraries.

contrail.bridges.as_gymnasium("babyai")       a gymnasium environment
contrail.bridges.as_trl("babyai")             an environment factory for TRL's GRPOTrainer
contrail.bridges.trl_rows("babyai", "train")  the rows of its dataset
contrail.bridges.as_avalanche("stream.yaml")  an Avalanche benchmark
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contrail.bridges.avalanche import as_avalanche
    from contrail.bridges.gymnasium import as_gymnasium
    from contrail.bridges.trl import as_trl, trl_rows

__all__ = ["as_avalanche", "as_gymnasium", "as_trl", "trl_rows"]


def __getattr__(name: str) -> Any:
    """Import a bridge, and with it the other library, when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'contrail.bridges' has no attribute {name!r}")
    from importlib import import_module

    home = "trl" if "trl" in name else name.removeprefix("as_")
    return getattr(import_module(f"contrail.bridges.{home}"), name)
