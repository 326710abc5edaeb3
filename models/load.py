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
from models import GENERATOR, SEGMENTERS
from models.config import network_config
from models.hgan import create_generator
from models.networks.silnet import SilNet
from models.supervised import segment
from models.translation import HandTranslator, composite, hand_translator
from util.checkpoint import check_config, load_checkpoint
from util.errors import UsageError, first_lines
from util.pretrained import sha256
from util.run import BEST, LATEST, OPTIONS_FILE, load_options
from util.runtime import Amp, resolve_amp, resolve_device

log = logging.getLogger(__name__)

MISFITS = (
    AttributeError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what a wrong options.yaml or checkpoint raises


class Translator:
    """A run's generator, G_r (direction "StoR") or G_s ("RtoS"). Call it to translate arrays.

    options: the run's options.yaml, as attributes. checkpoint: the file that was loaded. step: its training step. Raises
    UsageError if the folder holds no such run.
    """

    def __init__(self, folder: Path, *, epoch: str, direction: str, device: torch.device, amp: Amp) -> None:
        self.device, self.amp, self.direction = device, amp, direction
        self.options = options = SimpleNamespace(**load_options(folder))
        if options.__dict__.get("model") in SEGMENTERS:
            raise UsageError(f"{folder} holds a {options.model}, which translates nothing; give it to --silnet")
        self.checkpoint = _checkpoint_file(folder, epoch)
        try:
            content = load_checkpoint(self.checkpoint)
        except UsageError as error:
            hint = "; --epoch latest takes the newest checkpoint" if self.checkpoint.name == BEST else ""
            raise UsageError(f"{error}{hint}") from error
        try:
            config = network_config(options)
            check_config(content["model"]["config"], asdict(config))
            net = create_generator(config)
            net.load_state_dict(content["model"]["networks"][GENERATOR[direction]])
            self.net, self.step = net.to(device).eval().requires_grad_(False), int(content["step"])
            self._white = options.background == "white"
            self.hands()
        except MISFITS as error:
            raise UsageError(
                f"{self.checkpoint} does not fit the options.yaml beside it ({first_lines(error)}); restore the one that "
                "it was trained with"
            ) from error

    def hands(self, *, crop_to_hand: bool | None = None) -> HandTranslator:
        """The generator as test.py uses it. crop_to_hand: see HandTranslator; None: the run's own setting."""
        crop = self.options.crop_to_hand if crop_to_hand is None else crop_to_hand
        return hand_translator(self.net, self.options, amp=self.amp, device=self.device, crop_to_hand=crop)

    def __call__(
        self, rgb: np.ndarray | Sequence[np.ndarray], mask: np.ndarray | Sequence[np.ndarray | None] | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """Translate one image, uint8 RGB (H, W, 3), or a list of images of any sizes.

        mask: bool or uint8 (H, W), not zero on the hand; a list of masks for a list of images. None: the hand is every
        pixel that is not SynthHands' key colour, or the whole image if it has no such pixels. Returns uint8 images of
        the same sizes, equal to the output of `test.py --no-crop`; outside the mask the image stays unchanged. Raises
        TypeError or ValueError for arrays of another type or shape, and for an empty mask.
        """
        if isinstance(rgb, (list, tuple)):
            masks = [None] * len(rgb) if mask is None else mask
            if isinstance(masks, np.ndarray) or len(masks) != len(rgb):
                raise ValueError(f"for a list of {len(rgb)} images, mask must be None or a list of {len(rgb)} masks")
            return [self(image, each) for image, each in zip(rgb, masks)]
        hand = hand_of_arrays(rgb, mask)
        (image,) = self.hands().images([Hand(whiten(hand.image, hand.mask), hand.mask) if self._white else hand])
        return composite(image, hand) if self.options.mask else image


def hand_of_arrays(rgb: np.ndarray, mask: np.ndarray | None) -> Hand:
    """A Hand from an image and its mask or None; see Translator.__call__."""

    def kind(array: object) -> str:
        return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__

    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        unread = ": was the file read?" if rgb is None else ""  # cv2.imread returns None for a file that is not there
        raise TypeError(f"an image must be a uint8 array (H, W, 3), RGB from 0 to 255; got {kind(rgb)}{unread}")
    if min(rgb.shape[:2]) < MIN_SIDE:
        raise ValueError(f"an image of {rgb.shape[1]}x{rgb.shape[0]} pixels; at least {MIN_SIDE} a side are needed")
    if mask is None:
        mask = key_or_whole(rgb)
    elif not isinstance(mask, np.ndarray) or mask.dtype not in (np.bool_, np.uint8) or mask.shape != rgb.shape[:2]:
        raise TypeError(f"a mask must be a bool or uint8 array of shape {rgb.shape[:2]}; got {kind(mask)}")
    if not mask.any():
        raise ValueError("the mask is empty: there is no hand to translate")
    return Hand(rgb, mask.astype(bool))


def load_translator(
    run_folder: str | Path, epoch: str | int = "best", device: str = "auto", direction: str = "StoR"
) -> Translator:
    """Load a trained generator that translates arrays as test.py translates files:

        translate = load_translator("checkpoints/msh4")
        out = translate(rgb, mask)  # uint8 (H, W, 3), uint8 or bool (H, W) or None -> uint8 (H, W, 3)

    epoch: "best" (by validation; the newest checkpoint of a run without validation), "latest", or N for epoch_N.pt. device:
    "auto" (CUDA if available), "cpu" or "cuda". direction: "StoR" (synthetic to real) or "RtoS". Raises UsageError if the
    folder, the epoch or the device does not exist, and ValueError for another direction.
    """
    if direction not in GENERATOR:
        raise ValueError(f"direction must be one of {', '.join(GENERATOR)}; got {direction!r}")
    folder, torch_device = Path(run_folder), resolve_device(device)
    if not (folder / OPTIONS_FILE).is_file():
        raise UsageError(f"{folder} is not the folder of a run; give one that train.py wrote, such as checkpoints/msh4")
    amp = resolve_amp("auto", torch_device)
    return Translator(folder, epoch=str(epoch), direction=direction, device=torch_device, amp=amp)


def _checkpoint_file(folder: Path, epoch: str) -> Path:
    """best.pt, latest.pt (also for "best" of a run without validation) or epoch_N.pt."""
    if epoch in ("best", "latest"):
        return folder / (BEST if epoch == "best" and (folder / BEST).exists() else LATEST)
    path = folder / f"epoch_{epoch}.pt"
    if not path.exists():
        kept = sorted(int(each.stem[6:]) for each in folder.glob("epoch_*.pt") if each.stem[6:].isdigit())
        there = f"epochs {', '.join(map(str, kept))}" if kept else "no epoch (train.py --save_epoch_freq keeps them)"
        raise UsageError(f"--epoch {epoch}: {folder} holds no {path.name}; it keeps {there}, or give best or latest")
    return path


class TrainedSilNet(NamedTuple):
    """A frozen SilNet in eval mode, its file with the SHA-256, and the background that it was trained on."""

    net: SilNet
    path: Path
    sha256: str
    background: str

    def segment(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] -> the probability of hand, float32 (N, 1, H, W)."""
        return segment(self.net, images, Amp("off"))

    def record(self) -> dict[str, str]:
        """The entry in options.yaml and metrics.json."""
        return {"path": str(self.path.resolve()), "sha256": self.sha256}


def load_silnet(where: str, *, checkpoints_dir: Path, background: str, device: torch.device) -> TrainedSilNet:
    """Read --silnet: a .pt file, the folder of a run, or its name (best.pt, or latest.pt of a run without validation).

    background: what surrounds the hands that it will segment; logs a warning if it was trained on another one. Draws no
    random numbers, so that a run starts the same with and without it. Raises UsageError.
    """
    path = next((each for each in (Path(where), checkpoints_dir / where) if each.exists()), None)
    if path is None:
        raise UsageError(
            f"--silnet {where} is neither a file nor a run's folder, nor the name of a run in {checkpoints_dir}"
        )
    path = _checkpoint_file(path, "best") if path.is_dir() else path
    content = load_checkpoint(path)
    try:
        state = content["model"]["silnet"]
        with torch.device("meta"):
            net = SilNet(**state["config"])
        net.load_state_dict(state["network"], assign=True)
        trained_on = state["background"]
    except MISFITS as error:
        raise UsageError(
            f"--silnet {path} holds no SilNet ({first_lines(error)}); train one with --model silnet"
        ) from error
    if trained_on != background:
        log.warning("%s was trained with --background %s and is used with %s", path, trained_on, background)
    return TrainedSilNet(net.to(device).eval().requires_grad_(False), path, sha256(path), trained_on)
