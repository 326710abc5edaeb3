"""What several tests share: small data roots made of drawn blobs, small models, and where the repository is."""

import ast
import functools
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
import pytest
import torch

from models import MODELS
from models.config import NetworkConfig, Objective, options_of
from models.hgan import HGAN
from models.networks import layers
from options.parsing import Parser
from util import workers
from util.errors import run_command
from util.images import write_png
from util.runtime import Amp
from util.workers import worker_context

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("train.py", "test.py", "classify.py", "preprocess_masks.py")
TOPS = ("util", "options", "models", "data")  # folders of the product's code
CPU = torch.device("cpu")
KEY = (14, 255, 14)
PHOTO = (90, 160, 90)  # a background of photographs

# Flags that make a run small enough for a test.
TINY = [
    "--vgg_weights", "random", "--ngf", "4", "--ndf", "4", "--crop_size", "32", "--val_interval", "0", "--display_freq", "0",
    "--num_workers", "0", "--amp", "off", "--log_freq", "1", "--feature_net", "random",
]  # fmt: skip


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
            image, mask = draw_hand(random, size=size, background=PHOTO)
            write_png(root / "RealHands" / user / "color" / f"image_{number}_color.png", image)
            write_png(root / "RealHands" / user / "mask" / f"image_{number}_mask.png", mask)
    return root


def photographed_hands(number: int = 3, size: int = 64) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and masks of draw_hand, on a background without the key colour."""
    random = np.random.default_rng(7)
    return [draw_hand(random, size=size, background=PHOTO) for _ in range(number)]


def write_pixels(folder: Path, name: str, pixels: np.ndarray, *_) -> None:
    """An image, without its mask, or a mask, as a PNG."""
    write_png(folder / f"{name}.png", pixels)


def write_unaligned(root: Path, write_image=write_pixels, write_mask=write_pixels, number: int = 3) -> Path:
    """trainA and trainB of hands; write_image(folder, name, image, mask), write_mask(folder of masks, name, mask)."""
    for letter in "AB":
        folder, masks = root / f"train{letter}", root / f"train{letter}_masks"
        folder.mkdir(parents=True)
        masks.mkdir()
        for place, (image, mask) in enumerate(photographed_hands(number)):
            write_image(folder, f"{place:03}", image, mask)
            write_mask(masks, f"{place:03}", mask)
    return root


def build(vgg, model: str = "mshgan4", **changes) -> HGAN:
    """A narrow HGAN of the paper's algorithm, `changes`: options, amp, or arguments of HGAN."""
    entry = MODELS[model]
    small = {"netG": entry.netG, "netD": entry.netD, "ngf": 4, "ndf": 4, "pool_size": 3}
    steady = {"upsample": "resize", "init_gain": 1.0, "normalize_features": True, "lr": 2e-4}
    values = {name: option.paper for name, option in options_of().items()} | small | steady | changes
    network, goal = ({name: values[name] for name in options_of(group)} for group in (NetworkConfig, Objective))
    torch.manual_seed(0)
    amp = Amp(changes.get("amp", "off"))
    arguments = {name: changes[name] for name in ("silnet", "total_steps", "seed") if name in changes}
    return HGAN(NetworkConfig(**network), Objective(**goal), vgg=vgg, amp=amp, device=CPU, **arguments)


def parser_of(script: str) -> Parser:
    """The parser of a script, one of SCRIPTS."""
    name = script.removesuffix(".py")
    return getattr(importlib.import_module(f"options.{name}_options"), f"{name}_parser")()


@functools.cache
def modules() -> dict[str, Path]:
    """{module: file} of the product's code."""
    files = [*ROOT.glob("*.py"), *(file for top in TOPS for file in ROOT.glob(f"{top}/**/*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@functools.cache
def nodes(module: str) -> list[ast.AST]:
    """Every node of a module's syntax tree."""
    return list(ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))))


@functools.cache
def imports() -> dict[str, set[str]]:
    """{module: the modules of this project that it imports, be it inside functions}."""
    found = {}
    for name in modules():
        names = set()
        for node in nodes(name):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: imports are absolute"
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found[name] = {each for each in names & modules().keys() if modules()[each].stat().st_size}
    return found


def as_on_gpus() -> AbstractContextManager:
    """A context in which networks on a CPU call the operators that they call on a GPU."""
    return mock.patch.object(layers, "_as_on_gpus", True)


def to_double(model: HGAN) -> HGAN:
    """The model, in float64 from here on; its views, too, so give it a copy of a VGG16 that others use."""
    for net in filter(
        None,
        (*model.networks.values(), *model.translators.values(), model.view, model.silnet, model.jointnet, model.tones),
    ):
        net.double()
    return model


def make_batch(size: int = 32, count: int = 1, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for domain in ("synthetic", "real"):
        mask = torch.zeros(count, 1, size, size)
        mask[..., size // 4 : -size // 4, size // 4 :] = 1
        image = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
        batch[domain] = torch.where(mask > 0, image, torch.ones(()))
        batch[f"{domain}_mask"] = mask
    return batch


def same(a, b) -> bool:
    """Whether two checkpoints' contents are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


def command(main: Callable[[], int | None], *argv: object) -> int:
    """Run a script's main function; returns its exit status. For fixtures; tests have run_main."""
    line = [f"{main.__module__}.py", *map(str, argv)]
    with mock.patch("sys.argv", line), pytest.raises(SystemExit) as exit_:
        run_command(main)
    return exit_.value.code


def start_call(call: Callable[[], object], log: Path, **environment: object) -> BaseProcess:
    """Start a process that calls it, as a script would: a fork of a server that has imported PyTorch, never of this one.

    call: something that can be pickled. log: where its output goes. environment: variables that it sees.
    """
    log.touch()
    child = worker_context().Process(target=_call, args=(call, log, environment))
    child.start()
    return child


def _call(call: Callable[[], object], log: Path, environment: dict[str, object]) -> None:
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.environ.update({name: str(value) for name, value in environment.items()})
    call()


def start_script(command: Sequence[object], log: Path, **environment: object) -> BaseProcess:
    """Start a script, ("train.py", "--name", ...), in the current folder."""
    return start_call(partial(_script, [*map(str, command)], Path.cwd()), log, **environment)


def _script(command: list[str], folder: Path) -> None:
    os.chdir(folder)
    sys.argv = command
    run_command(importlib.import_module(command[0].removesuffix(".py")).main)


class MeanColour:
    """Stands in for a FeatureNet: the mean colour, 3-d; `seen`: how many images each of its batches held."""

    name, dim, metric, sha256, device = "mean", 3, "fd", "0" * 64, CPU

    def __init__(self, batch_size: int = 32) -> None:
        self.batch_size = batch_size
        self.seen: list[int] = []

    def __call__(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        self.seen.append(len(images))
        return torch.tensor(np.array([image.mean((0, 1)) for image in images]), dtype=torch.float32)


class Child(SimpleNamespace):
    """A process by those methods of subprocess.Popen that are used."""

    returncode = property(lambda self: self.process.exitcode)


def start_child(command: Sequence[str], *, log: Path) -> Child:
    """In the place of util.workers.start_child: a fork of the server, which imports nothing anew."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"$ {workers.shell_line(command)}\n")
    child = start_script(command, log)
    return Child(process=child, wait=partial(wait, child), terminate=child.terminate, kill=child.kill)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_ranks(count: int, start: Callable[..., BaseProcess], log: Path) -> list[int]:
    """Run `count` processes that train together, by start(log, **environment); returns their exit statuses."""
    shared = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    ranks = [start(log, **shared, RANK=rank, LOCAL_RANK=rank, LOCAL_WORLD_SIZE=count) for rank in range(count)]
    return [wait(rank) for rank in ranks]


def wait(child: BaseProcess, seconds: float = 300) -> int:
    """The child's exit status, negative for the signal that ended it. One that hangs is killed, and fails the test."""
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise TimeoutError(f"process {child.pid} hangs")
    return child.exitcode


def within(seconds: float, happens: Callable[[], bool], *, every: float = 0.05) -> bool:
    """Whether it happens within so many seconds."""
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(every)
    return happens()


def contents(root: Path) -> dict[Path, bytes]:
    """{path below root: what the file holds}"""
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def descendants(process: int) -> list[int]:
    """The ids of a process's children, their children and so on."""
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [each for child in children for each in (child, *descendants(child))]
