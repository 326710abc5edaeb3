"""preprocess_masks.py and data/realhands.py: trees good and bad, resuming, options, exit statuses."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_hands import draw_hand, spoil
from helpers import ROOT
from scipy import ndimage

from data import masks
from data.frames import real_frames
from data.masks import KEPT, RefineOptions
from data.realhands import find_real_frames, judge_frame, photographs, read_report, refine_tree
from options.preprocess_masks_options import parse_preprocess_masks, refine_options
from util.errors import UsageError
from util.files import LOCK_FILE
from util.images import read_mask, read_rgb, write_png


@pytest.fixture(scope="module")
def hands() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Photograph, true mask, raw mask of a few drawn hands."""
    rng = np.random.default_rng(0)
    drawn = [draw_hand(rng, 200, 150) for _ in range(4)]
    return [(rgb, mask, spoil(mask, rng)) for rgb, mask in drawn]


def write_frame(user: Path, name: str, rgb: np.ndarray, mask: np.ndarray | bytes | None) -> None:
    """mask: pixels, a file's content, or None for no file."""
    write_png(user / "color" / f"{name}_color.png", rgb)
    (user / "mask").mkdir(exist_ok=True)
    if isinstance(mask, bytes):
        (user / "mask" / f"{name}_mask.png").write_bytes(mask)
    elif mask is not None:
        write_png(user / "mask" / f"{name}_mask.png", mask)


def write_tree(root: Path, hands: list, n_frames: int = 8) -> Path:
    for i in range(n_frames):
        rgb, _, raw = hands[i % len(hands)]
        write_frame(root / f"user{i % 2}", f"f{i:03d}", rgb, raw)
    return root


SCRIPT = (sys.executable, ROOT / "preprocess_masks.py")


def command(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([*SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def outputs(root: Path) -> dict[str, bytes]:
    """What a run leaves behind."""
    made = [*root.glob("**/mask_refined/*"), root / "masks_report.csv", root / "masks_preview.png"]
    return {str(path.relative_to(root)): path.read_bytes() for path in made if path.exists()}


def refine(root: Path, *, overwrite: bool = False, **options):
    return refine_tree(root, find_real_frames(root), RefineOptions(**options), num_workers=0, overwrite=overwrite)


def sources(root: Path) -> dict[str, tuple[bytes, int]]:
    files = [*root.glob("**/color/*"), *root.glob("**/mask/*")]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_frames_are_found_under_all_their_names(tmp_path):
    odd = "two words\nné"
    for path in (
        "a/color/x_color.png", "a/color/y.jpg", "deep/er/b/color/z.JPEG", f"a/color/{odd}_color.png", "a/color/notes.txt",
        "a/mask/x_mask.png", "a/mask/x.png", "a/masks/y.jpg", "deep/er/b/mask/z_mask.png", "a/mask_refined/x_mask.png",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"-")
    for link, target in (("a/color/broken_color.png", "nowhere.png"), ("a/color/loop_color.png", "loop_color.png")):
        (tmp_path / link).symlink_to(target)
    for link, target in (("again", tmp_path / "a"), ("up", tmp_path)):
        (tmp_path / link).symlink_to(target)
    (tmp_path / "empty/color").mkdir(parents=True)
    frames = find_real_frames(tmp_path)
    found = [(user, name) for user, name, _ in photographs(tmp_path)]
    assert found == [("a", odd), ("a", "x"), ("a", "y"), ("deep/er/b", "z")]
    assert [frame.mask and frame.mask.name for frame in frames] == [None, "x_mask.png", "y.jpg", "z_mask.png"]
    assert [frame.target.exists() for frame in frames] == [False, True, False, False]
    assert find_real_frames(tmp_path / "missing") == []


def test_a_tree_is_refined_and_its_sources_are_left_alone(tmp_path, hands):
    root = write_tree(tmp_path / "RealHands", hands)
    before = sources(root)
    done = command("--dataroot", tmp_path, "--num_workers", "2", "--erode", "0")
    assert done.returncode == 0, done.stderr
    assert "8 frames: 8 kept, 0 dropped" in done.stdout
    assert sources(root) == before
    for i in range(8):
        pixels = cv2.imread(str(root / f"user{i % 2}/mask_refined/f{i:03d}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert pixels.dtype == np.uint8 and set(np.unique(pixels)) == {0, 255}
        assert masks.iou(pixels > 0, hands[i % 4][1]) > 0.92
    row = read_report(root)["user1/color/f001_color.png"]
    assert row.verdict == "kept" and row.source == "mask"
    assert row.area_before == pytest.approx(hands[1][2].mean(), abs=1e-6)
    refined = read_mask(root / "user1/mask_refined/f001_mask.png")
    assert row.area_after == pytest.approx(refined.mean(), abs=1e-6)
    columns = "file,verdict,source,area_before,area_after,contours,change"
    assert (root / "masks_report.csv").read_text().splitlines()[0] == columns
    assert read_rgb(root / "masks_preview.png").shape[1] > 1000
    assert not list(root.glob("**/.part-*"))
    assert [frame.mask_origin for frame in real_frames(root)] == ["mask_refined/"] * 8


def spoilt_masks(raw: np.ndarray) -> dict[str, tuple[bytes | None, str]]:
    """{name: (the mask file's bytes, what the report says of where the refined mask comes from)}"""

    def png(image: np.ndarray) -> bytes:
        return cv2.imencode(".png", image)[1].tobytes()

    rng = np.random.default_rng(1)
    grey = raw.astype(np.uint8) * 255
    height, width = grey.shape
    return {
        "noise": (png(rng.integers(0, 256, grey.shape, dtype=np.uint8)), "chroma key, mask: "),
        "noise_binary": (png((rng.random(grey.shape) > 0.5) * np.uint8(255)), "chroma key, mask: "),
        "black": (png(grey * 0), "chroma key, mask: no hand"),
        "white": (png(grey * 0 + 255), "chroma key, mask: all hand"),
        "missing": (None, "chroma key, mask: missing"),
        "truncated": (png(grey)[:-400], "chroma key, mask: "),
        "cut_tail": (png(grey)[:-12], "mask"),
        "empty_file": (b"", "chroma key, mask: "),
        "text": (b"not an image at all", "chroma key, mask: "),
        "square": (png(grey[:, :height]), f"chroma key, mask: {height}x{height}, photograph {width}x{height}"),
        "sixteen_bit": (png(grey.astype(np.uint16) * 257), "mask"),
        "three_channel": (png(cv2.merge([grey, grey, grey])), "mask"),
        "four_channel": (png(cv2.merge([grey, grey, grey, grey * 0 + 255])), "mask"),
        "zero_one": (png(grey // 255), "mask"),
        "blurred": (png(cv2.GaussianBlur(grey, (0, 0), 1.5)), "mask"),
        "lossy": (cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes(), "mask"),
    }


def test_bad_masks_are_replaced_by_the_green_screen_or_drop_their_frames(tmp_path, hands):
    rgb, true, raw = hands[0]
    spoilt = spoilt_masks(raw)
    on_white = np.where(true[..., None], rgb, np.uint8(230))
    for name, (data, _) in spoilt.items():
        write_frame(tmp_path / "green" / "u", name, rgb, data)
        write_frame(tmp_path / "white" / "u", name, on_white, data)
    judged, _ = refine(tmp_path / "green", erode=0)
    rows = read_report(tmp_path / "green")
    assert judged == rows and len(rows) == len(spoilt)
    for name, (_, source) in spoilt.items():
        row = rows[f"u/color/{name}_color.png"]
        assert row.verdict == KEPT and row.source.startswith(source), (name, row)
        assert (row.source == source) or source.startswith("chroma"), (name, row)
        assert masks.iou(read_mask(tmp_path / f"green/u/mask_refined/{name}_mask.png"), true) > 0.92, name

    user = tmp_path / "white" / "u"
    write_frame(user, "torn", on_white, spoilt["lossy"][0])
    (user / "color/torn_color.png").write_bytes(cv2.imencode(".png", rgb)[1].tobytes()[:-5000])
    write_png(user / "mask_refined/white_mask.png", true)  # of an earlier run
    refine(tmp_path / "white", overwrite=True)
    verdicts = {file: row.verdict for file, row in read_report(tmp_path / "white").items()}
    expected = {name for name, (_, source) in spoilt.items() if source.startswith("chroma")} | {"torn"}
    assert {file for file, verdict in verdicts.items() if verdict != KEPT} == {
        f"u/color/{name}_color.png" for name in expected
    }
    assert verdicts["u/color/missing_color.png"] == "mask: missing; chroma key: all hand"
    assert verdicts["u/color/torn_color.png"].startswith("photograph unreadable")
    assert not (user / "mask_refined/white_mask.png").exists()
    assert len(real_frames(tmp_path / "white")) == len(verdicts) - len(expected)


def test_a_rerun_keeps_what_is_there(tmp_path, hands):
    root = write_tree(tmp_path, hands)
    with open(root / LOCK_FILE, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="is in use"):
            refine(root)
    write_frame(root / "user0", os.fsdecode(b"caf\xe9 \n1"), *hands[0][::2])
    mine = root / "user0/mask_refined/f004_mask.png"  # of unknown origin
    write_png(mine, hands[0][1])
    before = mine.read_bytes()
    (root / "masks_report.csv").write_bytes(b'\xff"\x00,,,\n"')
    assert read_report(root) == {}  # damaged, and no obstacle
    assert refine(root, erode=0)[1] == 1 and mine.read_bytes() == before
    rows, made = read_report(root), outputs(root)
    assert rows["user0/color/f004_color.png"].source == "refined mask found"
    assert rows["user0/color/caf\\xe9 \\n1_color.png"].verdict == KEPT and len(real_frames(root)) == len(rows) == 9

    times = {path: path.stat().st_mtime_ns for path in root.glob("**/mask_refined/*")}
    (root / "user0/mask_refined/f000_mask.png").unlink()
    write_png(root / "user0/mask/f002_mask.png", hands[0][1])  # a changed source, and a lost output
    assert refine(root, erode=0)[1] == 7
    assert sum(path.stat().st_mtime_ns == at for path, at in times.items()) == 7
    assert outputs(root).keys() == made.keys()
    made = outputs(root)
    with pytest.raises(UsageError, match=r"--erode 0 \(now 5\).*--overwrite"):
        refine(root, erode=5)
    assert outputs(root) == made
    assert refine(root, erode=5, overwrite=True)[1] == 0
    after = outputs(root)
    assert after.keys() == made.keys() and all(after[key] != made[key] for key in made)


def test_killed_and_rerun_loses_no_mask(tmp_path, hands):
    whole, cut = write_tree(tmp_path / "whole", hands, 120), tmp_path / "cut"
    (whole / "user0/mask/f004_mask.png").write_bytes(b"")
    shutil.copytree(whole, cut)
    assert command("--real_root", whole, "--num_workers", "0").returncode == 0
    made: dict[Path, int] = {}
    for how in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        line = [*SCRIPT, "--real_root", cut, "--num_workers", "2"]
        run = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while run.poll() is None and len(list(cut.glob("**/mask_refined/*_mask.png"))) <= len(made) + 25:
            time.sleep(0.002)
        run.send_signal(how)
        _, stderr = run.communicate(timeout=60)
        assert b"Traceback" not in stderr
        assert how == signal.SIGKILL or len(read_report(cut)) > len(made)
        assert all(path.stat().st_mtime_ns == at for path, at in made.items())
        made = {path: path.stat().st_mtime_ns for path in cut.glob("**/mask_refined/*_mask.png")}
    done = command("--real_root", cut, "--num_workers", "2")
    assert done.returncode == 0 and "done before" in done.stdout
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())
    same, masks = outputs(cut), outputs(whole)
    assert same.keys() == masks.keys() and all(same[file] == masks[file] for file in same if "mask_refined" in file)
    assert not list(cut.glob("**/.part-*"))


def test_exit_statuses(tmp_path):
    (tmp_path / "empty").mkdir()
    nothing = command("--dataroot", tmp_path / "empty")
    assert nothing.returncode == 2 and "<user>/color/<name>_color.png" in nothing.stderr
    assert "Traceback" not in nothing.stderr and not any((tmp_path / "empty").iterdir())
    write_png(tmp_path / "bad/u/color/a_color.png", np.full((50, 60, 3), 200, np.uint8))
    dropped = command("--dataroot", tmp_path / "bad", "--num_workers", "0")
    assert dropped.returncode == 1 and "1 frames: 0 kept, 1 dropped" in dropped.stdout
    assert read_report(tmp_path / "bad")["u/color/a_color.png"].verdict == "mask: missing; chroma key: all hand"


def test_defaults_of_flags_and_limits_that_contradict_each_other(tmp_path, hands):
    root = write_tree(tmp_path / "RealHands", hands, 1)
    opt = parse_preprocess_masks(["--dataroot", str(tmp_path)])
    assert refine_options(opt) == RefineOptions() and opt.real_root == root and opt.num_workers >= 1
    assert parse_preprocess_masks(["--dataroot", str(root)]).real_root == root
    for match, flags in (
        ("--min_area 0.6 must be below --max_area 0.5", ["--real_root", str(root), "--min_area", "0.6"]),
        ("--dataroot", []),
        ("--median", ["--real_root", str(root), "--median", "4"]),
    ):
        with pytest.raises(UsageError, match=match):
            parse_preprocess_masks(flags)


def test_real_photographs(real_hands):
    """On photographs: nothing dropped, one binary hand each, rings open."""
    frames = find_real_frames(real_hands / "RealHands")[::25]
    assert frames
    for frame in frames:
        refined, verdict = judge_frame(frame, RefineOptions(erode=0))
        assert verdict.verdict == KEPT, (frame.image, verdict)
        raw = masks.largest_component(cv2.medianBlur(read_mask(frame.mask).view(np.uint8), 5) > 0)
        assert masks.iou(refined, masks.fill_holes(raw, 0.008 * raw.sum())[0]) > 0.93
        labels, count = ndimage.label(masks.fill_holes(raw, 0.01 * raw.sum())[1])
        for hole in range(1, count + 1):
            assert (~refined[labels == hole]).mean() > 0.5
