"""Where masks come from, and which of their values are hand: the faults that people report."""

import logging
import re
import shlex
import shutil
import unicodedata
from argparse import Namespace
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import KEY, draw_hand, photographed_hands, write_hands, write_pixels, write_unaligned
from PIL import Image

from data.checks import check_masks, open_frames
from data.frames import Reading, find_frames, frames_in_folder
from data.hands import read_hand, read_source
from data.listing import names_of_mask, sentence
from data.mask_values import hand_of, parse_values, read_values
from data.masks import KEPT
from data.realhands import refine_tree
from options.preprocess_masks_options import parse_preprocess_masks, refine_options
from util.errors import UsageError
from util.images import ImageError, write_png


def named(name: str) -> object:
    """A writer of images or masks, in files of that name, with the number in it."""
    return lambda d, n, pixels, *_: write_png(d / name.format(n), pixels)


def masks_as(values, suffix: str = "png") -> object:
    """A writer of masks: values(mask), of a mask of 0 and 1, in a file of that kind."""
    return lambda d, n, m: cv2.imwrite(str(d / f"{n}.{suffix}"), values(m.astype(np.uint8)))


def by_pillow(convert=Image.fromarray, suffix: str = "png", **options) -> object:
    """A writer of images or masks."""
    return lambda d, n, pixels, *_: convert(pixels).save(d / f"{n}.{suffix}", **options)


def with_palette(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 0, 128, 0] + [0] * 762)
    return picture


CASES = {
    "bmp": (write_pixels, masks_as(lambda m: m * 255, "bmp")),
    "alpha": (lambda d, n, i, m: write_png(d / f"{n}.png", np.dstack([i, m * np.uint8(255)])), lambda *_: None),
    "color and mask": (named("{}_color.png"), named("{}_mask.png")),
    "upper case": (named("HAND_{}_Color.PNG"), named("hand_{}_MASK.Png")),
    "unicode": (named(unicodedata.normalize("NFD", "hände{}.png")), named("hände{}.png")),
    "beside": (lambda d, n, i, m: (write_pixels(d, n, i, m), write_pixels(d, f"{n}_mask", m)), lambda *_: None),
    "0 and 1": (write_pixels, masks_as(lambda m: m)),
    "0 and 128": (write_pixels, masks_as(lambda m: m * 128)),
    "16-bit ids": (write_pixels, masks_as(lambda m: m.astype(np.uint16) * 5)),
    "16-bit white": (write_pixels, masks_as(lambda m: m.astype(np.uint16) * 65535)),
    "palette": (write_pixels, by_pillow(with_palette)),
    "one bit": (write_pixels, by_pillow()),
    "cut-out": (write_pixels, masks_as(lambda m: np.dstack([m * 0] * 3 + [m * 255]))),
    "red": (write_pixels, masks_as(lambda m: np.dstack([m * 0, m * 0, m * 255]))),
    "lossy": (write_pixels, masks_as(lambda m: m * 255, "jpg")),
    "webp": (
        by_pillow(suffix="webp", lossless=True),
        by_pillow(lambda m: Image.fromarray(m * np.uint8(255)), "webp", lossless=True),
    ),
    "tif": (by_pillow(suffix="TIF"), by_pillow(suffix="tiff")),
}


@pytest.mark.parametrize("case", CASES)
def test_masks_of_every_kind_are_found_and_read_exactly(tmp_path, case, caplog):
    caplog.set_level(logging.INFO)
    root = write_unaligned(tmp_path, *CASES[case])
    frames = find_frames(dataroot=root)
    for domain in ("synthetic", "real"):
        assert len(frames[domain]) == 3
        assert len(check_masks({domain: frames[domain]})[domain]) == 3
        assert f"{domain} masks: 3 from " in caplog.text and "taken whole" not in caplog.text
        for frame, (_, mask) in zip(frames[domain], photographed_hands()):
            wrong = (read_hand(frame).mask != mask).mean()
            assert wrong == 0 or (case == "lossy" and wrong < 0.01)


@pytest.mark.parametrize("upright", [True, False], ids=["upright mask", "mask as stored"])
def test_photographs_with_an_orientation_tag(tmp_path, upright):
    """A mask fits the photograph as it is shown; one that fits the stored pixels alone is turned along."""
    masks = masks_as(lambda m: (m[:48] if upright else np.rot90(m[:48]).copy()) * 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # the tag that turns it upright
    images = by_pillow(lambda image: Image.fromarray(image[:48]).rotate(90, expand=True), "jpg", exif=exif, quality=100)
    frames = find_frames(dataroot=write_unaligned(tmp_path, images, masks))
    for frame, (image, mask) in zip(frames["real"], photographed_hands()):
        source = read_source(frame)
        assert np.array_equal(source.mask, mask[:48])
        assert np.abs(source.pixels.astype(int) - image[:48]).mean() < 12


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        (lambda m: m * 2 + (np.arange(64) > 32), "0, 1, 2, 3"),
        (lambda m: np.where(m, 255, np.where(np.arange(64) > 32, 128, 0)).astype(np.uint8), "0, 128, 255"),
        (lambda m: m * np.uint16(300) + (np.arange(64) > 32), "0, 1, 300, 301"),
    ],
    ids=["classes", "three greys", "16-bit"],
)
def test_masks_of_several_values_are_refused_with_them_and_the_flag(tmp_path, values, listed):
    root = write_unaligned(tmp_path, write_mask=masks_as(values))
    with pytest.raises(UsageError, match="--mask_values") as error:
        check_masks(find_frames(dataroot=root))
    assert listed in str(error.value) and "trainA_masks" in str(error.value)
    with pytest.raises(ImageError, match="--mask_values"):
        read_hand(find_frames(dataroot=root)["real"][0])


def test_mask_values_choose(tmp_path):
    ids = masks_as(lambda m: np.where(m, 20, np.arange(64) > 32).astype(np.uint8))
    root = write_unaligned(tmp_path, write_mask=ids)
    frames, none = (find_frames(dataroot=root, reading=Reading(mask_values=(each,))) for each in ((2, 33), (40, 50)))
    for frame, (_, mask) in zip(frames["real"], photographed_hands()):
        assert np.array_equal(read_hand(frame).mask, mask)
    with pytest.raises(UsageError, match="none of these values"):
        check_masks(none)


def test_a_class_that_one_file_lacks_does_not_make_another_class_the_hand(tmp_path):
    """Two values in each file, three in all: by itself each file would pass, and person would be taken for hand."""
    numbers = iter([1, 2, 1] * 2)
    root = write_unaligned(tmp_path, write_mask=masks_as(lambda m: m * next(numbers)))
    with pytest.raises(UsageError, match="0, 1, 2,"):
        check_masks({"real": find_frames(dataroot=root)["real"]})


def test_values_are_parsed_or_refused():
    assert parse_values("2-33, 40") == ((2, 33), (40, 40)) and parse_values("#ff0000") == ((0xFF0000, 0xFF0000),)
    for text in ("", "x", "3-", "5-2", "-1", "1,,2", "9" * 9):
        with pytest.raises(UsageError):
            parse_values(text)


def test_soft_edges_are_no_classes(tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    cv2.circle(mask, (100, 100), 60, 255, -1)
    write_png(tmp_path / "m.png", cv2.GaussianBlur(mask, (0, 0), 2))
    soft = read_values(tmp_path / "m.png")
    assert (hand_of(soft) != (mask > 127)).mean() < 0.01
    assert np.array_equal(hand_of(soft, ((2, 33),)), hand_of(soft))


def test_images_without_a_mask_are_left_out_by_name_where_others_have_one(tmp_path, caplog):
    root = write_unaligned(tmp_path)
    (root / "trainB_masks" / "001.png").unlink()
    frames = find_frames(dataroot=root)
    assert [frame.relative for frame in frames["real"]] == ["trainB/000.png", "trainB/002.png"]
    assert "trainB/001.png: no mask" in caplog.text and "1 of 3 images" in caplog.text
    for mask in list((root / "trainA_masks").iterdir()):
        mask.rename(mask.with_name(f"other{mask.name}"))  # none fits
    with pytest.raises(UsageError, match="000.png wants one named 000.png"):
        find_frames(dataroot=root)


def test_the_rule_in_its_order(tmp_path, caplog):
    """Each source hides those behind it: --masks, beside, sibling folder, alpha, key colour, none."""
    caplog.set_level(logging.INFO)
    image, mask = photographed_hands(1)[0]
    parts = [np.roll(mask, shift, axis=1) for shift in range(4)]
    source, given = tmp_path / "renders", tmp_path / "given"
    keyed = np.where(mask[..., None], image, np.uint8(KEY))
    write_png(source / "a.png", np.dstack([keyed, parts[3].astype(np.uint8) * 255]))
    write_png(given / "a.png", parts[0])
    write_png(source / "a_mask.png", parts[1])
    write_png(tmp_path / "renders_masks" / "a.png", parts[2])

    def read(**how):
        (frame,) = frames_in_folder(source, Reading(**how))
        return read_source(frame)

    assert np.array_equal(read(masks=given).mask, parts[0])
    assert np.array_equal(read().mask, parts[1])
    (source / "a_mask.png").unlink()
    assert np.array_equal(read().mask, parts[2]) and read().origin == "renders_masks/"
    shutil.rmtree(tmp_path / "renders_masks")
    assert np.array_equal(read().mask, parts[3]) and read().origin == "alpha"
    write_png(source / "a.png", np.dstack([keyed, np.full(mask.shape, 255, np.uint8)]))  # alpha that says nothing
    assert np.array_equal(read().mask, mask) and read().origin == "the key colour"
    write_png(source / "a.png", image)
    assert read().mask.all() and read().origin == "none"
    (frame,) = check_masks({"--input": frames_in_folder(source)})["--input"]
    assert frame.mask_origin == "none" and "no image has a mask: images are taken whole" in caplog.text
    counts = Counter({"alpha": 480, "renders_masks/": 20, "none": 3})
    assert sentence(counts) == "masks: 480 from alpha, 20 from renders_masks/; 3 images have none: taken whole"
    assert sentence(Counter({"none": 1})) == "masks: none; 1 image taken whole"
    assert names_of_mask("Hand_Color.PNG") == ["hand_color", "hand_color_mask", "hand_mask", "hand"]
    assert names_of_mask("1.5.png") == ["1.5", "1.5_mask"]
    assert names_of_mask("0_color_on_depth.png", beside=True) == ["0_color_on_depth_mask"]


def test_photographs_with_masks_of_their_own_or_given_or_none(tmp_path):
    root, given = write_hands(tmp_path / "data", frames=1), tmp_path / "given"
    photographs = sorted((root / "RealHands").rglob("*_color.png"))
    kept = True, "mask/"  # cleaned when it is read, as without --masks
    mended = False, "--masks given"
    for number, kinds in ((1, [mended, kept, kept]), (3, [mended] * 3)):
        for path in photographs[:number]:
            write_png(given / path.parent.parent.name / "color" / path.name, np.ones((96, 96), bool))
        frames = find_frames(dataroot=root, reading=Reading(masks=given))["real"]
        assert [(frame.raw, frame.mask_origin) for frame in frames] == kinds
        for path in photographs:
            shutil.rmtree(path.parents[1] / "mask", ignore_errors=number == 3)
    with pytest.raises(UsageError, match="3 photographs, and none has a mask.*<user>/mask/<name>_mask.png"):
        find_frames(dataroot=root)


def test_a_key_colour_lost_to_jpeg_is_named(tmp_path):
    write_hands(tmp_path, frames=2)
    for path in list((tmp_path / "SynthHands_Release").rglob("*_color.png")):
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 90])
        path.unlink()
    frames = find_frames(dataroot=tmp_path)["synthetic"]
    with pytest.raises(ImageError, match="00000000_color.jpg: it does not have the key colour"):
        read_hand(frames[0])
    with pytest.raises(UsageError, match="none of 8 synthetic images looked at can be used"):
        check_masks({"synthetic": frames})
    image = draw_hand(np.random.default_rng(0))[1]
    write_png(frames[0].image.with_name("00000000_mask.png"), image)  # a mask of its own mends it
    assert np.array_equal(read_hand(find_frames(dataroot=tmp_path)["synthetic"][0]).mask, image)


def open_root(root: Path, *, masked: bool = True):
    where = {"dataroot": root, "synth_root": None, "real_root": None, "dataset_mode": "auto", "num_workers": 0}
    return open_frames(Namespace(**where), Reading(), masked=masked)


def test_masks_of_one_domain_alone_are_refused_or_with_no_mask_left_out(tmp_path, caplog):
    root = write_unaligned(tmp_path)
    (root / "trainB_masks").rename(root / "trainB_mask")  # misspelt
    (root / "another_mask").mkdir()  # less alike
    said = "synthetic masks: 3 .*3 real images have none; is .*trainB_mask meant, as trainB_masks.*--no-mask"
    with pytest.raises(UsageError, match=said):
        open_root(root)
    frames = open_root(root, masked=False)
    assert all(read_hand(frame).mask.all() for part in frames.values() for frame in part)
    (root / "trainB_mask").rename(root / "trainB_masks")
    assert not any(read_hand(frame).mask.all() for part in open_root(root).values() for frame in part)


@pytest.mark.parametrize("masks", [True, False])
def test_swapped_domains_are_told_by_the_key_colour(tmp_path, masks):
    root, random = write_unaligned(tmp_path), np.random.default_rng(0)
    for place in range(3):
        for letter, ground in (("A", (9, 9, 9)), ("B", KEY)):
            write_png(root / f"train{letter}" / f"{place:03}.png", draw_hand(random, size=64, background=ground)[0])
    for letter in () if masks else "AB":
        shutil.rmtree(root / f"train{letter}_masks")
    with pytest.raises(UsageError, match="swapped"):
        open_root(root)


def test_speckled_masks_are_told_with_the_command_that_refines_them(tmp_path, caplog):
    speckle = np.random.default_rng(0).random((64, 64)) < 0.1
    speckled = masks_as(lambda m: (m ^ speckle[: len(m), : m.shape[1]]) * np.uint8(255))
    root = write_unaligned(tmp_path / "my hands", write_mask=speckled)
    open_root(root)
    command = re.search(r"python (preprocess_masks.py --images .*trainB.* --masks .*trainB_masks.*)", caplog.text)[1]
    opt = parse_preprocess_masks([*shlex.split(command)[1:], "--min_area", "0.01", "--max_contours", "999"])
    rows, _ = refine_tree(opt.real_root, opt.frames, refine_options(opt), num_workers=0, overwrite=False)
    assert opt.real_root == root / "trainB_masks_refined" and {row.verdict for row in rows.values()} == {KEPT}
    caplog.clear()
    frames = find_frames(dataroot=root)["real"]
    assert {frame.mask_origin for frame in frames} == {"trainB_masks_refined/"}
    check_masks({"real": frames})
    assert "speckled" not in caplog.text
    (opt.real_root / frames[0].mask.name).unlink()  # as a frame that was dropped: its raw mask is not used
    assert len(find_frames(dataroot=root)["real"]) == 2


def test_two_folders_of_any_images(tmp_path):
    root = write_unaligned(tmp_path)
    for letter, name in (("A", "renders"), ("B", "photos")):
        (root / f"train{letter}").rename(root / name)
        (root / f"train{letter}_masks").rename(root / f"{name}_masks")
    found = find_frames(dataroot=None, synth_root=root / "renders", real_root=root / "photos")
    assert [len(part) for part in found.values()] == [3, 3]
    assert {frame.mask_origin for part in found.values() for frame in part} == {"renders_masks/", "photos_masks/"}
    next((root / "photos_masks").iterdir()).unlink()
    assert len(find_frames(dataroot=None, synth_root=root / "renders", real_root=root / "photos")["real"]) == 2
