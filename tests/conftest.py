"""What several tests share: small data roots, made of drawn blobs rather than of the demo's renders."""

import os
from pathlib import Path

import pytest
import torch
from helpers import TINY, command, write_hands

from util import workers

# What takes longest, so that no process is left alone with it at the end.
FIRST = (
    "test_train.py", "test_kill.py", "test_reproduce.py", "test_step.py", "test_workers.py", "test_ranks.py",
    "test_search.py", "test_export.py", "test_feature_nets.py", "test_trust.py", "test_piped.py",
)  # fmt: skip


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(optionalhook=True)  # pytest runs without xdist, too: -p no:xdist -o addopts=
def pytest_xdist_auto_num_workers(config) -> int:
    """A process a core, but few enough for any machine's memory."""
    return min(cores(), 4)


def pytest_configure(config):
    # Threads beyond the cores that are left to this process would wait for each other; so would those of its children.
    threads = max(1, cores() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
    torch.set_num_threads(min(2, threads))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def pytest_collection_finish(session):
    # What a training takes is imported once, by the server that processes are forked from, and not by each of them.
    import torch._inductor  # noqa: F401, the first optimizer imports it

    import train  # noqa: F401

    workers.PRELOADED += ("helpers", "train", "models.networks.layers", "torch._inductor")


@pytest.fixture(scope="session")
def hands_root(tmp_path_factory) -> Path:
    """A small hands tree of drawn blobs."""
    return write_hands(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def small_root(tmp_path_factory) -> Path:
    """The least of them, for runs of the least networks."""
    return write_hands(tmp_path_factory.mktemp("small"), frames=1, size=48)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> Path:
    """A run of one step on a tiny demo: its checkpoints folder."""
    import train
    from data.demo import ensure_demo

    root = tmp_path_factory.mktemp("demo")
    ensure_demo(root / "data", num_workers=0, frames_per_camera=1, frames_per_user=1)
    where = ("--name", "run", "--checkpoints_dir", root, "--dataroot", root / "data")
    flags = ("--netD", "pixel", "--max_steps", 1, "--test_size", 2, "--val_size", 1)
    assert command(train.main, *where, *TINY, *flags) == 0
    return root


@pytest.fixture(scope="session")
def real_hands() -> Path:
    """The root of real input in the hands layout, from the environment; skips where there is none."""
    return Path(os.environ.get("HGAN_HANDS") or pytest.skip("HGAN_HANDS is unset: no real hands to test on"))


@pytest.fixture
def run_main(capsys):
    """Run a script's main function with arguments: run_main(train.main, "--name", "x") -> (exit status, stderr)."""
    return lambda main, *argv: (command(main, *argv), capsys.readouterr().err)


@pytest.fixture
def fit(run_main, hands_root, tmp_path):
    """fit(*flags) -> (exit status, stderr) of a run of train.py with the least networks, in tmp_path/run."""
    import train

    def run(*flags: object, where: Path = tmp_path) -> tuple[int, str]:
        start = ("--name", "run", "--dataroot", hands_root, "--checkpoints_dir", where, *TINY, "--netD", "pixel")
        return run_main(train.main, *start, *flags)

    return run


@pytest.fixture(scope="session")
def vgg():
    """VGG16 with random weights. Tests that change it, such as its precision, take a copy."""
    from models.features.vgg16 import load_vgg16

    return load_vgg16("random", calibrated=True)[0]
