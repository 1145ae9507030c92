"""Avalanche in parts, in fresh processes: an import cannot be undone in this one."""

import subprocess
import sys
import textwrap


def python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_only_the_parts_in_use_are_loaded() -> None:
    python("""
        import sys
        from contrail.compat.avalanche import BaseTemplate, CLExperience, EagerCLStream
        heavy = {"avalanche", "torchvision", "torchmetrics", "wandb", "matplotlib", "scipy"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """)


def test_all_of_avalanche_can_be_imported_afterwards_and_its_classes_are_the_same() -> None:
    python("""
        import contrail.compat.avalanche as parts
        import avalanche.training.templates.base
        from avalanche.benchmarks import CLExperience, DatasetExperience, OnlineCLExperience
        from avalanche.core import BasePlugin
        from avalanche.evaluation.metrics import Forgetting
        from avalanche.training import Naive
        from avalanche.training.plugins import EWCPlugin
        from avalanche.training.templates import BaseSGDTemplate, BaseTemplate
        assert CLExperience is parts.CLExperience
        assert BaseTemplate is parts.BaseTemplate is avalanche.training.templates.base.BaseTemplate
        assert avalanche.benchmarks.scenarios.EagerCLStream is parts.EagerCLStream
        assert issubclass(Naive, BaseTemplate) and issubclass(EWCPlugin, BasePlugin)
        assert avalanche.core.BasePlugin is BasePlugin
        assert avalanche.training.utils.OnlineCLExperience is OnlineCLExperience
        protocol = avalanche.training.templates.strategy_mixin_protocol
        assert protocol.DatasetExperience is DatasetExperience
    """)


def test_after_all_of_avalanche_the_parts_are_its_own() -> None:
    python("""
        from avalanche.benchmarks import CLExperience
        from avalanche.training.templates import BaseTemplate
        import contrail.compat.avalanche as parts
        assert (CLExperience, BaseTemplate) == (parts.CLExperience, parts.BaseTemplate)
    """)


def test_libraries_are_loaded_without_wandb_which_can_be_imported_afterwards() -> None:
    python("""
        import gc
        import sys
        from contrail.compat.loading import load_libraries
        load_libraries()
        assert gc.isenabled()
        from trl import GRPOTrainer
        assert not {"wandb.sdk", "torchmetrics", "matplotlib"} & set(sys.modules)
        from wandb.sdk import wandb_settings
        import wandb
        assert wandb.Settings is wandb_settings.Settings
        assert wandb.run is None and wandb.__path__
    """)
