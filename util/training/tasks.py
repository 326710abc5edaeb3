"""What train.py trains, a translator or SilNet: how it is made, validated and shown."""

from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch

from data.crops import random_hand_crop, silhouette_crop
from data.frames import DOMAINS, Domains
from data.hands import Hand
from data.joints import region_depth
from data.listing import WHOLE
from data.masks import iou
from data.samples import Crop, HandRegions, same_sized_batches
from models import DIRECTIONS, DISCRIMINATORS
from models.config import network_config, objective
from models.features.registry import load_feature_net
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN, tone_of
from models.load import load_silnet
from models.supervised import HandSegmenter
from models.translation import HandTranslator
from options.test_options import test_parser
from options.train_options import train_parser
from util.drawing import evenly, sheet, trimmed
from util.errors import UsageError
from util.images import ImageError
from util.runtime import Amp
from util.scores.appearance import hand_scale
from util.scores.distances import frechet_distance
from util.scores.features import extract_features
from util.scores.metrics import Figures, View, best_score, entries, flat_entries, measure
from util.scores.silhouettes import boundary_f, silhouettes
from util.scores.structure import SourceEdges
from util.training.loop import Validate

ROWS = 4  # hands in a picture
VALIDATION_BATCH = 4  # of SilNet


class TranslatorTask:
    """Training a translator.

    model: what is trained. frozen: {flag: what options.yaml records} of the frozen networks that it was built with.
    next_command: what to do with the run then.
    """

    least_validated = 2  # images a domain: a distance takes two

    def __init__(self, opt: Namespace, *, amp: Amp, device: torch.device) -> None:
        self.opt = opt
        vgg, weights, silnet = None, None, None
        if DISCRIMINATORS[opt.netD].load().sees_features:
            vgg, weights = load_vgg16(opt.vgg_weights, calibrated=opt.normalize_features)
        if opt.silnet:
            silnet = load_silnet(opt.silnet, checkpoints_dir=opt.checkpoints_dir, device=device)
        nets = {"vgg": vgg, "silnet": silnet and silnet.net}
        self.model = HGAN(network_config(opt), objective(opt), **nets, amp=amp, device=device, seed=opt.seed)
        self.frozen = {"vgg_weights": weights, "silnet": silnet and silnet.record()}
        self.next_command = test_parser().line({"name": [opt.name], "checkpoints_dir": opt.checkpoints_dir})

    def training_crop(self, frames: Domains) -> Crop:
        return random_hand_crop

    def translator(self, direction: str) -> HandTranslator:
        """The generator of a direction, as it is now."""
        model, crop = self.model, self.opt.crop_to_hand
        net, where = model.translators[DIRECTIONS[direction]], {"amp": model.amp, "device": model.device}
        return HandTranslator.of(net, model.objective, **where, tone=tone_of(model.tones, direction), crop_to_hand=crop)

    def create_validation(self, frames: Domains) -> tuple[Validate, dict]:
        """The validation (paper section IV.A), and what options.yaml records of the network behind it.

        It compares translated with real hands on 256 regions. The scores: the distance, "fid" or "fd"; those of
        util.scores.metrics; and "score", both in one. "score" chooses best.pt, with --paper the distance. The real side is
        read once.
        """
        opt, threads = self.opt, {"num_workers": self.opt.num_workers}
        net = load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=self.model.device)
        regions = {domain: HandRegions(part) for domain, part in frames.items()}
        hands = [hand for _, hand in regions["real"].readable(**threads)]
        real = extract_features([hand.image for hand in hands], net, progress="real features")
        sources = (hand.mask for _, hand in regions["synthetic"].readable(**threads))
        scale = hand_scale([*(hand.mask for hand in hands), *sources])
        photographs = [measure(View(hand.image, hand.mask, scale)) for hand in hands]
        translator = self.translator("StoR")

        def translated(figures: list[Figures]) -> Iterator[np.ndarray]:
            for each in translator.stream(regions["synthetic"], **threads):
                depth = region_depth(frames["synthetic"][each.index].image, each.source.mask)
                edges = SourceEdges(each.source.image, each.source.mask, depth, scale=scale)
                figures.append(measure(View(each.image, each.source.mask, scale, edges)))
                yield each.image

        def validate() -> tuple[dict[str, float], float]:
            figures: list[Figures] = []
            distance = frechet_distance(real, extract_features(translated(figures), net))
            pooled = entries(figures, photographs)
            score = best_score(distance, pooled)
            return {net.metric: distance, "score": score, **flat_entries(pooled)}, distance if opt.paper else score

        return validate, {"feature_net": {"name": net.name, "sha256": net.sha256}}

    def pictures(self, hands: dict[str, list[Hand]]) -> dict[str, np.ndarray]:
        """{name: uint8 (H, W, 3) picture} for each direction: source | translated | cycle, one row a hand."""
        pictures, ways = {}, {"synthetic": ("StoR", "RtoS"), "real": ("RtoS", "StoR")}
        for source in filter(hands.get, DOMAINS):
            columns = [[hand.image for hand in hands[source]]]
            for direction in ways[source]:
                inputs = [Hand(image, hand.mask) for image, hand in zip(columns[-1], hands[source])]
                columns.append(self.translator(direction).images(inputs))
            rows = trimmed(list(zip(*columns)))
            pictures[f"{source}_translated_cycle"] = sheet(rows, columns=(source, "translated", "cycle"))
        return pictures


class SilNetTask:
    """Training a SilNet; see TranslatorTask."""

    least_validated = 1

    def __init__(self, opt: Namespace, *, amp: Amp, device: torch.device) -> None:
        self.opt, self.frozen = opt, {}
        data = {name: getattr(opt, name) for name in ("dataroot", "synth_root", "real_root", "checkpoints_dir")}
        new = {"model": "geocongan", "name": "geocongan", "silnet": opt.name}
        self.next_command = train_parser().line(new | data)
        self.model = HandSegmenter(base=opt.ngf, lr=opt.lr, beta1=opt.beta1, amp=amp, device=device)

    def training_crop(self, frames: Domains) -> Crop:
        """Silhouette crops. Raises UsageError for images without masks."""
        for domain, part in frames.items():
            if all(frame.mask_origin == WHOLE for frame in part):
                raise UsageError(f"SilNet learns from masks, and the {domain} images have none; see docs/data.md")
        return silhouette_crop

    def create_validation(self, frames: Domains) -> tuple[Validate, dict]:
        """The scores: means over 256 regions, iou_synthetic, iou_real, boundary_f_...; 1 - mean IoU is to be minimised."""
        regions = {domain: HandRegions(part) for domain, part in frames.items()}

        def validate() -> tuple[dict[str, float], float]:
            scores: dict[str, float] = {}
            for domain in DOMAINS:
                hands = regions[domain].readable(num_workers=self.opt.num_workers)
                pairs = [
                    (silhouette, hand.mask)
                    for _, batch in same_sized_batches(hands, VALIDATION_BATCH)
                    for silhouette, hand in zip(self.silhouettes(batch), batch)
                ]
                scores[f"iou_{domain}"] = float(np.mean([iou(*pair) for pair in pairs]))
                scores[f"boundary_f_{domain}"] = float(np.mean([boundary_f(*pair) for pair in pairs]))
            return scores, 1 - np.mean([scores[f"iou_{domain}"] for domain in DOMAINS]).item()

        return validate, {}

    def silhouettes(self, hands: list[Hand]) -> list[np.ndarray]:
        """What the network sees in hands of one size: masks, bool (H, W)."""
        return silhouettes(self.model.probabilities, [hand.image for hand in hands], self.model.device)

    def pictures(self, hands: dict[str, list[Hand]]) -> dict[str, np.ndarray]:
        """{name: uint8 (H, W, 3) picture} for each domain: image | predicted silhouette | mask, one row a hand."""
        pictures = {}
        for domain in filter(hands.get, DOMAINS):
            rows = []
            for hand in hands[domain]:
                masks = *self.silhouettes([hand]), hand.mask
                rows.append([hand.image, *(np.dstack([mask * np.uint8(255)] * 3) for mask in masks)])
            pictures[f"{domain}_silhouette_mask"] = sheet(trimmed(rows), columns=(domain, "silhouette", "mask"))
        return pictures


def display_hands(frames: Domains) -> dict[str, list[Hand]]:
    """ROWS hands of each domain, evenly spread over its frames, without those that cannot be read."""
    hands = {domain: evenly(HandRegions(part), ROWS) for domain, part in frames.items()}
    return {domain: [hand for hand in row if not isinstance(hand, ImageError)] for domain, row in hands.items()}
