"""JointNet, what it learns from, and what comes with the project."""

import numpy as np
import pytest
import torch
from helpers import write_hands

from data.crops import centred_box, cut
from data.demo import true_pair
from data.frames import find_frames
from data.hands import Hand, whiten
from data.joints import Camera
from models.departures import joint_loss
from models.networks.jointnet import JointNet, load_jointnet
from util.images import to_tensor, write_png
from util.studies import jointnet
from util.studies.jointnet import CENTRES, PaintedHands, heat_maps


def test_heat_maps_by_hand():
    """A joint at (21, 9) lies on the middle of pixel 10 across and 4 down; two pixels of a crop away it is exp(-.5 / 2.5^2 * 4)."""
    (spot,) = heat_maps(np.array([[21.0, 9.0]]))
    assert spot[4, 10] == spot.max() == 1
    assert spot[4, 11] == pytest.approx(np.exp(-0.5 * (2 / 2.5) ** 2))
    assert CENTRES[10] == 21


def test_joints_move_with_the_hand(tmp_path, monkeypatch):
    """A hand of one black pixel block where all its joints are: the darkest place of every crop is where the maps are 1."""
    (frame, *_) = find_frames(dataroot=write_hands(tmp_path, frames=1))["synthetic"]
    image = np.full((96, 96, 3), (14, 255, 14), np.uint8)
    image[20:76, 30:66] = 230
    image[40:45, 50:55] = 0
    write_png(frame.image, image)
    monkeypatch.setattr("util.studies.jointnet.AS_IS", 1.0)  # not painted anew
    hands, found = PaintedHands([frame], Camera(50.0, 50.0, 2.5, -7.5), seed=0), 0  # joints at (1, 1, 1): (52.5, 42.5)
    for k in range(60):
        sample = hands[k]
        light, spot = sample["image"].mean(0), sample["maps"][0]
        if light.min() < -0.9 and spot.max() > 0.9:  # in view
            dark = (light < -0.8).nonzero().float().mean(0) + 0.5
            peak = (spot == spot.max()).nonzero().float().mean(0) * 2 + 1
            assert (dark - peak).abs().max() < 2
            found += 1
    assert found > 4


def test_what_comes_with_the_project_sees_poses_and_not_looks():
    """The demo's hands, which it has not learnt from: their negative in grey is nearer to their real look than any other hand is."""
    net, looks, pairs = load_jointnet(), [], []
    for number in range(6):
        path = f"female_noobject/seq01/cam01/01/{number:08d}_color.png"
        picture, mask = true_pair(path)
        real = whiten(picture, mask)
        grey = whiten(np.repeat(255 - picture.mean(-1, keepdims=True), 3, -1).astype(np.uint8), mask)
        for images, image in ((looks, real), (pairs, grey)):
            images.append(to_tensor(cut(Hand(image, mask), centred_box(mask, 256, 256)).image))
    with torch.no_grad():
        looks, pairs = net(torch.stack(looks)), net(torch.stack(pairs))
    losses = torch.tensor([[joint_loss(b, a) for b in pairs] for a in looks])
    others = losses + torch.diag(torch.full((6,), torch.inf))
    assert (losses.diagonal() < 0.5 * others.min(1).values).all()


def test_parameters_and_sizes():
    net = JointNet()
    assert sum(each.numel() for each in net.parameters()) == 1_087_125
    for side, half in ((32, 16), (64, 32), (96, 24), (128, 32), (131, 32)):
        assert net(torch.zeros(1, 3, side, side)).shape == (1, 21, half, half)


def test_its_command_trains_and_saves_weights_that_load(demo_run, tmp_path, run_main, monkeypatch):
    flags = ("--dataroot", demo_run / "data", "--output", tmp_path, "--steps", 2, "--num_workers", 0)
    status, said = run_main(jointnet.main, *flags)
    assert status == 0, said
    monkeypatch.setattr("models.networks.jointnet.WEIGHTS", tmp_path / "jointnet.pt")
    assert load_jointnet()(torch.zeros(1, 3, 64, 64)).isfinite().all()
