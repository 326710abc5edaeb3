"""SilNet: the network, its training, and what it measures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import CPU, TINY, command, draw_hand, photographed_hands, same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import test as test_script
import train
from data.crops import silhouette_crop
from data.frames import find_frames
from data.hands import Hand
from data.samples import HandRegions
from models.load import TrainedSilNet, load_silnet
from models.losses import geometric_loss
from models.networks.silnet import SilNet
from models.translation import HandTranslator
from util.checkpoint_file import load_checkpoint
from util.errors import UsageError
from util.images import read_rgb, write_png
from util.scores.metrics import View, entries, measure
from util.scores.silhouettes import shapes

SMALL = ["--model=silnet", "--ngf=8", "--crop_size=48", "--batch_size=2", "--lr=0.01", "--amp=off", "--num_workers=0"]
SMALL += ["--log_freq=1", "--display_freq=0", "--val_interval=0"]


@pytest.mark.parametrize("size", [(37, 50), (9, 8)])
def test_any_size_and_any_number_of_channels(size):
    out = SilNet(in_channels=4, out_channels=5, base=2, levels=4).eval()(torch.rand(2, 4, *size))
    assert out.shape == (2, 5, *size) and out.dtype == torch.float32


def test_a_logit_depends_on_its_surroundings_alone():
    """Not on the image's size, so that what is learnt on crops holds on whole frames."""
    assert sum(p.numel() for p in SilNet().parameters()) == 1_864_129
    torch.manual_seed(0)
    net = SilNet(base=4).eval()
    frame = torch.rand(1, 3, 120, 120)
    with torch.inference_mode():
        whole, crop = net(frame), net(frame[..., 20:100, 20:100])
    assert torch.allclose(whole[..., 50:70, 50:70], crop[..., 30:50, 30:50], atol=1e-6)
    assert not torch.allclose(whole[..., 20:22, 50:70], crop[..., 0:2, 30:50], atol=1e-6)


def test_crops_repeat_and_their_ground_is_light_whatever_the_hand_is_painted():
    hand = Hand(*draw_hand(np.random.default_rng(0), background=(255, 255, 255)))
    crops, again = ([silhouette_crop(hand, 48, np.random.default_rng(seed)) for seed in range(60)] for _ in range(2))
    for first, second in zip(crops, again):
        assert np.array_equal(first.image, second.image) and np.array_equal(first.mask, second.mask)
        assert first.image.shape == (48, 48, 3) and first.image.dtype == np.uint8 and first.mask.shape == (48, 48)
    on, beside = ([c.image[c.mask == side].mean() for c in crops if (c.mask == side).any()] for side in (True, False))
    assert min(beside) > 200 and np.median(on) < 170


@pytest.fixture(scope="module")
def runs(hands_root, tmp_path_factory) -> Path:
    """A folder of runs: "silnet", a small SilNet that has learnt the drawn blobs."""
    runs = tmp_path_factory.mktemp("runs")
    where = ("--name", "silnet", "--dataroot", hands_root, "--checkpoints_dir", runs)
    watch = ("--max_steps", 50, "--display_freq", 50, "--val_interval", 4, "--n_epochs", 20)
    assert command(train.main, *where, *SMALL, *watch) == 0
    return runs


@pytest.fixture(scope="module")
def silnet(runs) -> TrainedSilNet:
    return load_silnet("silnet", checkpoints_dir=runs, device=CPU)


def test_it_learns_both_domains(runs):
    folder = runs / "silnet"
    lines = [json.loads(line) for line in (folder / "log.jsonl").open()]
    steps = [line for line in lines if "loss" in line]
    assert {"loss", "synthetic_loss", "real_loss", "seconds"} <= set(steps[0])
    assert steps[-1]["loss"] < steps[0]["loss"] / 2
    scores = [line for line in lines if "iou_real" in line]
    assert scores[-1]["iou_synthetic"] > 0.9 and scores[-1]["iou_real"] > 0.9
    best = max(scores, key=lambda line: line["iou_synthetic"] + line["iou_real"])
    assert load_checkpoint(folder / "best.pt")["step"] == best["step"]
    for domain in ("synthetic", "real"):
        assert read_rgb(folder / f"{domain}_silhouette_mask.png").shape[1] > 3 * 256
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    groups = {"1_scores", "2_losses", "4_speed_and_memory"}
    assert {tag.partition("/")[0] for tag in board.Tags()["scalars"]} == groups
    options = yaml.safe_load((folder / "options.yaml").read_text())
    assert (options["lr"], options["beta1"], options["ngf"]) == (0.01, 0.9, 8)
    assert options["resolved"]["parameters"]["SilNet"] > 0 and "netG" not in options and "lambda_cycle" not in options


def resumes_exactly(folder, *flags: object) -> bool:
    """Whether two steps and one with another after it end alike."""
    start = (train.main, "--checkpoints_dir", folder, *flags, "--name")
    assert command(*start, "straight", "--max_steps", 2) == command(*start, "resumed", "--max_steps", 1) == 0
    assert command(*start, "resumed", "--max_steps", 2, "--continue_train") == 0
    straight, resumed = (load_checkpoint(folder / name / "latest.pt") for name in ("straight", "resumed"))
    return straight["step"] == 2 and same(straight, resumed)


def test_resuming_is_exact(hands_root, tmp_path):
    assert resumes_exactly(tmp_path, "--dataroot", hands_root, *SMALL)


def test_a_checkpoint_is_found_by_name_folder_and_file(runs, silnet, tmp_path):
    kept = tmp_path / "kept.pt"
    kept.write_bytes((runs / "silnet" / "best.pt").read_bytes())
    before = torch.get_rng_state()
    for where in (str(runs / "silnet"), str(kept)):
        other = load_silnet(where, checkpoints_dir=tmp_path, device=CPU)
        assert other.sha256 == silnet.sha256
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(UsageError, match="neither a file"):
        load_silnet("nowhere", checkpoints_dir=tmp_path, device=CPU)


def moved(images, masks):
    """The hand 5 pixels to the right."""
    return torch.where(torch.arange(images.shape[-1]) < 5, torch.ones(()), images.roll(5, -1))


def blotch(images, masks):
    """A skin-coloured patch beside the hand."""
    out = images.clone()
    out[..., 4:44, 4:44] = torch.tensor([0.6, 0.2, 0.0])[:, None, None]
    return torch.where(masks > 0.5, images, out)


def littered(images, masks):
    """Coarse noise all around the hand."""
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.where(masks > 0.5, images, torch.nn.functional.interpolate(noise, images.shape[-2:]))


def recoloured(images, masks):
    """The hand in other colours, as it should be translated, and the ground a little off white."""
    return torch.where(masks > 0.5, (0.6 * images.flip(1) - 0.2).clamp(-1, 1), 0.92)


@pytest.fixture(scope="module")
def shape_of(hands_root, silnet):
    """shape_of(generator, crop_to_hand=False) -> its entries on the synthetic hands, with "baseline"."""
    regions = HandRegions(find_frames(dataroot=hands_root)["synthetic"], crop=96)

    def scores(generate, *, crop_to_hand: bool = False) -> dict:
        sides = [], []
        for each in HandTranslator(generate, CPU, masked=True, crop_to_hand=crop_to_hand).stream(regions):
            assert np.array_equal(each.image[~each.source.mask], each.source.image[~each.source.mask])
            for side, shape in zip(sides, shapes(silnet.segment, each, CPU)):
                side.append(measure(View(each.image, each.source.mask, silhouette=shape)))
        return entries(sides[0], []) | {"baseline": entries(sides[1], [])}

    return scores


@pytest.mark.parametrize("crop_to_hand", [False, True])
def test_the_measures_see_spoilt_shapes_and_no_others(shape_of, crop_to_hand):
    same_image = shape_of(lambda images, masks: images, crop_to_hand=crop_to_hand)
    ceiling = same_image["baseline"]
    for name in ("shape_iou", "boundary_f"):
        assert same_image[name] == ceiling[name] > 0.9
    for generate in (moved, blotch, littered):
        scores = shape_of(generate, crop_to_hand=crop_to_hand)
        assert scores["shape_iou"] < ceiling["shape_iou"] - 0.08, generate.__name__
        assert scores["boundary_f"] < ceiling["boundary_f"] - 0.15, generate.__name__
    assert shape_of(recoloured, crop_to_hand=crop_to_hand)["shape_iou"] > ceiling["shape_iou"] - 0.03


def test_geometric_loss_by_hand():
    logits, mask = torch.tensor([[[[0.0, 2.0], [-1.0, 30.0]]]]), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    terms = [np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(-1)), 30.0]
    assert geometric_loss(logits, mask).item() == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize(
    "flags", [("--model", "pixcyclegan4"), ("--netD", "pixel", "--mask", "--lambda_geo", "2")], ids=["bare", "masked"]
)
def test_runs_with_it_resume_exactly_and_are_scored(run_main, hands_root, runs, tmp_path, flags):
    """The generators learn from it, SilNet does not; and test.py knows the run's SilNet without being told."""
    best, mine = (runs / "silnet" / "best.pt").read_bytes(), tmp_path / "mine.pt"
    mine.write_bytes(best)
    flags = ("--lambda_geo", 1, "--silnet", mine, "--lr_decay", "none", *flags)
    where = ("--dataroot", hands_root, *TINY, "--crop_size", 64, *flags)
    assert resumes_exactly(tmp_path, *where) and mine.read_bytes() == best
    line = json.loads((tmp_path / "straight" / "log.jsonl").read_text().splitlines()[-1])
    assert line["G_geo"] > 0
    options = yaml.safe_load((tmp_path / "straight" / "options.yaml").read_text())
    assert options["mask"] is ("--mask" in flags) and options["crop_to_hand"] is True
    assert len(options["resolved"]["silnet"]["sha256"]) == 64

    run = ("--name", "straight", "--checkpoints_dir", tmp_path)
    results = ("--results_dir", tmp_path / "results", "--phase", "train", "--num_test", 4)
    machine = ("--feature_net", "random", "--amp", "off", "--num_workers", 0)
    status, said = run_main(test_script.main, *run, *results, *machine)
    assert status == 0 and "shape IoU, unmasked" in said, said
    metrics = json.loads((tmp_path / "results" / "straight" / "train" / "metrics.json").read_text())
    assert 0 <= metrics["shape_iou"] < metrics["baseline"]["shape_iou"] <= 1
    assert 0 <= metrics["boundary_f"] < metrics["baseline"]["boundary_f"] <= 1
    assert metrics["silnet"] == options["resolved"]["silnet"] and metrics["n_shape"] == 4

    mine.write_bytes((runs / "silnet" / "latest.pt").read_bytes())
    status, said = run_main(train.main, *where, *run, "--max_steps", 3, "--continue_train")
    assert status == 2 and "another --silnet" in said


def test_a_silnet_translates_nothing(run_main, runs, tmp_path):
    status, said = run_main(test_script.main, "--name", "silnet", "--checkpoints_dir", runs, "--results_dir", tmp_path)
    assert status == 2 and "translates nothing" in said


def test_without_masks_there_is_nothing_to_learn(run_main, tmp_path):
    for place, (image, _) in enumerate(photographed_hands(8)):
        write_png(tmp_path / f"train{'AB'[place % 2]}" / f"{place}.png", image)
    where = ("--name", "run", "--dataroot", tmp_path, "--checkpoints_dir", tmp_path)
    status, said = run_main(train.main, *where, *SMALL, "--max_steps", 1)
    assert status == 2 and "have none" in said
