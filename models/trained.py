"""A trained translator, rebuilt from its run's folder."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from models.hgan import NetworkConfig, create_generator, translate
from options.stored import check_stored
from options.train_options import train_parser
from util.checkpoint import check_config, first_lines, load_checkpoint, load_newest
from util.errors import UsageError
from util.loop import BEST, LATEST, PREVIOUS
from util.run import OPTIONS_FILE, load_options
from util.runtime import Amp

GENERATOR = {"StoR": "G_r", "RtoS": "G_s"}


# What a run must say of itself to be used, beside what its networks are made of.
NEEDED = (
    *NetworkConfig.__dataclass_fields__, "model", "mask", "hand_box", "background", "dataset_mode", "objects", "seed",
    "dataroot", "synth_root", "real_root",
)  # fmt: skip


class Translator:
    """One generator of a run, for use: G_r (direction "StoR") or G_s ("RtoS"), the moving average of it.

    options: the run's options.yaml, as attributes. checkpoint: the file that was loaded; step: where training stood.
    epoch "best" takes best.pt, or latest.pt for a run that was never validated. Raises UsageError.
    """

    def __init__(self, folder: Path, *, epoch: str, direction: str, device: torch.device, amp: Amp) -> None:
        self.device, self.amp = device, amp
        options = load_options(folder)
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
        return translate(self.net, images, masks if self.options.mask else None, self.amp)
