"""The repair of torchvision, in fresh processes: an import cannot be undone in this one."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Takes the place of the real torchvision; `_BROKEN` is what its import raises without a schema.
FAKE = """
import torch
try:
    torch.ops.torchvision.nms
    torch.ops.torchvision.qnms
except AttributeError:
    {otherwise}
"""


def python(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    # This environment may have been repaired for good (`make setup`): undo that in the process.
    start = f"""import sys
sys.path[:0] = {[str(path)] if path else []}
sys.meta_path[:] = [it for it in sys.meta_path if type(it).__module__ != "_torchvision_hook"]
sys.modules.pop("_torchvision_hook", None)
"""
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)], capture_output=True, text=True
    )


def fake(folder: Path, otherwise: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(FAKE.format(otherwise=otherwise))
    return folder


def test_what_needs_torchvision_can_be_imported() -> None:
    done = python("""
        from contrail.compat.torchvision import repair
        repair()
        repair()
        import torchvision
        from transformers import LlamaForCausalLM
    """)
    assert done.returncode == 0, done.stderr


def test_the_symptom_is_repaired(tmp_path: Path) -> None:
    path = fake(tmp_path, 'raise RuntimeError("operator torchvision::nms does not exist")')
    done = python("import torchvision", path)
    assert "RuntimeError: operator torchvision::nms does not exist" in done.stderr
    done = python(
        """
        from contrail.compat.torchvision import repair
        repair()
        import torch, torchvision
        torch.ops.torchvision.nms
        """,
        path,
    )
    assert done.returncode == 0, done.stderr


def test_a_torchvision_that_works_is_left_alone(tmp_path: Path) -> None:
    done = python(
        """
        from contrail.compat.torchvision import _libraries, repair
        repair()
        assert not {"torch", "torchvision"} & set(sys.modules)
        import torchvision
        assert not _libraries
        """,
        fake(tmp_path, "pass"),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", ["RuntimeError('CUDA driver')", "ImportError('libjpeg.so')"])
def test_other_errors_are_not_hidden(tmp_path: Path, error: str) -> None:
    code = "from contrail.compat.torchvision import repair; repair(); import torchvision"
    assert error.split("'")[1] in python(code, fake(tmp_path, f"raise {error}")).stderr


def test_without_torchvision_nothing_is_imported() -> None:
    done = python("""
        import importlib.util
        importlib.util.find_spec = lambda name: None
        from contrail.compat.torchvision import repair
        repair()
        assert "torch" not in sys.modules
    """)
    assert done.returncode == 0, done.stderr


def test_install_repairs_every_process_of_the_environment(tmp_path: Path) -> None:
    broken = fake(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    site = tmp_path / "site"
    site.mkdir()
    done = python(
        f"""
        import sysconfig
        sysconfig.get_path = lambda name: {str(site)!r}
        from contrail.compat.torchvision import install
        install()
        """,
        broken,
    )
    assert not done.returncode, done.stderr
    done = python(
        f"""
        import site
        site.addsitedir({str(site)!r})
        import torchvision
        assert "contrail" not in sys.modules
        """,
        broken,
    )
    assert not done.returncode, done.stderr
