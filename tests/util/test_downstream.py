"""The downstream study: measures with answers worked by hand, labels that move with their pixels, and a tiny run."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import CPU, draw_hand

import test as test_script
from data.annotated_hands import AnnotatedHands, augmented, cut_out, photograph
from data.hands import Hand
from data.joints import read_joints
from data.loader import collate
from data.pasting import Placement, open_backgrounds, place_hand, place_points
from models.supervised import SIGMA, TASKS, DownstreamNet, keypoint_loss, locate
from options.test_options import parse_test
from util.images import ImageError, read_rgb
from util.runtime import Amp
from util.studies import downstream
from util.studies.downstream import OUTLINE, draw, gap_closed, predict, score


def test_scores_by_hand():
    true = np.zeros((2, 3, 2))
    predicted = np.array([[[3, 4], [0, 0], [9, 9]], [[0, 2], [50, 50], [6, 8]]])
    seen = np.array([[True, True, False], [True, False, True]])
    for size, share in ((40, 0.5), (100, 0.75), (200, 1.0)):  # errors of 5, 0, 2 and 10 pixels
        scores = score("keypoints", predicted, {"joints": true, "seen": seen}, size=size)
        assert scores == {"pck": share, "error": 4.25}
    truth, predicted = np.zeros((2, 2, 4, 4), bool)
    truth[0, :2], truth[1, :, :1] = True, True
    predicted[0, 1:3], predicted[1, :, :2] = True, True  # 4 of 12 pixels in common, and 4 of 8
    assert score("segmentation", predicted, {"mask": truth}, size=4)["iou"] == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_share_of_the_gap_by_hand():
    closed = gap_closed([0.60, 0.62], [0.66, 0.70], [0.70, 0.72])
    assert [closed[key] for key in ("share", "gap", "spread")] == pytest.approx([0.7, 0.1, 0.04])
    assert closed["verdict"] == "translation closes 70 % of the gap (60 % to 80 % over 2 seeds)"
    errors = gap_closed([10.0, 11.0], [9.0, 10.0], [6.0, 7.0], sign=-1)
    assert errors["share"] == pytest.approx(0.25) and errors["gap"] == pytest.approx(4)
    assert gap_closed([0.6, 0.6], [0.55, 0.62], [0.7, 0.7])["share"] == pytest.approx(-0.15)
    single = gap_closed([0.5], [0.6], [0.7])
    assert single["share"] == pytest.approx(0.5) and "by one seed" in single["verdict"]


def test_no_share_of_a_gap_that_may_be_chance():
    narrow = gap_closed([0.60, 0.70], [0.66, 0.70], [0.65, 0.75])  # 0.05 wide, seeds differ by 0.10
    assert narrow["share"] is None and "no wider than the spread" in narrow["verdict"]
    assert narrow["gain"] == pytest.approx(0.03) and narrow["verdict"].endswith("by 1 of 2 seeds")
    assert gap_closed([0.0, 0.6], [0.5, 0.5], [1.0, 0.6])["share"] is None  # wide, but one seed finds none
    assert gap_closed([0.7], [0.6], [0.6])["share"] is None


def dotted_hand(seed: int = 0) -> tuple[Hand, np.ndarray]:
    """A grey blob with a bright 5 x 5 spot, and the spot's centre."""
    _, mask = draw_hand(np.random.default_rng(seed), size=96)
    image = np.full((96, 96, 3), 60, np.uint8)
    rows, columns = np.nonzero(mask)
    y, x = rows.mean().astype(int) + 8, columns.mean().astype(int) - 6
    image[y - 2 : y + 3, x - 2 : x + 3] = 250
    return Hand(image, mask), np.array([x + 0.5, y + 0.5])


def brightest(image: np.ndarray) -> np.ndarray:
    """x, y of the centre of mass of what is brighter than half-way to the brightest."""
    light = image.astype(float).mean(-1)
    weight = np.clip(light - (light.max() + 60) / 2, 0, None)
    rows, columns = np.indices(light.shape) + 0.5
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("placement", [Placement(), Placement(0.05, -0.03, 1.1, True), Placement(zoom=0.6)])
def test_points_are_placed_with_the_hand(placement):
    whole, spot = dotted_hand()
    hand = cut_out(whole, name="x", joints=np.tile(spot, (21, 1)))
    colours, opacity = place_hand(hand.image, hand.mask, size=96, placement=placement)
    placed = place_points(hand.joints, hand.mask, size=96, placement=placement)
    assert np.abs(placed - brightest(colours * (opacity[..., None] > 0.9))).max() < 0.5


def test_only_the_hand_differs_between_sets():
    """Same place in two sets: same background, decoy outline, motion and noise, whatever the hands' colours."""
    bank = open_backgrounds(None, size=128, part="train")
    first = [cut_out(dotted_hand(seed)[0], name=str(seed)) for seed in range(4)]
    second = [hand._replace(image=hand.image // 2) for hand in first]
    a, b = (AnnotatedHands(hands, background=bank, seed=3, train=True) for hands in (first, second))
    for k in (0, 5):
        assert torch.equal(a[k]["mask"], b[k]["mask"]) and torch.equal(a[k]["image"], a[k]["image"])
        far = torch.nn.functional.max_pool2d(a[k]["mask"], 49, 1, 24)[0] == 0  # beyond the blur of the outline
        assert far.any() and torch.equal(a[k]["image"][:, far], b[k]["image"][:, far])
        assert not torch.equal(a[k]["image"], b[k]["image"])
    other = AnnotatedHands(first, background=bank, seed=4, train=True)
    assert not torch.equal(a[0]["image"], other[0]["image"])
    assert not a[0]["seen"].any()  # no joints were given


def test_a_photograph_keeps_its_mean():
    for seed in range(5):
        taken = photograph(np.full((64, 64, 3), 100, np.float32), np.random.default_rng(seed))
        assert taken.dtype == np.uint8 and 84 < taken.mean() < 116


def test_augmentation_changes_colour_contrast_and_bands_but_moves_nothing():
    hand, spot = dotted_hand()
    pictures = [augmented(hand.image.astype(np.float32), np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.abs(brightest(each) - spot).max() < 0.5 for each in pictures)
    means, spreads = (np.array([f(each, axis=(0, 1)) for each in pictures]) for f in (np.mean, np.std))
    assert means.std(0).min() > 10 and np.ptp(means[:, 0] - means[:, 2]) > 10 and spreads.max() > 1.5 * spreads.min()
    assert min(map(np.min, pictures)) >= 0 and max(map(np.max, pictures)) <= 255


def test_unreadable_joints_are_named(tmp_path):
    path = tmp_path / "x_joint_pos.txt"
    for text in (None, "1,2,3", "1," * 62 + "x", "-1," * 62 + "-1"):
        if text:
            path.write_text(text)
        with pytest.raises(ImageError, match="x_joint_pos.txt"):
            read_joints(path)


def test_locate_finds_the_bump_it_was_taught():
    joints, seen = torch.tensor([[[10.5, 20.5], [0.5, 0.5], [31.5, 3.2], [15.0, 15.3]]]), torch.ones(1, 4).bool()
    centres = torch.arange(32) + 0.5
    across, down = (-0.5 * ((centres - joints[..., None]) / 1.5) ** 2).unbind(2)
    logits = down[..., :, None] + across[..., None, :]
    assert (locate(logits) - joints)[0, [0, 3]].abs().max() < 0.2
    assert (locate(logits) - joints).abs().max() < 1.2  # half a bump is missing beyond the border
    batch = {"joints": joints, "seen": seen}
    assert keypoint_loss(logits.roll(4, -1), batch) > keypoint_loss(logits, batch) + 1
    assert keypoint_loss(logits, {"joints": joints + 5, "seen": ~seen}) == 0


@pytest.mark.parametrize("task", TASKS)
def test_a_network_learns_its_set(task):
    """A few steps on two hands bring the loss down by more than half of what can be learnt."""
    torch.manual_seed(0)
    hands = [cut_out(hand, name="x", joints=np.tile(spot, (21, 1))) for hand, spot in map(dotted_hand, (0, 1))]
    bank = open_backgrounds(None, size=32, part="test")
    dataset = AnnotatedHands(hands, background=bank, seed=0, train=False)
    net = DownstreamNet(task, width=4, lr=2e-2, total_steps=40, amp=Amp("off"), device=CPU)
    batch = collate([dataset[k] for k in range(2)])
    losses = [net.training_step(batch)["loss"].item() for _ in range(40)]
    floor = 0.0 if task == "segmentation" else 1 + math.log(2 * math.pi * SIGMA**2)  # a bump's own entropy
    assert losses[-1] - floor < 0.5 * (losses[0] - floor)
    assert net.optimizer.param_groups[0]["lr"] == pytest.approx(0)  # of the step after the last
    opt = parse_test(["--name", "x", "--downstream", task, "--num_workers", "0", "--downstream_batch", "2"])
    assert len(predict(opt, net, dataset)[0]) == 2
    again = DownstreamNet(task, width=4, lr=2e-2, total_steps=40, amp=Amp("off"), device=CPU)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.predict(batch["image"]), net.predict(batch["image"]))


def test_pictures():
    image = np.full((32, 32, 3), 128, np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[:, 16:] = True
    outlined = (draw(image, mask) == OUTLINE).all(-1)
    assert outlined[:, 80].all() and not outlined[:, :80].any() and not outlined[1:-1, 81:-1].any()
    joints = np.tile([16.0, 16.0], (21, 1))
    joints[4] = 30, 30
    assert (draw(image, joints) != draw(image, joints, np.zeros(21, bool))).any()


RUN = ("--name", "run", "--checkpoints_dir")
SMALL = (
    *("--downstream_steps", 2, "--downstream_seeds", 2, "--downstream_size", 64, "--downstream_width", 2),
    *("--downstream_batch", 2, "--num_workers", 0, "--amp", "off", "--device", "cpu"),
)


@pytest.mark.parametrize("task", TASKS)
def test_a_study_from_the_command_line(task, demo_run, tmp_path, run_main):
    flags = (*RUN, demo_run, "--results_dir", tmp_path, "--downstream", task, *SMALL)
    assert run_main(test_script.main, *flags)[0] == 0
    folder = tmp_path / "run" / "downstream" / task
    table, metrics = (folder / "table.md").read_text(), json.loads((folder / "metrics.json").read_text())
    assert all(label in table for label in ("(a) synthetic", "(b) translated", "(a) and (b)", "(c) real"))
    assert set(metrics["scores"]) == ({"iou"} if task == "segmentation" else {"pck", "error"})
    for name, parts in metrics["scores"].items():
        assert list(parts) == ["synthetic", "translated", "both", "real"]
        for part in parts.values():
            assert len(part["values"]) == 2 and part["mean"] == pytest.approx(np.mean(part["values"]))
        assert metrics["gap_closed"][name]["verdict"] in table
    assert (metrics["train_images"], metrics["test_images"]) == (4, 2)  # 7 real hands less 3
    height, width, _ = read_rgb(folder / "samples.png").shape  # two rows of six pictures
    assert 600 <= width <= 1280 and width / 5 < height < width
    assert len(list((folder / "runs").glob("*/log.jsonl"))) == 8 and not list((folder / "runs").rglob("*.pt"))

    again = run_main(test_script.main, *flags)  # replaces the first, with the same figures
    assert again[0] == 0 and json.loads((folder / "metrics.json").read_text()) == metrics


def test_keypoints_of_photographs_are_the_tracker_s(fit, tmp_path, run_main, monkeypatch):
    assert fit("--max_steps", 1)[0] == 0
    flags = (*RUN, tmp_path, "--results_dir", tmp_path, *SMALL, "--downstream")
    status, message = run_main(test_script.main, *flags, "keypoints")  # all joints of this tree are one point
    assert status == 2 and "--camera FX FY CX CY" in message
    camera, looks = ("--camera", 20, 20, 30, 30), []

    def track(image: np.ndarray, blur: float):
        looks.append(image)
        return None if len(looks) == 2 else (np.full((21, 2), 128.0), 0.95 if len(looks) % 3 else 0.4)

    monkeypatch.setattr(downstream, "load_tracker", lambda: track)
    status, message = run_main(test_script.main, *flags, "keypoints", *camera)
    assert status == 0, message
    folder = tmp_path / "run" / "downstream" / "keypoints"
    metrics = json.loads((folder / "metrics.json").read_text())
    numbers = np.arange(1, len(looks) + 1)
    assert metrics["labels"] == "tracker" and "tracker" in (folder / "table.md").read_text()
    sure = (numbers % 3 > 0) & (numbers != 2)
    assert metrics["test_images"] + metrics["train_images"] <= sure.sum()
    assert run_main(test_script.main, *flags, "segmentation")[0] == 0
