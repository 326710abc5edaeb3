"""A run's folder: its files, its stored options, and which of them may change when it is continued."""

import platform
import subprocess
from argparse import Namespace
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from util.errors import UsageError, first_lines
from util.files import write_bytes

OPTIONS_FILE = "options.yaml"
LATEST, BEST = "latest.pt", "best.pt"
# Raised when a step, a draw or the meaning of an option changes, so that an older run is not continued with other mathematics.
TRAINING_VERSION = 7

PRETRAINED = Path(__file__).parents[1] / "models" / "pretrained"  # the run that comes with the project


def folder_of_run(checkpoints_dir: Path, name: str) -> Path:
    """The folder of a run; "pretrained" is the one that comes with the project, if there is no other of this name."""
    folder = checkpoints_dir / name
    return PRETRAINED if name == PRETRAINED.name and not folder.exists() else folder


def runs_in(checkpoints_dir: Path) -> list[Path]:
    """The folders of the runs in a folder, the one that was written last first."""
    folders = (file.parent for file in checkpoints_dir.glob(f"*/{OPTIONS_FILE}"))
    written = {folder: max(file.stat().st_mtime for file in folder.iterdir() if file.is_file()) for folder in folders}
    return sorted(written, key=written.__getitem__, reverse=True)


def make_folder(folder: Path, *, flag: str) -> None:
    """Make a folder, if it is not there. Raises UsageError, naming the flag that chooses it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror or error}); give another {flag}") from error


def open_run(
    folder: Path, options: dict[str, Any], *, continue_train: bool, may_change: Collection[str]
) -> dict[str, Any] | None:
    """Make the folder of a new run, and return None; or return the stored options of the run that is continued.

    Raises UsageError for a new run if there is one already; for a continued one if it is not there, is of another
    TRAINING_VERSION, or has other options, save for `may_change`.
    """
    if not (folder / OPTIONS_FILE).exists():
        if continue_train:
            raise UsageError(f"--continue_train, but there is no run in {folder} (no {OPTIONS_FILE}); check --name")
        make_folder(folder, flag="--checkpoints_dir")
        return None
    if not continue_train:
        raise UsageError(f"{folder} holds a run already; pass --continue_train to go on with it, or another --name")
    stored = load_options(folder)
    if stored.get("training_version") != TRAINING_VERSION:
        commit = stored.get("resolved", {}).get("git_commit", "unknown")
        said = f"the run in {folder} was started by another version (commit {commit}), which trains differently"
        raise UsageError(f"{said}: continue it with that, or start another --name; test.py may still translate with it")
    changed = [
        f"{key}: was {stored.get(key)!r}, now {value!r}"
        for key, value in options.items()
        if key not in may_change and stored.get(key) != value and (key in stored or value)  # what is missing was off
    ]
    if changed:
        said = f"the run in {folder} was started with other options; use the same ones, or another --name"
        raise UsageError(f"{said}: {'; '.join(changed)}")
    return stored


def save_options(folder: Path, options: dict[str, Any]) -> None:
    """Write options.yaml, with the TRAINING_VERSION."""
    text = yaml.safe_dump({"training_version": TRAINING_VERSION} | options, sort_keys=False, allow_unicode=False)
    write_bytes(folder / OPTIONS_FILE, text.encode(), sync=True)


def load_options(folder: Path) -> dict[str, Any]:
    """Read options.yaml, as plain types only. Raises UsageError where it is missing or damaged."""
    file = folder / OPTIONS_FILE
    if not file.exists():
        known = ", ".join(sorted(run.name for run in runs_in(folder.parent))) or "none"
        raise UsageError(f"there is no run in {folder}; check --name and --checkpoints_dir; runs there: {known}")
    return read_mapping(file, name=str(file))


def find_checkpoint(where: str | Path, checkpoints_dir: Path, *, flag: str) -> Path:
    """The file that --silnet or --init_from names: a .pt file, the folder of a run, or its name. Raises UsageError."""
    path = Path(where) if Path(where).exists() else folder_of_run(checkpoints_dir, str(where))
    if not path.exists():
        raise UsageError(f"{flag} {where} is neither a file nor a run's folder or name (in {checkpoints_dir})")
    return checkpoint_file(path, "best") if path.is_dir() else path


def checkpoint_file(folder: Path, epoch: str) -> Path:
    """best.pt, latest.pt (also for "best" of a run without validation) or epoch_N.pt. Raises UsageError if it is missing."""
    if epoch == "best" and not (folder / BEST).exists():
        epoch = "latest"
    path = folder / {"best": BEST, "latest": LATEST}.get(epoch, f"epoch_{epoch}.pt")
    if not path.exists():
        there = ", ".join(sorted(each.name for each in folder.glob("*.pt"))) or "none"
        raise UsageError(f"--epoch {epoch}: {folder} holds no {path.name}; checkpoints there: {there}")
    return path


def read_mapping(file: Path, *, name: str) -> dict[Any, Any]:
    """Read a YAML file that holds a mapping, as plain types only. name: of the file in the UsageError."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{name} cannot be read ({first_lines(error)})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{name} holds no options; write one on a line, as in lr: 0.0002")
    return content


def plain_options(opt: Namespace) -> dict[str, Any]:
    """A command's options as options.yaml keeps them: paths as text."""
    plain = {flag: str(value) if isinstance(value, Path) else value for flag, value in vars(opt).items()}
    return {flag: value for flag, value in plain.items() if flag != "explicit"}


def environment() -> dict[str, Any]:
    """Versions, and the commit: with "+changes" where files differ from it, "unknown" outside a checkout."""
    import torch  # not needed to find a run, and takes seconds

    packages = {package: version(package) for package in ("torchvision", "numpy", "scipy")}
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), **packages}
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        done = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {"versions": versions, "git_commit": "unknown"}
    return {"versions": versions, "git_commit": done.stdout.strip() or "unknown"}
