"""What test.py does with one run: translate the frames of a split or a folder, write the files, and score them.

Each region is read, translated, written and measured in one pass, in memory. Before that, `hand_scale` looks at hands until it
meets a large one, as lengths depend on their scale.
"""

import logging
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest

import numpy as np

from data.checks import check_masks
from data.crops import centred_box, cut
from data.demo import is_demo, true_pair
from data.frames import DOMAINS, Domains, frames_in_folder
from data.hands import Hand, whiten
from data.joints import Camera, joints_in, region_depth
from data.listing import WHOLE, sentence
from data.samples import TEST_CROP, HandRegions, Region
from models.features.registry import FeatureNet
from models.load import TrainedSilNet, Translator
from models.translation import TranslatedHand, composite_hand
from util.drawing import evenly
from util.errors import UsageError
from util.images import FORMATS, write_png
from util.results import selection, write
from util.results.pages import as_text, scores_table, verdict
from util.results.write import Tested, Written
from util.scores import metrics
from util.scores.appearance import hand_scale
from util.scores.baselines import BASELINES
from util.scores.distances import closed
from util.scores.features import FeatureCache, Features, patch_crop, score
from util.scores.metrics import Figures, View
from util.scores.silhouettes import shapes
from util.scores.structure import SourceEdges
from util.scores.tracker import BLURS, Tracker, judge
from util.workers import in_threads, progress

PHOTOGRAPHS = 200  # of the train split, whose statistics the baselines take
log = logging.getLogger(__name__)


@dataclass
class Measures:
    """What is measured of a split while its regions pass: features for the distances, and figures of single hands."""

    opt: Namespace
    net: FeatureNet
    silnet: TrainedSilNet | None
    tracker: Tracker | None
    demo: bool  # whose translations have true pairs
    scale: float  # of lengths, by hand_scale
    camera: Camera | None  # of the sources' joints
    photographs: list[Hand]  # whose statistics the baselines take

    def __post_init__(self) -> None:
        opt, net = self.opt, self.net
        self.kid = {"kid_subset_size": opt.kid_subset_size, "kid_subsets": opt.kid_subsets}
        self.baselines = BASELINES if opt.baselines else {}
        self.cache = FeatureCache(opt.results_dir / "features", net)
        parts = {"real": self.cache, "generated": None, "source": self.cache} | dict.fromkeys(self.baselines)
        self.features = {part: (Features(net, cache), Features(net, cache)) for part, cache in parts.items()}
        self.figures: dict[str, list[Figures]] = {part: [] for part in parts}
        self.seen: dict[str, list] = {part: [] for part in parts}  # by the tracker
        self.joints: list[np.ndarray | None] = []  # of the sources

    def add(self, part: str, image: np.ndarray, mask: np.ndarray, figures: Figures) -> None:
        """Take the next image of a part."""
        whole, patches = self.features[part]
        whole.add(image)
        patches.add(patch_crop(image, mask, seed=(0, len(self.figures[part]))))
        self.figures[part].append(figures)
        if self.tracker:
            self.seen[part].append([self.tracker(image, blur) for blur in BLURS])

    def entries(self) -> tuple[dict, dict[str, list[float | None]]]:
        """(the entries of metrics.json, with those of untranslated sources under "baseline" and of photographs under "real";
        {key: values of single images})."""
        rows = {part: [each.rows() for each in features] for part, features in self.features.items()}
        self.cache.save()
        real, real_patch = rows["real"]
        metric = self.net.metric

        def compare(part: str) -> dict:
            whole, patch = rows[part]
            inside = score(real_patch, patch, self.net, **self.kid)
            patches = {f"{metric}_patch": inside[metric], "floor_patch": inside["floor"]}
            found = score(real, whole, self.net, **self.kid) | patches
            if self.tracker:
                found["tracker"] = judge(self.seen[part], self.joints)
            return found | metrics.entries(self.figures[part], self.figures["real"])

        untranslated = compare("source")

        def against(part: str) -> dict:
            found = compare(part)
            for gained, key, least in ("closed", metric, "floor"), ("closed_patch", f"{metric}_patch", "floor_patch"):
                found[gained] = closed(found[key], untranslated[key], found[least])
            return found

        found = against("generated") | {"hand_scale": self.scale, "baseline": untranslated}
        found["real"] = metrics.entries(self.figures["real"], self.figures["real"])
        if self.baselines:
            found["baselines"] = {name: against(name) for name in self.baselines}
        if self.tracker:
            found["real"]["tracker"] = judge(self.seen["real"])
            found["camera"] = self.camera and asdict(self.camera)
        return found, metrics.single(self.figures["generated"])


def translate_split(
    opt: Namespace,
    name: str,
    model: Translator,
    frames: Domains,
    net: FeatureNet | None,
    silnet: TrainedSilNet | None,
    tracker: Tracker | None,
) -> Tested:
    """Translate the frames by one run, write the results folder, and score them."""
    run = model.options
    domain, other = domains = DOMAINS if opt.direction == "StoR" else DOMAINS[::-1]
    tested = Tested(selection.results_folder(opt, name), domains)
    selection.open_folder(tested.folder, None)
    crop = TEST_CROP if opt.crop else None
    sources = HandRegions(write.in_path_order(frames[domain]), crop=crop)
    targets = HandRegions(write.in_path_order(frames[other]), crop=crop)
    if silnet and run.extend_colors:
        log.warning("%s was trained with extend_colors: shape scores also see what it paints beside hands", name)
    measures = None
    if net:
        roots = selection.data_roots(opt, run)
        demo = opt.direction == "StoR" and roots["synth_root"] is None and is_demo(roots["dataroot"])
        hands = (hand for part in (targets, sources) for _, hand in part.readable(num_workers=opt.num_workers))
        scale = hand_scale(hand.mask for hand in hands)
        camera = selection.joint_camera(opt, roots, sources.frames) if tracker else None
        train = selection.split_frames(opt, name, run, phase="train")[other] if opt.baselines else []
        photographs = [hand for _, hand in HandRegions(evenly(train, PHOTOGRAPHS), crop=crop).readable()]
        measures = Measures(opt, net, silnet, tracker, demo=demo, scale=scale, camera=camera, photographs=photographs)
    translate_regions(opt, model, sources, tested, measures)
    write_target(opt, targets, tested, measures)
    write.write_grid(tested)
    tested.metrics = {
        "model": run.model,
        "netG": run.netG,
        "netD": run.netD,
        "step": model.step,
        "skipped": {domain: len(sources.skipped), other: len(targets.skipped)},
        "masks": dict(sources.origins),
        "checkpoint": model.checkpoint.name,
        "phase": opt.phase,
        "direction": opt.direction,
        "crop": crop,
    }
    if measures:
        scores, tested.each = measures.entries()
        if shaped := sum(value is not None for value in tested.each.get("shape_iou", ())):
            scores |= {"n_shape": shaped, "silnet": silnet.record()}
        tested.metrics |= scores
        tested.metrics["verdict"] = verdict(tested.metrics)
        log.info("%s: %s\n%s", name, tested.metrics["verdict"], as_text(scores_table({name: tested.metrics})))
        log.info("%d translated against %d %s images", scores["n_generated"], scores["n_real"], other)
    write.write_scores(tested)
    write.write_page(tested.folder, {name: tested})
    log.info("look at %s/index.html and grid.png", tested.folder)
    return tested


def translate_folder(opt: Namespace, name: str, model: Translator) -> None:
    """Translate the images and all images below the folders of --input."""
    reading = selection.data_reading(opt, model.options)
    reading_of = replace(reading, objects=opt.objects, max_dataset_size=opt.max_dataset_size)
    frames = [frame for root in opt.input for frame in frames_in_folder(root, reading_of)]
    if len(opt.input) > 1:  # an image may be in two of them
        base = selection.inputs_folder(opt.input)
        found = {frame.image.resolve(): frame for frame in frames}
        frames = [replace(frame, relative=where.relative_to(base).as_posix()) for where, frame in found.items()]
    if not frames:
        raise UsageError(f"--input {' '.join(map(str, opt.input))} holds no images ({FORMATS} are read)")
    frames = check_masks({"--input": frames})["--input"]
    if reading.load_scale != 1 and "load_scale" not in opt.explicit:
        log.info("images are scaled by %g, as in training; --load_scale 1 leaves their size", reading.load_scale)
    regions = HandRegions(frames, crop=TEST_CROP if opt.crop else None)
    tested = Tested(selection.results_folder(opt, name), DOMAINS if opt.direction == "StoR" else DOMAINS[::-1])
    selection.open_folder(tested.folder, opt.input)
    translate_regions(opt, model, regions, tested)
    log.info("%s", sentence(regions.origins))
    write.write_grid(tested)
    write.write_page(tested.folder, {name: tested})
    log.info("look at %s/index.html and grid.png", tested.folder)


def translate_regions(
    opt: Namespace, model: Translator, regions: HandRegions, tested: Tested, measures: Measures | None = None
) -> None:
    """Translate regions, write and measure them; link --annotations."""
    background = tested.background = opt.background or ("keep" if opt.input else None)
    folder, domain, names = tested.folder, tested.domains[0], write.output_names(regions.frames)
    segment = measures.silnet.segment if measures and measures.silnet else None

    def finish(task: tuple[TranslatedHand, list]) -> tuple[TranslatedHand, list[np.ndarray], list[Figures]]:
        each, silhouettes = task
        name, region, frame = names[each.index], each.source, regions.frames[each.index]
        image = composite_hand(each.image, region) if background else each.image
        write_png(folder / "generated" / name, write.compose(each.image, region, background) if background else image)
        write.write_region(folder, domain, name, region)
        if not measures:
            return each, [], []
        mask, source, truth = known_mask(region), None, None
        if mask is not None:
            source = SourceEdges(region.image, mask, region_depth(frame.image, mask), scale=measures.scale)
        if measures.demo:  # what the translation should look like, cut as the frame is
            picture, pair_mask = true_pair(frame.relative)
            truth = Hand(whiten(picture, pair_mask), pair_mask)
            truth = cut(truth, centred_box(pair_mask, regions.crop, regions.crop)) if regions.crop else truth
            write_png(folder / "true_pairs" / name, truth.image)
        pictures, others = [image, region.image], measures.photographs
        for baseline in measures.baselines.values():
            pictures.append(composite_hand(baseline(region, others[each.index % len(others)]), region))
        views = (
            View(picture, mask, measures.scale, source, truth, seen)
            for picture, seen in zip_longest(pictures, silhouettes)
        )
        return each, pictures, [metrics.measure(view) for view in views]

    hands = model.for_hands(crop_to_hand=opt.crop_to_hand)
    translations = hands.stream(regions, batch_size=opt.batch_size, num_workers=opt.num_workers)
    tasks = ((each, shapes(segment, each, model.device)) for each in translations)
    done = in_threads(finish, tasks, count=opt.num_workers)
    for each, pictures, figures in progress(done, total=len(regions), desc="translating"):
        for part, picture, of_hand in zip(("generated", "source", *BASELINES), pictures, figures):
            measures.add(part, picture, each.source.mask, of_hand)
        if measures and measures.camera:
            measures.joints.append(joints_in(regions.frames[each.index], each.source.box, measures.camera))
        tested.written.append(Written(names[each.index], regions.frames[each.index], each.source.box))
    if not tested.written:
        raise UsageError(f"none of the {len(regions)} {domain} images could be read")
    write.write_regions(folder, tested.written, "generated")
    log.info("%d of %d images translated: %s", len(tested.written), len(regions), folder / "generated")
    if opt.annotations:
        write.link_annotations(folder / "generated", tested.written)


def known_mask(region: Region) -> np.ndarray | None:
    """The region's mask; None where the whole image counts as hand."""
    return None if region.origin == WHOLE else region.mask


def write_target(opt: Namespace, regions: HandRegions, tested: Tested, measures: Measures | None) -> None:
    """Write and measure the regions of the target domain; write their masks, and <domain>/regions.json."""
    folder, domain, names = tested.folder, tested.domains[1], write.output_names(regions.frames)

    def finish(item: tuple[int, Region]) -> tuple[int, Region, Figures]:
        index, region = item
        write.write_region(folder, domain, names[index], region)
        view = measures and View(region.image, known_mask(region), measures.scale)
        return index, region, metrics.measure(view) if view else {}

    hands = regions.readable(num_workers=opt.num_workers)
    done = in_threads(finish, hands, count=opt.num_workers)
    for index, region, figures in progress(done, total=len(regions), desc=f"{domain} images"):
        if measures:
            measures.add("real", region.image, region.mask, figures)
        tested.target.append(Written(names[index], regions.frames[index], region.box))
    if not tested.target:
        raise UsageError(f"none of the {len(regions)} {domain} images could be read")
    write.write_regions(folder / domain, tested.target)
