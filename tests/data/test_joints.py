"""Joints in translated images: the cameras, the way through regions.json, and real joints on real hands."""

import json
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest
from helpers import draw_hand

from data.frames import Reading, find_frames
from data.hands import read_hand
from data.joints import SYNTHHANDS, Camera, into_region, joint_file, load_regions, main, project, read_joints
from data.samples import HandRegions
from util.files import write_json
from util.images import write_png
from util.results.write import Written, write_regions

HANDS_CAMERA = Camera(fx=330, fy=330, cx=128, cy=128)


def test_synthhands_colour_camera_and_a_region_by_hand():
    """A joint on the depth camera's axis, half a metre away: shifted by (24.7, -0.0471, 3.72) mm, then 617.173 x / z."""
    (x, y) = project([0.0, 0.0, 500.0], SYNTHHANDS)
    assert x == pytest.approx(617.173 * 24.7 / 503.72 + 315.453)
    assert y == pytest.approx(617.173 * -0.0471 / 503.72 + 242.259)
    region = {"box": [-10, 40, 256, 256], "scale": 0.5}
    assert into_region([[0, 40], [10, 60]], region).tolist() == [[5, 0], [10, 10]]


def entry(frame, region, tmp_path):
    write_regions(tmp_path, [Written(PurePosixPath("a.png"), frame, region.box)], "generated")
    return load_regions(tmp_path)[0]


@pytest.mark.parametrize("crop", [None, 128, 256])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5])
def test_a_marked_pixel_is_found_where_regions_json_says(tmp_path, crop, scale):
    """Of whole frames and crops, within the image and beyond it, at any scale: a red dot lies where it is expected."""
    image, _ = draw_hand(np.random.default_rng(3), size=180)
    image = np.concatenate([image, np.full((180, 120, 3), (14, 255, 14), np.uint8)], axis=1)
    dot = (74, 96)  # x, y
    cv2.rectangle(image, (dot[0] - 3, dot[1] - 3), (dot[0] + 3, dot[1] + 3), (255, 0, 0), -1)
    write_png(tmp_path / "SynthHands_Release" / "female_noobject" / "seq01" / "0_color.png", image)
    write_png(tmp_path / "RealHands" / "u" / "color" / "1.png", image)
    write_png(tmp_path / "RealHands" / "u" / "mask" / "1.png", np.arange(300)[None].repeat(180, 0) < 150)
    frame = find_frames(dataroot=tmp_path, reading=Reading(load_scale=scale))["synthetic"][0]
    region = HandRegions([frame], crop=crop)[0]
    red = np.abs(region.image.astype(int) - (255, 0, 0)).max(axis=-1) < 60
    y, x = (np.flatnonzero(red.any(axis=axis)) for axis in (1, 0))
    seen = np.array([(x[0] + x[-1] + 1) / 2, (y[0] + y[-1] + 1) / 2])
    expected = into_region(np.array(dot) + 0.5, entry(frame, region, tmp_path))
    assert np.abs(seen - expected).max() <= 0.5 + 0.5 * (scale != 1)


@pytest.mark.parametrize(("middle", "warned"), [("32", False), ("5", True)])
def test_joints_off_the_hands_are_told(tmp_path, monkeypatch, caplog, middle, warned):
    """All joints lie on the camera's axis: on the hand, or beside it."""
    hand = np.zeros((64, 64), bool)
    hand[20:44, 20:44] = True
    (tmp_path / "0_joint_pos.txt").write_text(",".join(["0,0,500"] * 21))
    region = {"file": "generated/a.png", "source": str(tmp_path / "0_color.png"), "box": [0, 0, 64, 64], "scale": 1.0}
    write_json(tmp_path / "regions.json", [region])
    write_png(tmp_path / "generated" / "a.png", np.full((64, 64, 3), 9, np.uint8))
    write_png(tmp_path / "masks" / "synthetic" / "a.png", hand)
    monkeypatch.setattr("sys.argv", ["joints", str(tmp_path), "--camera", "10", "10", middle, middle])
    main()
    assert ("0 % of the joints lie on the hands" in caplog.text) == warned
    assert json.loads((tmp_path / "joints.json").read_text())["generated/a.png"][20] == [float(middle)] * 2


@pytest.mark.parametrize("crop", [None, 256, 160])
def test_real_joints_lie_on_the_hand_in_frames_and_crops(real_hands, tmp_path, crop):
    """The way through regions.json against the camera moved along with the crop, and both against the hand itself."""
    frames = find_frames(dataroot=real_hands)["synthetic"][::101]
    regions = HandRegions(frames, crop=crop)
    distances, on_hand = [], []
    for place, frame in enumerate(frames):
        region = regions[place]
        joints = read_joints(joint_file(frame.image))
        points = into_region(project(joints, HANDS_CAMERA), entry(frame, region, tmp_path))
        moved = Camera(330, 330, 128 - region.box[0], 128 - region.box[1])
        distances.append(np.linalg.norm(points - project(joints, moved), axis=-1).mean())
        inside = ((points >= 0) & (points < region.mask.shape[::-1])).all(axis=-1)
        x, y = np.floor(points[inside]).astype(int).T
        on_hand.append(region.mask[y, x].sum() / len(points))
        columns, rows = np.floor(project(joints, HANDS_CAMERA)[inside]).astype(int).T
        assert (region.mask[y, x] == read_hand(frame).mask[rows, columns]).all()
    assert np.mean(distances) < 0.5
    assert np.mean(on_hand) > (0.9 if crop != 160 else 0.6)
