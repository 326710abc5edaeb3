"""The procedural demo: what is written agrees with itself, with its true pairs and with the published layout."""

import json

import cv2
import numpy as np
import pytest

from data.demo import BACKGROUND_DEPTH, CAMERA, KEY_COLOUR, ensure_demo, is_demo, plan_frames, true_pair
from data.demo.surface import surface_nets
from data.demo.write import real_geometry, synthetic_geometry
from util.errors import UsageError
from util.images import read_grey, read_rgb

BONES = [(0, 1 + 4 * f) for f in range(5)] + [(4 * f + i, 4 * f + i + 1) for f in range(5) for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    ensure_demo(root, num_workers=0, frames_per_camera=2, frames_per_user=1)
    return root


def _joints(path):
    return np.array(path.read_text().split(","), float).reshape(21, 3)


def _project(joints):
    return CAMERA.fx * joints[:, 0] / joints[:, 2] + CAMERA.cx, CAMERA.fy * joints[:, 1] / joints[:, 2] + CAMERA.cy


def _synthetic(root):
    for color in sorted(root.glob("SynthHands_Release/*/*/*/01/*_color.png")):
        stem = str(color).removesuffix("_color.png")
        depth = cv2.imread(stem + "_depth.png", cv2.IMREAD_UNCHANGED)
        yield color, read_rgb(color), depth, _joints(color.with_name(color.name.replace("color.png", "joint_pos.txt")))


def test_layout_is_the_published_one(demo):
    names = {path.relative_to(demo).as_posix() for path in demo.rglob("*") if path.is_file()}
    assert "SynthHands_Release/female_noobject/seq01/cam01/01/00000000_color.png" in names
    assert "SynthHands_Release/male_noobject/seq03/cam02/01/00000001_joint_pos.txt" in names
    assert {
        "RealHands/user07/color/image_00000_color.png",
        "RealHands/user07/mask/image_00000_mask.png",
        "RealHands/user07/joints/image_00000_joint_pos.txt",
    } <= names
    assert len(names) == 3 * (2 * 3 * 2 * 2 + 7) + 1
    counts = json.loads((demo / "demo.json").read_text())["counts"]
    assert (counts["SynthHands_Release"], counts["RealHands"]) == (24, 7)
    assert is_demo(demo) and not is_demo(demo / "RealHands")


def test_the_full_plan_has_at_least_500_frames_a_side_and_no_name_twice():
    frames = plan_frames()
    names = [name for frame in frames for name in frame.files]
    assert len(set(names)) == len(names)
    assert min(sum(frame.domain == d for frame in frames) for d in ("SynthHands_Release", "RealHands")) >= 500


def test_background_is_the_key_colour_where_depth_says_so_and_nowhere_else(demo):
    for _, image, depth, _ in _synthetic(demo):
        background = (image == KEY_COLOUR).all(-1)
        assert image.shape == (CAMERA.height, CAMERA.width, 3) and depth.dtype == np.uint16
        assert (background == (depth == BACKGROUND_DEPTH)).all()
        assert 0.03 < 1 - background.mean() < 0.5


def test_joints_lie_in_the_hand(demo):
    inside, total, all_behind = 0, 0, []
    for _, _image, depth, joints in _synthetic(demo):
        u, v = _project(joints)
        assert (u > 0).all() and (v > 0).all() and (u < CAMERA.width).all() and (v < CAMERA.height).all()
        column, row = u.astype(int), v.astype(int)
        seen = depth[row, column]
        on_hand = seen != BACKGROUND_DEPTH
        inside, total = inside + on_hand.sum(), total + len(u)
        behind = joints[on_hand, 2] - seen[on_hand]  # skin lies before the joint, unless a finger hides it altogether
        assert behind.min() > -6
        all_behind.extend(behind)
    assert inside / total > 0.95
    assert 4 < np.median(all_behind) < 20  # half a finger to half a palm


def test_real_look_joints_lie_in_the_hand(demo):
    for path in sorted(demo.glob("RealHands/*/joints/*_joint_pos.txt")):
        u, v = _project(_joints(path))
        mask = read_grey(path.parent.parent / "mask" / path.name.replace("joint_pos.txt", "mask.png")) > 127
        assert mask[v.astype(int), u.astype(int)].mean() > 0.85


def test_bone_lengths_belong_to_the_sequence(demo):
    lengths = {}
    for color, *_, joints in _synthetic(demo):
        bones = [np.linalg.norm(joints[a] - joints[b]) for a, b in BONES]
        lengths.setdefault(color.parts[-5:-3], []).append(bones)
    assert len(lengths) == 6
    for frames in lengths.values():
        assert len(frames) == 4
        np.testing.assert_allclose(frames, [frames[0]] * 4, atol=0.01)
    people = np.array([frames[0] for frames in lengths.values()])
    assert np.abs(people[:, None] - people[None]).max(-1)[~np.eye(6, dtype=bool)].min() > 0.5


def test_true_pair_has_the_synthetic_frames_very_silhouette(demo):
    for color, image, *_ in list(_synthetic(demo))[::5]:
        pair, mask = true_pair(color.relative_to(demo / "SynthHands_Release").as_posix())
        assert pair.dtype == np.uint8 and mask.dtype == bool
        assert (mask == (image != KEY_COLOUR).any(-1)).all()
        assert (pair[~mask] == 255).all()
        hand = pair[mask].astype(int)
        assert (hand[:, 0] >= hand[:, 2]).mean() > 0.98  # skin is redder than blue
        assert not (pair[mask] == image[mask]).all()


def test_true_pair_is_the_same_every_time():
    path = "male_noobject/seq02/cam01/01/00000007_color.png"
    first, second = true_pair(path), true_pair(path)
    assert (first[0] == second[0]).all() and (first[1] == second[1]).all()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "female_noobject/seq01/cam01/01/00000000_depth.png",
        "female_noobject/seq09/cam01/01/00000000_color.png",
        "SynthHands_Release/female_noobject/seq01/cam01/01/00000000_color.png",
        "male_noobject/seq01/cam01/01/99999999_color.png",
    ],
)
def test_true_pair_refuses_other_paths(path):
    with pytest.raises(ValueError, match="no frame of the demo"):
        true_pair(path)


def test_raw_masks_are_close_to_the_hand_but_spoilt(demo):
    for path in sorted(demo.glob("RealHands/*/mask/*_mask.png")):
        raw = read_grey(path)
        color = path.parent.parent / "color" / path.name.replace("mask.png", "color.png")
        clean = real_geometry(color.relative_to(demo / "RealHands").as_posix())[0].mask
        overlap = ((raw > 127) & clean).sum() / ((raw > 127) | clean).sum()
        assert 0.9 < overlap < 1
        assert len(np.unique(raw)) > 20  # grey borders: not binary
        assert cv2.connectedComponents((raw > 127).astype(np.uint8))[0] > 2  # speckle or stray blobs


def test_real_look_screen_is_green_and_uneven(demo):
    for path in sorted(demo.glob("RealHands/*/color/*_color.png")):
        image = read_rgb(path)
        clean = real_geometry(path.relative_to(demo / "RealHands").as_posix())[0].mask
        screen = image[~cv2.dilate(clean.astype(np.uint8), np.ones((9, 9))).astype(bool)].astype(int)
        assert (screen[:, 1] > screen[:, [0, 2]].max(1)).mean() > 0.99
        assert screen[:, 1].std() > 3


def test_what_is_missing_is_written_again_to_the_same_bytes(demo):
    files = sorted(path for path in demo.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    kept = {path: path.stat().st_mtime_ns for path in files[1::2] if path.name != "demo.json"}
    for path in files[::2]:
        path.unlink()
    (demo / "demo.json").unlink(missing_ok=True)
    (demo / "RealHands/user01/color/.part-left").write_bytes(b"half")
    ensure_demo(demo, num_workers=2, frames_per_camera=2, frames_per_user=1)
    assert {path: path.read_bytes() for path in demo.rglob("*") if path.is_file()} == before
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    ensure_demo(demo, num_workers=2)  # complete as its marker counts: nothing is added
    assert sorted(path for path in demo.rglob("*") if path.is_file()) == files


def test_a_folder_with_other_hands_is_refused(tmp_path):
    other = tmp_path / "RealHands/anna/color/0_color.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"photograph")
    with pytest.raises(UsageError, match="anna"):
        ensure_demo(tmp_path, num_workers=0, frames_per_camera=1, frames_per_user=1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]


def test_domains_share_no_pose():
    def angles(geometry):  # joints without place, size and side
        joints = geometry.joints - geometry.joints[0]
        flat = np.linalg.norm(joints[:, None] - joints[None], axis=-1)
        return flat / flat[0, 9]

    synthetic = [angles(synthetic_geometry(f"male_noobject/seq01/cam01/01/{i:08d}_color.png")) for i in range(6)]
    real = [angles(real_geometry(f"user01/color/image_{i:05d}_color.png")[0]) for i in range(6)]
    assert min(np.abs(a - b).max() for a in synthetic for b in real) > 0.05


def test_surface_nets_on_a_ball():
    grid = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), -1)
    vertices, faces = surface_nets((np.linalg.norm(grid - 11.7, axis=-1) - 8).astype(np.float32))
    assert np.abs(np.linalg.norm(vertices - 11.7, axis=1) - 8).max() < 0.35
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6  # positive: triangles face outwards
    assert volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.04)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed
