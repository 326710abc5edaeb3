"""Trained networks, rebuilt from their runs' folders: a translator, and SilNet."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.hands import MIN_SIDE, Hand, key_or_whole, whiten
from models import DIRECTIONS, SEGMENTERS
from models.config import network_config
from models.departures import Tones
from models.hgan import HGAN, create_generator, tone_of
from models.networks.silnet import SilNet
from models.supervised import segment
from models.translation import HandTranslator, composite_hand
from util.checkpoint_file import MISFITS, check_config, load_checkpoint
from util.errors import UsageError, first_lines
from util.files import user_path
from util.pretrained import sha256
from util.run import TRAINING_VERSION, checkpoint_file, find_checkpoint, folder_of_run, load_options
from util.runtime import Amp, resolve_device

log = logging.getLogger(__name__)


class Translator:
    """A run's generator, G_r (direction "StoR") or G_s ("RtoS"). Call it to translate arrays.

    options: the run's options.yaml, as attributes. checkpoint: the file that was loaded. step: its training step.
    """

    def __init__(self, folder: Path, *, epoch: str, direction: str, device: torch.device, amp: Amp) -> None:
        self.device, self.amp, self.direction = device, amp, direction
        self.options = options = SimpleNamespace(**load_options(folder))
        if getattr(options, "model", None) in SEGMENTERS:
            raise UsageError(f"{folder} holds a {options.model}, which translates nothing; give it to --silnet")
        self.checkpoint = checkpoint_file(folder, epoch)
        content = load_checkpoint(self.checkpoint)
        try:
            config = network_config(options)
            check_config(content["model"]["config"], asdict(config))
            net = create_generator(config)
            # latest.pt holds the mean of weights beside the last step's; other files hold the mean alone.
            networks = (content["model"].get("average") or content["model"])["networks"]
            net.load_state_dict(networks[DIRECTIONS[direction]])
            self.net, self.step = net.to(device).eval().requires_grad_(False), int(content["step"])
            tones = content["model"].get("tones")  # None without match_tone
            self.tones = Tones().to(device) if tones and tones["seen"] else None  # 0: nothing was trained
            if self.tones:
                self.tones.load_state_dict(tones)
            self.for_hands()  # reads the other options
        except MISFITS as error:
            said = f"{self.checkpoint} does not fit the options.yaml beside it ({first_lines(error)})"
            if (version := getattr(options, "training_version", None)) != TRAINING_VERSION:
                said += f"; the run has training version {version}, here it is {TRAINING_VERSION}"
            raise UsageError(said) from error

    def for_hands(self, *, crop_to_hand: bool | None = None) -> HandTranslator:
        """The generator as test.py uses it. crop_to_hand: see HandTranslator; None: the run's own setting."""
        crop = self.options.crop_to_hand if crop_to_hand is None else crop_to_hand
        how = {"amp": self.amp, "device": self.device, "tone": tone_of(self.tones, self.direction)}
        return HandTranslator.of(self.net, self.options, **how, crop_to_hand=crop)

    def __call__(
        self, rgb: np.ndarray | Sequence[np.ndarray], mask: np.ndarray | Sequence[np.ndarray | None] | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """Translate one image, uint8 RGB (H, W, 3), or a list of images of any sizes.

        mask: bool or uint8 (H, W), not zero on the hand; a list of masks for a list of images. None: the hand is every
        pixel that is not SynthHands' key colour, or the whole image if it has no such pixels. Returns uint8 images of
        the same sizes, equal to the output of `test.py --no-crop` up to rounding, which depends on the number of threads;
        outside the mask the image stays unchanged. Raises TypeError or ValueError for arrays of another type or shape, and
        for an empty mask.
        """
        if isinstance(rgb, (list, tuple)):
            masks = [None] * len(rgb) if mask is None else mask
            return [self(image, each) for image, each in zip(rgb, masks, strict=True)]
        hand = hand_of_arrays(rgb, mask)
        (image,) = self.for_hands().images([Hand(whiten(hand.image, hand.mask), hand.mask)])
        return composite_hand(image, hand) if self.options.mask else image


def hand_of_arrays(rgb: np.ndarray, mask: np.ndarray | None) -> Hand:
    """A Hand from an image and its mask or None; see Translator.__call__."""
    kind, shape = getattr(rgb, "dtype", type(rgb).__name__), np.shape(rgb)
    if kind != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise TypeError(f"an image must be a uint8 array (H, W, 3), RGB from 0 to 255; got {kind} {shape}")
    if min(shape[:2]) < MIN_SIDE:
        raise ValueError(f"an image of {shape[1]}x{shape[0]} pixels; at least {MIN_SIDE} a side are needed")
    mask = key_or_whole(rgb) if mask is None else mask
    if getattr(mask, "dtype", None) not in (np.bool_, np.uint8) or mask.shape != shape[:2]:
        raise TypeError(f"a mask must be a bool or uint8 array of shape {shape[:2]}")
    if not mask.any():
        raise ValueError("the mask is empty: there is no hand to translate")
    return Hand(rgb, mask.astype(bool))


def load_translator(
    run_folder: str | Path, epoch: str | int = "best", device: str = "auto", direction: str = "StoR"
) -> Translator:
    """Load a trained generator, which translates arrays as test.py translates files:

        translate = load_translator("checkpoints/msh4")
        out = translate(rgb, mask)  # uint8 (H, W, 3), uint8 or bool (H, W) or None -> uint8 (H, W, 3)

    run_folder: "pretrained" is the run that comes with the project. epoch: "best" (by validation; without one the newest),
    "latest", or N for epoch_N.pt. device: "auto" (CUDA if available), "cpu" or "cuda". direction: "StoR" (synthetic to real) or
    "RtoS". Raises UsageError if the run, the epoch or the device does not exist, and ValueError for another direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}; got {direction!r}")
    machine = resolve_device(device)
    path = user_path(run_folder)
    return Translator(
        folder_of_run(path.parent, path.name), epoch=str(epoch), direction=direction, device=machine, amp=Amp("off")
    )


def init_networks(model: HGAN, path: Path) -> None:
    """Load the networks of a checkpoint into a new model: generators and, if the file has just such ones, discriminators. With
    average_weights, best.pt and epoch_N.pt hold the mean of the generators' weights, and latest.pt those of the last step.

    Raises UsageError, naming the options that differ, for generators of another architecture.
    """
    state, config = load_checkpoint(path)["model"], asdict(model.config)
    try:
        check_config(state["config"], {name: config[name] for name in ("netG", "ngf", "norm", "dropout", "upsample")})
        names = state["networks"] if state["config"] == config else ("G_r", "G_s")
        for name in names:
            model.networks[name].load_state_dict(state["networks"][name])
        for name, net in model.translators.items():
            net.load_state_dict(state["networks"][name])  # the mean, until it has seen a step
    except MISFITS as error:
        raise UsageError(f"--init_from {path} does not fit this run ({first_lines(error)})") from error
    log.info("started from %s of %s", ", ".join(names), path)


class TrainedSilNet(NamedTuple):
    """A frozen SilNet in eval mode, and its file with the SHA-256."""

    net: SilNet
    path: Path
    sha256: str

    def segment(self, images: Tensor) -> Tensor:
        """See models.supervised.segment; in float32."""
        return segment(self.net, images, Amp("off"))

    def record(self) -> dict[str, str]:
        """The entry in options.yaml and metrics.json."""
        return {"path": str(self.path.resolve()), "sha256": self.sha256}


def load_silnet(where: str, *, checkpoints_dir: Path, device: torch.device) -> TrainedSilNet:
    """Read --silnet: a .pt file, the folder of a run, or its name. Raises UsageError.

    Draws no random numbers, so that a run starts the same with and without it.
    """
    path = find_checkpoint(where, checkpoints_dir, flag="--silnet")
    content = load_checkpoint(path)
    try:
        state = content["model"]["silnet"]
        with torch.device("meta"):
            net = SilNet(**state["config"])
        net.load_state_dict(state["network"], assign=True)
    except MISFITS as error:
        raise UsageError(f"--silnet {path} holds no SilNet ({first_lines(error)})") from error
    return TrainedSilNet(net.to(device).eval().requires_grad_(False), path, sha256(path))
