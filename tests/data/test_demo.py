"""The procedural demo: what is written agrees with itself, with its true pairs and with the published layout."""

import cv2
import numpy as np
import pytest
from helpers import KEY, contents

from data.demo import BACKGROUND_DEPTH, CAMERA, SIDE, draw_geometry, ensure_demo, frame_names, is_demo, true_pair
from data.demo.hand import surface_nets
from data.joints import BONES, joint_file, project, read_joints
from util.errors import UsageError
from util.images import read_rgb


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "demo"
    ensure_demo(root, num_workers=0, frames_per_camera=2, frames_per_user=1)
    return root


@pytest.fixture(scope="module")
def synthetic(demo):
    """Path, image, depth and joints of each synthetic frame."""
    frames = []
    for color in sorted(demo.glob("SynthHands_Release/*/*/*/01/*_color.png")):
        depth = cv2.imread(str(color).replace("color.png", "depth.png"), cv2.IMREAD_UNCHANGED)
        frames.append((color, read_rgb(color), depth, read_joints(joint_file(color))))
    return frames


@pytest.fixture(scope="module")
def real(demo):
    """Path, image, raw mask and clean mask of each real-look frame."""
    frames = []
    for color in sorted(demo.glob("RealHands/*/color/*_color.png")):
        raw = read_rgb(color.parent.parent / "mask" / color.name.replace("color.png", "mask.png"))[..., 0]
        clean = draw_geometry(color.relative_to(demo / "RealHands").as_posix())[0].mask
        frames.append((color, read_rgb(color), raw, clean))
    return frames


def test_layout_is_the_published_one(demo):
    names = {path.relative_to(demo).as_posix() for path in demo.rglob("*") if path.is_file()}
    assert {
        "SynthHands_Release/female_noobject/seq01/cam01/01/00000000_color.png",
        "SynthHands_Release/male_noobject/seq03/cam02/01/00000001_joint_pos.txt",
        "RealHands/user07/color/image_00000_color.png",
        "RealHands/user07/mask/image_00000_mask.png",
    } <= names
    assert len(names) == 3 * (2 * 3 * 2 * 2 + 7) + 1
    assert is_demo(demo) and not is_demo(demo / "RealHands")
    whole = frame_names()
    assert len(set(whole)) == len(whole) == 1202 and sum(name.startswith("RealHands") for name in whole) == 602


def test_background_is_the_key_colour_where_depth_says_so_and_nowhere_else(synthetic):
    for _, image, depth, _ in synthetic:
        background = (image == KEY).all(-1)
        assert image.shape == (SIDE, SIDE, 3) and depth.dtype == np.uint16
        assert (background == (depth == BACKGROUND_DEPTH)).all()
        assert 0.03 < 1 - background.mean() < 0.5


def test_joints_lie_in_the_hand(synthetic, real):
    inside, total, all_behind = 0, 0, []
    for _, _, depth, joints in synthetic:
        u, v = project(joints, CAMERA).T
        assert (u > 0).all() and (v > 0).all() and (u < SIDE).all() and (v < SIDE).all()
        seen = depth[v.astype(int), u.astype(int)]
        on_hand = seen != BACKGROUND_DEPTH
        inside, total = inside + on_hand.sum(), total + len(u)
        behind = joints[on_hand, 2] - seen[on_hand]  # skin lies before the joint, unless a finger hides it altogether
        assert behind.min() > -6
        all_behind.extend(behind)
    assert inside / total > 0.95
    assert 4 < np.median(all_behind) < 20  # half a finger to half a palm
    for color, _, raw, _ in real:
        u, v = project(read_joints(joint_file(color)), CAMERA).T
        assert (raw > 127)[v.astype(int), u.astype(int)].mean() > 0.85


def test_bone_lengths_belong_to_the_sequence(synthetic):
    lengths = [[np.linalg.norm(joints[a] - joints[b]) for a, b in BONES] for *_, joints in synthetic]
    people = np.reshape(lengths, (6, 4, len(BONES)))  # four frames of each
    assert np.ptp(people, axis=1).max() < 0.02
    assert np.abs(people[:, None, 0] - people[None, :, 0]).max(-1)[~np.eye(6, dtype=bool)].min() > 0.5


def test_true_pair_has_the_synthetic_frames_very_silhouette(demo, synthetic):
    for color, image, *_ in synthetic[::5]:
        path = color.relative_to(demo / "SynthHands_Release").as_posix()
        pair, mask = true_pair(path)
        assert (pair == true_pair(path)[0]).all()
        assert pair.dtype == np.uint8 and mask.dtype == bool
        assert (mask == (image != KEY).any(-1)).all()
        assert (pair[~mask] == 255).all()
        hand = pair[mask].astype(int)
        assert (hand[:, 0] >= hand[:, 2]).mean() > 0.98  # skin is redder than blue
        assert not (pair[mask] == image[mask]).all()


def test_raw_masks_are_spoilt_and_the_screen_is_green_and_uneven(real):
    for _, image, raw, clean in real:
        overlap = ((raw > 127) & clean).sum() / ((raw > 127) | clean).sum()
        assert 0.9 < overlap < 1
        assert len(np.unique(raw)) > 20  # grey borders: not binary
        assert cv2.connectedComponents((raw > 127).astype(np.uint8))[0] > 2  # speckle or stray blobs
        screen = image[~cv2.dilate(clean.astype(np.uint8), np.ones((9, 9))).astype(bool)].astype(int)
        assert (screen[:, 1] > screen[:, [0, 2]].max(1)).mean() > 0.99
        assert screen[:, 1].std() > 3


def test_an_interrupted_demo_goes_on_to_the_same_bytes(demo, tmp_path):
    files, root, part = contents(demo), tmp_path / "demo", tmp_path / ".demo.part2"
    for path in files:
        if "cam01" in path.parts or "user01" in path.parts:
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_bytes(files[path])
    ensure_demo(root, num_workers=2, frames_per_camera=2, frames_per_user=1)
    assert contents(root) == files and not part.exists()
    ensure_demo(root)  # complete: nothing is added
    assert len(contents(root)) == len(files)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "0_color.png").write_bytes(b"photograph")
    with pytest.raises(UsageError, match="not the demo"):
        ensure_demo(tmp_path, num_workers=0, frames_per_camera=1, frames_per_user=1)
    assert len(contents(tmp_path)) == 1


def test_domains_share_no_pose():
    def angles(geometry):  # joints without place, size and side
        joints = geometry.joints - geometry.joints[0]
        flat = np.linalg.norm(joints[:, None] - joints[None], axis=-1)
        return flat / flat[0, 9]

    names = "male_noobject/seq01/cam01/01/{:08d}_color.png", "user01/color/image_{:05d}_color.png"
    synthetic, real = ([angles(draw_geometry(name.format(i))[0]) for i in range(6)] for name in names)
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
