"""What several tests share: small data roots, made of drawn blobs rather than of the demo's renders."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from util.images import write_png

KEY = (14, 255, 14)


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


def draw_hand(random: np.random.Generator, *, size: int = 96, background=KEY) -> tuple[np.ndarray, np.ndarray]:
    """A blob of random colours in the middle: uint8 (size, size, 3) and its mask, bool (size, size)."""
    mask = np.zeros((size, size), np.uint8)
    centre = tuple(int(v) for v in random.integers(size * 2 // 5, size * 3 // 5, 2))
    cv2.ellipse(mask, centre, (size // 4, size // 3), float(random.integers(0, 90)), 0, 360, 1, -1)
    skin = random.integers(60, 200, (size, size, 3), dtype=np.uint8)
    return np.where(mask[..., None] > 0, skin, np.uint8(background)), mask > 0


def write_hands(root: Path, *, frames: int = 3, size: int = 96, seed: int = 0) -> Path:
    """A small tree in the hands layout: 2 genders x 2 sequences x `frames`, 3 users x `frames`."""
    random = np.random.default_rng(seed)
    for gender in ("female", "male"):
        for sequence in ("seq01", "seq02"):
            for number in range(frames):
                stem = root / "SynthHands_Release" / f"{gender}_noobject" / sequence / "cam01" / "01" / f"{number:08d}"
                image, mask = draw_hand(random, size=size)
                write_png(f"{stem}_color.png", image)
                write_png(f"{stem}_depth.png", mask)
                Path(f"{stem}_joint_pos.txt").write_text(",".join(["1.0"] * 63))
    for user in ("user01", "user02", "user03"):
        for number in range(frames):
            image, mask = draw_hand(random, size=size, background=(90, 160, 90))
            write_png(root / "RealHands" / user / "color" / f"image_{number}_color.png", image)
            write_png(root / "RealHands" / user / "mask" / f"image_{number}_mask.png", mask)
    return root


@pytest.fixture(scope="session")
def hands_root(tmp_path_factory) -> Path:
    """A small hands tree of drawn blobs."""
    return write_hands(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def real_hands() -> Path:
    """The root of real input in the hands layout, from the environment; skips where there is none."""
    root = os.environ.get("HGAN_HANDS")
    if not root:
        pytest.skip("HGAN_HANDS is unset: no real hands to test on")
    return Path(root)


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Run a script's main function with arguments: run_main(train.main, "--name", "x") -> (exit status, stderr)."""
    from util.errors import run_command

    def run(main, *argv: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["script", *map(str, argv)])
        with pytest.raises(SystemExit) as exit_:
            run_command(main)
        return exit_.value.code, capsys.readouterr().err

    return run


# Flags that make a run small enough for a test.
TINY = (
    "--vgg_weights random --ngf 4 --ndf 4 --crop_size 32 --val_interval 0 --display_freq 0 --num_workers 0 "
    "--amp off --log_freq 1 --feature_net random --no-cache"
).split()
