"""What train.py trains: a translator, or SilNet."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import torch

from data.crops import random_hand_crop, silhouette_crop
from data.frames import Domains
from data.unpaired import Crop
from models import DISCRIMINATORS, SEGMENTERS
from models.config import network_config, objective
from models.features.registry import load_feature_net
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from models.load import load_silnet
from models.supervised import HandSegmenter
from util.errors import UsageError
from util.runtime import Amp
from util.scores.silhouettes import create_silnet_validation, silhouette_grids
from util.training.loop import Display, Validate
from util.training.validation import create_validation, display_grids, display_hands


class TranslatorTask:
    """Training a translator.

    model: what is trained. frozen: {flag: what options.yaml records} of the frozen networks that it was built with.
    next_command: what to do with the run then.
    """

    least_validated = 2  # images a domain: a distance takes two

    def __init__(self, opt: Namespace, *, amp: Amp, device: torch.device) -> None:
        self.opt = opt
        vgg, weights, silnet = None, None, None
        if DISCRIMINATORS[opt.netD].load().view == "vgg":
            vgg, weights = load_vgg16(opt.vgg_weights, calibrated=opt.normalize_features)
        if opt.silnet:
            where = {"checkpoints_dir": opt.checkpoints_dir, "device": device}
            silnet = load_silnet(opt.silnet, background=opt.background, **where)
        frozen = {"vgg": vgg, "silnet": silnet and silnet.net}
        self.model = HGAN(network_config(opt), objective(opt), **frozen, amp=amp, device=device, seed=opt.seed)
        self.frozen = {"vgg_weights": weights, "silnet": silnet and silnet.record()}
        self.next_command = f"python test.py --name {opt.name}"

    def training_crop(self, frames: Domains) -> Crop:
        """How training crops are cut."""
        return random_hand_crop

    def create_validation(self, frames: Domains, folder: Path) -> tuple[Validate, dict]:
        """The validation, and what options.yaml records of the network behind it."""
        opt = self.opt
        net = load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=self.model.device)
        validate = create_validation(
            self.model,
            frames,
            net,
            background=opt.background,
            crop_to_hand=opt.crop_to_hand,
            by_distance=opt.paper,
            cache_dir=folder / "features",
            num_workers=opt.num_workers,
        )
        return validate, {"feature_net": {"name": net.name, "sha256": net.sha256}}

    def create_display(self, frames: Domains) -> Display:
        """What makes the pictures that training shows."""
        hands = display_hands(frames, background=self.opt.background)
        return lambda: display_grids(self.model, hands, crop_to_hand=self.opt.crop_to_hand)


class SilNetTask:
    """Training a SilNet; see TranslatorTask."""

    least_validated = 1

    def __init__(self, opt: Namespace, *, amp: Amp, device: torch.device) -> None:
        self.opt, self.frozen = opt, {}
        self.next_command = f"python train.py --model geocongan --name geocongan --silnet {opt.name}"
        adam = {"lr": opt.lr, "beta1": opt.beta1}
        self.model = HandSegmenter(base=opt.ngf, **adam, background=opt.background, amp=amp, device=device)

    def training_crop(self, frames: Domains) -> Crop:
        """Silhouette crops. Raises UsageError for images without masks."""
        for domain, part in frames.items():
            if all(frame.mask_kind == "none" for frame in part):
                raise UsageError(
                    f"SilNet learns from masks, and the {domain} images have none; add trainA_masks/, trainB_masks/"
                )
        return partial(silhouette_crop, background=self.opt.background)

    def create_validation(self, frames: Domains, folder: Path) -> tuple[Validate, dict]:
        settings = {"background": self.opt.background, "num_workers": self.opt.num_workers}
        return create_silnet_validation(self.model.probabilities, frames, device=self.model.device, **settings), {}

    def create_display(self, frames: Domains) -> Display:
        hands = display_hands(frames, background=self.opt.background)
        return lambda: silhouette_grids(self.model.probabilities, hands, device=self.model.device)


def task_of(model: str) -> type[TranslatorTask] | type[SilNetTask]:
    """The task of --model."""
    return SilNetTask if model in SEGMENTERS else TranslatorTask
