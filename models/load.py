"""Trained networks, rebuilt from their runs' folders: a translator, and SilNet."""

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from models import GENERATOR, SEGMENTERS
from models.config import NetworkConfig
from models.hgan import create_generator, translate
from models.networks.silnet import SilNet
from models.silnet_trainer import segment
from options.stored import check_stored
from options.train_options import train_parser
from util.checkpoint import check_config, first_lines, load_checkpoint, load_newest
from util.errors import UsageError
from util.run import OPTIONS_FILE, load_options
from util.runtime import Amp
from util.training.saving import BEST, LATEST, PREVIOUS

log = logging.getLogger(__name__)

# What a run must say of itself to be used, beside what its networks are made of.
NEEDED = (
    *NetworkConfig.__dataclass_fields__,
    "model",
    "mask",
    "hand_box",
    "background",
    "dataset_mode",
    "objects",
    "seed",
    "dataroot",
    "synth_root",
    "real_root",
)


class Translator:
    """One generator of a run, for use: G_r (direction "StoR") or G_s ("RtoS"), the moving average of it.

    options: the run's options.yaml, as attributes. checkpoint: the file that was loaded; step: where training stood.
    epoch "best" takes best.pt, or latest.pt for a run that was never validated. Raises UsageError.
    """

    def __init__(self, folder: Path, *, epoch: str, direction: str, device: torch.device, amp: Amp) -> None:
        self.device, self.amp = device, amp
        options = load_options(folder)
        if options.get("model") in SEGMENTERS:
            raise UsageError(f"{folder} holds a {options['model']}, which translates nothing; name it with --silnet")
        check_stored(options, train_parser(), folder / OPTIONS_FILE, needed=NEEDED)
        self.options = SimpleNamespace(**options)
        if epoch == "best" and (folder / BEST).exists():
            self.checkpoint = folder / BEST
            content = load_checkpoint(self.checkpoint)
        else:
            content, self.checkpoint = load_newest(folder / LATEST, folder / PREVIOUS)
        try:
            self.step = int(content["step"])
            config = NetworkConfig(**{name: getattr(self.options, name) for name in NetworkConfig.__dataclass_fields__})
            check_config(content["model"].get("config"), asdict(config))
            self.net = create_generator(config)
            self.net.load_state_dict(content["model"]["averages"][GENERATOR[direction]]["module"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(
                f"{self.checkpoint} does not fit the options.yaml beside it ({first_lines(error)}); put back the one that "
                "it was trained with"
            ) from error
        self.net.to(device).eval()

    def translate(self, images: Tensor, masks: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] -> the other domain, composited by masks (N, 1, H, W) if the run has them."""
        return self._translate(images, masks, masked=self.options.mask)

    def generate(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """The same as the generator paints it, before any mask composites it."""
        return self._translate(images, masks, masked=False)

    def _translate(self, images: Tensor, masks: Tensor | None, *, masked: bool) -> Tensor:
        noise = getattr(self.options, "input_noise", 0.0)  # older runs have none
        return translate(self.net, images, masks, self.amp, input_noise=noise, masked=masked)


class TrainedSilNet(NamedTuple):
    """A SilNet in eval mode, frozen; the file it is from, with its SHA-256; the background it was trained on."""

    net: SilNet
    path: Path
    sha256: str
    background: str

    def segment(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] -> the probability of hand, float32 (N, 1, H, W)."""
        with torch.inference_mode():
            return segment(self.net, images, Amp("off"))

    def record(self) -> dict[str, str]:
        """What options.yaml and metrics.json say of it."""
        return {"path": str(self.path.resolve()), "sha256": self.sha256}


def load_silnet(where: str, *, checkpoints_dir: Path, background: str, device: torch.device) -> TrainedSilNet:
    """Read --silnet: a .pt file, the folder of a run, or its name (best.pt, or latest.pt where it was never validated).

    background: what surrounds the hands that it is to judge; a warning if it was trained on another. Draws no random
    numbers, so that a run starts alike with and without it. Raises UsageError.
    """
    folder = next((path for path in (Path(where), checkpoints_dir / where) if path.is_dir()), None)
    if folder is None and not Path(where).is_file():
        raise UsageError(
            f"--silnet {where} is neither a file, nor a run's folder, nor the name of a run in {checkpoints_dir}"
        )
    path = folder / (BEST if (folder / BEST).exists() else LATEST) if folder else Path(where)
    content = load_checkpoint(path)
    try:
        state = content["model"]["silnet"]
        with torch.device("meta"):
            net = SilNet(**state["config"])
        net.load_state_dict(state["network"], assign=True)
        trained_on = state["background"]
    except (KeyError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--silnet {path} holds no SilNet ({reason}); train one with --model silnet") from error
    if trained_on != background:
        log.warning("%s was trained with --background %s and is used with %s", path, trained_on, background)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TrainedSilNet(net.to(device).eval().requires_grad_(False), path, digest, trained_on)
