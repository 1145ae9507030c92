"""Writes the package of a new plugin: `contrail new`.

The templates are the files in `templates/`, with the placeholders of `string.Template`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from contrail.errors import ConfigError, ContrailError, nearest
from contrail.registry.observers import TRACKERS
from contrail.registry.plugins import Plugins

TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("environment", "adapter", "strategy", "objective", "tracker")
FILES = {
    "pyproject.toml": "shared/pyproject.toml",
    ".gitignore": "shared/.gitignore",
    "README.md": "{kind}/README.md",
    "stream.yaml": "{kind}/stream.yaml",
    "{module}.py": "{kind}/module.py",
    "tests/test_{module}.py": "{kind}/test.py",
}
"""The files of a package, each with its template."""
NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def create(kind: str, name: str, plugins: Plugins, directory: Path | None = None) -> Path:
    """Write the package of a new plugin.

    Args:
        kind: one of KINDS.
        name: under which the plugin registers.
        plugins: the loaded ones, whose names are taken.
        directory: to write it to; by default contrail-NAME, in the working directory.

    Returns:
        The directory.

    Raises:
        ConfigError: there is no such kind, or the name is wrong or taken.
        ContrailError: the directory exists, or cannot be written. Nothing has been written.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no template of a {kind!r}. {nearest(kind, KINDS)}")
    check_name(kind, name, plugins)
    directory = (directory or Path(f"contrail-{name}")).absolute()
    if directory.exists() or directory.is_symlink():
        raise ContrailError(f"{directory} exists. Choose another --dir, or remove it.")
    values = {
        "kind": kind,
        "name": name,
        "package": f"contrail-{name}",
        "module": f"contrail_{name.replace('-', '_')}",
        "cls": "".join(part.capitalize() for part in name.split("-")),
    }
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        partial.chmod(0o755)
        for target, source in FILES.items():
            file = partial / target.format(**values)
            file.parent.mkdir(exist_ok=True)
            template = TEMPLATES / f"{source.format(**values)}.template"
            file.write_text(Template(template.read_text()).substitute(values))
        partial.rename(directory)
    except OSError as error:
        raise ContrailError(
            f"{directory} cannot be written: {error.strerror}. Choose another --dir."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return directory


def check_name(kind: str, name: str, plugins: Plugins) -> None:
    """Refuse a name that cannot be, or is, a plugin's.

    Raises:
        ConfigError: says why.
    """
    if not NAME.fullmatch(name):
        words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
        proposed = "-".join(words).lstrip("0123456789-")
        hint = f" For example {proposed!r}." if NAME.fullmatch(proposed) else ""
        raise ConfigError(
            f"{name!r} cannot be the name of a plugin: use lower-case letters and digits, with "
            f"hyphens between words, a letter first.{hint}"
        )
    taken = {name: f"a tracker that ships, {name!r}," for name in TRACKERS}
    for info in plugins.info():
        taken[info.name] = f"the plugin {info.name!r} ({info.source})"
        for registered in plugins.registered_by(info.name):
            registered_kind, _, registered_name = registered.rpartition(" ")
            if registered_kind == kind:
                taken[registered_name] = f"the {kind} {name!r} of the plugin {info.name!r}"
    if name in taken:
        raise ConfigError(
            f"{taken[name]} has the name already. Choose another, such as 'my-{name}'."
        )
