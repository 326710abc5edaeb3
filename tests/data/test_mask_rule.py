"""Where masks come from, which of their values are hand, and files of every kind: the faults that people report."""

import logging
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import KEY, draw_hand, write_hands
from PIL import Image

from data.compose import compose
from data.frames import Reading, find_frames
from data.hands import read_hand, read_source
from data.input_folder import frames_in_folder
from data.masks.sources import MaskFolders, names_of_mask, sentence
from data.masks.survey import survey
from data.masks.values import hand_of, parse_values, read_values
from data.regions import HandRegions
from data.roots import open_frames
from data.scan import scan
from util.errors import UsageError
from util.image_header import check_file
from util.images import ImageError, read_picture, read_rgb, write_png
from util.results.write import output_names

PHOTO = (90, 160, 90)


def hands(number: int = 3, size: int = 64, **kwargs) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(7)
    return [draw_hand(random, size=size, background=PHOTO, **kwargs) for _ in range(number)]


def unaligned(root: Path, write_image, write_mask, number: int = 3) -> Path:
    """trainA and trainB of hands; write_image(folder, name, image, mask), write_mask(folder of masks, name, mask)."""
    for letter in "AB":
        folder, masks = root / f"train{letter}", root / f"train{letter}_masks"
        folder.mkdir(parents=True)
        masks.mkdir()
        for place, (image, mask) in enumerate(hands(number)):
            write_image(folder, f"{place:03}", image, mask)
            write_mask(masks, f"{place:03}", mask)
    return root


def plain(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    write_png(folder / f"{name}.png", image)


def nothing(*_) -> None:
    pass


def grey(values) -> object:
    """A writer of masks: values(mask) as a grey PNG."""
    return lambda folder, name, mask: cv2.imwrite(str(folder / f"{name}.png"), values(mask))


def palette(folder: Path, name: str, mask: np.ndarray) -> None:
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 0, 128, 0] + [0] * 762)
    picture.save(folder / f"{name}.png")


def rgba(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    write_png(folder / f"{name}.png", np.dstack([image, mask.astype(np.uint8) * 255]))


def decomposed(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    write_png(folder / (unicodedata.normalize("NFD", f"hände{name}") + ".png"), image)


def turned(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Stored lying on its side, with the tag that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image[:48]).rotate(90, expand=True).save(folder / f"{name}.jpg", exif=exif, quality=100)


CASES = {
    "bmp": (plain, lambda d, n, m: cv2.imwrite(str(d / f"{n}.bmp"), m.astype(np.uint8) * 255)),
    "alpha": (rgba, nothing),
    "color and mask": (
        lambda d, n, i, m: write_png(d / f"{n}_color.png", i),
        lambda d, n, m: write_png(d / f"{n}_mask.png", m),
    ),
    "upper case": (
        lambda d, n, i, m: write_png(d / f"HAND_{n}_Color.PNG", i),
        lambda d, n, m: write_png(d / f"hand_{n}_MASK.Png", m),
    ),
    "unicode": (decomposed, lambda d, n, m: write_png(d / f"hände{n}.png", m)),
    "beside": (
        lambda d, n, i, m: (write_png(d / f"{n}.png", i), write_png(d / f"{n}_mask.png", m)),
        nothing,
    ),
    "0 and 1": (plain, grey(lambda m: m.astype(np.uint8))),
    "0 and 128": (plain, grey(lambda m: m.astype(np.uint8) * 128)),
    "16-bit ids": (plain, grey(lambda m: m.astype(np.uint16) * 5)),
    "16-bit white": (plain, grey(lambda m: m.astype(np.uint16) * 65535)),
    "palette": (plain, palette),
    "one bit": (plain, lambda d, n, m: Image.fromarray(m).save(d / f"{n}.png")),
    "cut-out": (
        plain,
        lambda d, n, m: write_png(d / f"{n}.png", np.dstack([np.zeros((*m.shape, 3), np.uint8), m * np.uint8(255)])),
    ),
    "red": (plain, lambda d, n, m: write_png(d / f"{n}.png", m[..., None] * np.array([255, 0, 0], np.uint8))),
    "webp": (
        lambda d, n, i, m: Image.fromarray(i).save(d / f"{n}.webp", lossless=True),
        lambda d, n, m: Image.fromarray(m.astype(np.uint8) * 255).save(d / f"{n}.webp", lossless=True),
    ),
    "tif": (
        lambda d, n, i, m: Image.fromarray(i).save(d / f"{n}.TIF"),
        lambda d, n, m: Image.fromarray(m).save(d / f"{n}.tiff"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_masks_of_every_kind_are_found_and_read_exactly(tmp_path, case):
    root = unaligned(tmp_path, *CASES[case])
    frames = find_frames(dataroot=root)
    assert not scan(frames, strict=True)
    for domain in ("synthetic", "real"):
        assert len(frames[domain]) == 3
        settled, origins = survey(frames[domain], what=domain)
        assert origins.total() == 3 and not origins["none"] and len(settled) == 3
        for frame, (_, mask) in zip(frames[domain], hands()):
            assert np.array_equal(read_hand(frame).mask, mask)


def test_jpeg_masks_are_read_about_right(tmp_path):
    write = lambda d, n, m: cv2.imwrite(str(d / f"{n}.jpg"), m.astype(np.uint8) * 255)  # noqa: E731
    for frame, (_, mask) in zip(find_frames(dataroot=unaligned(tmp_path, plain, write))["real"], hands()):
        assert (read_hand(frame).mask != mask).mean() < 0.01


@pytest.mark.parametrize("upright", [True, False], ids=["upright mask", "mask as stored"])
def test_photographs_with_an_orientation_tag(tmp_path, upright):
    """A mask fits the photograph as it is shown; one that fits the stored pixels alone is turned along."""
    write = lambda d, n, m: write_png(d / f"{n}.png", m[:48] if upright else np.rot90(m[:48]).copy())  # noqa: E731
    frames = find_frames(dataroot=unaligned(tmp_path, turned, write))
    assert not scan(frames, strict=True)
    for frame, (image, mask) in zip(frames["real"], hands()):
        hand = read_hand(frame, background="keep")
        assert np.array_equal(hand.mask, mask[:48])
        assert np.abs(hand.image.astype(int) - image[:48]).mean() < 12


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        (lambda m: m.astype(np.uint8) * 2 + (np.arange(64) > 32), "0, 1, 2, 3"),
        (lambda m: np.where(m, 255, np.where(np.arange(64) > 32, 128, 0)).astype(np.uint8), "0, 128, 255"),
        (lambda m: (m * 300 + (np.arange(64) > 32)).astype(np.uint16), "0, 1, 300, 301"),
    ],
    ids=["classes", "three greys", "16-bit"],
)
def test_masks_of_several_values_are_refused_with_them_and_the_flag(tmp_path, values, listed):
    root = unaligned(tmp_path, plain, grey(values))
    with pytest.raises(UsageError, match="--mask_values") as error:
        open_frames(dataroot=root, dataset_mode="auto", synth_root=None, real_root=None, demo_root=tmp_path / "demo")
    assert listed in str(error.value) and "trainA_masks" in str(error.value)
    with pytest.raises(ImageError, match="--mask_values"):
        read_hand(find_frames(dataroot=root)["real"][0])


def test_mask_values_choose(tmp_path):
    root = unaligned(tmp_path, plain, grey(lambda m: np.where(m, 20, np.arange(64) > 32).astype(np.uint8)))
    for frame, (_, mask) in zip(find_frames(dataroot=root, reading=Reading(mask_values=((2, 33),)))["real"], hands()):
        assert np.array_equal(read_hand(frame).mask, mask)
    frames = find_frames(dataroot=root, reading=Reading(mask_values=((40, 50),)))["real"]
    with pytest.raises(UsageError, match="none of these values"):
        survey(frames, what="real")


def test_a_class_that_one_file_lacks_does_not_make_another_class_the_hand(tmp_path):
    """Two values in each file, three in all: by itself each file would pass, and person would be taken for hand."""
    numbers = iter([1, 2, 1] * 2)
    root = unaligned(tmp_path, plain, grey(lambda m: m.astype(np.uint8) * next(numbers)))
    with pytest.raises(UsageError, match="0, 1, 2,"):
        survey(find_frames(dataroot=root)["real"], what="real")


def test_values_are_parsed_or_refused():
    assert parse_values("2-33, 40") == ((2, 33), (40, 40)) and parse_values("#ff0000") == ((0xFF0000, 0xFF0000),)
    for text in ("", "x", "3-", "5-2", "-1", "1,,2", "9" * 9):
        with pytest.raises(ValueError):
            parse_values(text)


def test_soft_edges_are_no_classes(tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    cv2.circle(mask, (100, 100), 60, 255, -1)
    cv2.imwrite(str(tmp_path / "m.png"), cv2.GaussianBlur(mask, (0, 0), 2))
    assert (hand_of(read_values(tmp_path / "m.png")) != (mask > 127)).mean() < 0.01
    assert np.array_equal(
        hand_of(read_values(tmp_path / "m.png"), ((2, 33),)), hand_of(read_values(tmp_path / "m.png"))
    )


# ------------------------------------------------------------------ where masks are, and where not


def test_images_without_a_mask_are_left_out_by_name_where_others_have_one(tmp_path, caplog):
    root = unaligned(tmp_path, plain, lambda d, n, m: write_png(d / f"{n}.png", m) if n != "001" else None)
    frames = find_frames(dataroot=root)
    assert [frame.relative for frame in frames["real"]] == ["trainB/000.png", "trainB/002.png"]
    assert "trainB/001.png: no mask" in caplog.text and "1 of 3 images" in caplog.text


def test_masks_of_which_none_fits_are_an_error(tmp_path):
    root = unaligned(tmp_path, plain, lambda d, n, m: write_png(d / f"other{n}.png", m))
    with pytest.raises(UsageError, match="000.png wants one named 000.png"):
        find_frames(dataroot=root)


def test_no_masks_at_all_is_said_and_images_are_whole(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = unaligned(tmp_path, plain, nothing)
    frames = open_frames(
        dataroot=root, dataset_mode="auto", synth_root=None, real_root=None, demo_root=tmp_path / "demo"
    )
    assert all(frame.mask_kind == "none" for found in frames.values() for frame in found)
    assert "no image has a mask: images are taken whole" in caplog.text


def test_the_rule_in_its_order(tmp_path):
    """Each source hides those behind it: --masks, beside, sibling folder, alpha, key colour, none."""
    image, mask = hands(1)[0]
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


def test_names():
    assert names_of_mask("Hand_Color.PNG") == ["hand_color", "hand_color_mask", "hand_mask", "hand"]
    assert names_of_mask("1.5.png") == ["1.5", "1.5_mask"]
    assert names_of_mask("0_color_on_depth.png", beside=True) == ["0_color_on_depth_mask"]


def test_one_line_of_counts():
    counts = Counter({"alpha": 480, "renders_masks/": 20, "none": 3})
    assert sentence(counts) == "masks: 480 from alpha, 20 from renders_masks/; 3 images have none: taken whole"
    assert sentence(Counter({"none": 1})) == "masks: none; 1 image taken whole"


def test_photographs_without_masks_are_counted_and_told_where_masks_go(tmp_path):
    write_hands(tmp_path, frames=2)
    for folder in (tmp_path / "RealHands").glob("*/mask"):
        shutil.rmtree(folder)
    with pytest.raises(UsageError, match="6 photographs, and none has a mask.*<user>/mask/<name>_mask.png"):
        find_frames(dataroot=tmp_path)
    given = tmp_path / "given"
    for path in (tmp_path / "RealHands").rglob("*_color.png"):
        write_png(given / path.parent.parent.name / "color" / path.name, np.eye(96, dtype=bool) | True)
    assert len(find_frames(dataroot=tmp_path, reading=Reading(masks=given))["real"]) == 6


# ------------------------------------------------------------------ key colour


def test_a_key_colour_lost_to_jpeg_is_named(tmp_path):
    write_hands(tmp_path, frames=2)
    for path in (tmp_path / "SynthHands_Release").rglob("*_color.png"):
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 90])
        path.unlink()
    frames = find_frames(dataroot=tmp_path)["synthetic"]
    with pytest.raises(ImageError, match="00000000_color.jpg: it does not have the key colour"):
        read_hand(frames[0])
    with pytest.raises(UsageError, match="none of 8 synthetic images looked at can be used"):
        survey(frames, what="synthetic")
    image = draw_hand(np.random.default_rng(0))[1]
    write_png(frames[0].image.with_name("00000000_mask.png"), image)  # a mask of its own mends it
    assert np.array_equal(read_hand(find_frames(dataroot=tmp_path)["synthetic"][0]).mask, image)


def test_fringes_of_the_key_colour_are_named(tmp_path, caplog):
    write_hands(tmp_path, frames=1)
    frames = find_frames(dataroot=tmp_path)["synthetic"]
    survey(frames, what="synthetic")
    assert "fringe" not in caplog.text
    for frame in frames:
        write_png(frame.image, cv2.resize(read_rgb(frame.image), (70, 70), interpolation=cv2.INTER_AREA))
    survey(frames, what="synthetic")
    assert "4 of 4 images looked at have a fringe of the key colour" in caplog.text


# ------------------------------------------------------------------ files of every kind


def test_hidden_and_system_files_are_passed_over(tmp_path):
    root = unaligned(tmp_path, plain, lambda d, n, m: write_png(d / f"{n}.png", m))
    for path in list((root / "trainA").glob("*.png")):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7" + b"\0" * 300)
        for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            (path.parent / folder).mkdir(exist_ok=True)
            shutil.copy(path, path.parent / folder / f"{path.stem}-checkpoint.png")
    (root / "trainA" / "Thumbs.db").write_bytes(b"x")
    assert [frame.relative for frame in find_frames(dataroot=root)["synthetic"]] == [
        f"trainA/00{i}.png" for i in range(3)
    ]


def test_formats_that_are_not_read_are_named_once(tmp_path, caplog):
    write_png(tmp_path / "a.png", hands(1)[0][0])
    for name in ("film.mp4", "b.heic", "c.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"x" * 100)
    assert len(frames_in_folder(tmp_path)) == 1
    assert caplog.text.count("2 .heic, 1 .mp4") == 1 and "notes" not in caplog.text and ".txt" not in caplog.text


KINDS = ("L", "LA", "P", "1", "CMYK", "I;16", "RGBA")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_orientation_and_size_agree_with_pillow(tmp_path, suffix, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(hands(1)[0][0][:40]).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    assert check_file(path).size == expected.shape[1::-1]
    read = read_rgb(path)
    assert read.shape == expected.shape and np.abs(read - expected).max() <= 2
    assert np.array_equal(read_picture(path).rgb, read)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_every_kind_of_file_is_read_like_pillow_or_refused(tmp_path, suffix, kind):
    picture = Image.fromarray(hands(1)[0][0])
    picture = (
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        if kind == "I;16"
        else picture.convert(kind)
    )
    path = tmp_path / f"a.{suffix}"
    try:
        picture.save(path, **({"lossless": True} if suffix == "webp" else {}))
    except (OSError, KeyError, ValueError):
        pytest.skip("no such file exists")
    read = read_picture(path)
    assert np.array_equal(read.rgb, read_rgb(path)) and read.rgb.shape == (64, 64, 3)
    if kind != "I;16" and suffix != "jpg":  # decoders of JPEG differ by a few levels
        opened = Image.open(path)
        expected = np.asarray(opened.convert("RGB")).astype(int)
        opaque = np.asarray(opened.convert("RGBA"))[..., 3] > 0
        assert np.abs(read.rgb.astype(int) - expected)[opaque].max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_truncated_files_of_every_format_are_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    random = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(random).save(path)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(ImageError, match=f"a.{suffix}"):
        read_rgb(path)


# ------------------------------------------------------------------ folders to translate


def test_published_data_sets_in_a_folder(tmp_path, caplog):
    image, mask = hands(1)[0]
    keyed = np.where(mask[..., None], image, np.uint8(KEY))
    here = tmp_path / "male_noobject" / "seq01"
    for folder in (here, tmp_path / "male_object" / "seq01"):
        write_png(folder / "0_color.png", keyed)
        write_png(folder / "0_color_on_depth.png", np.roll(keyed, 3, axis=1))
        write_png(folder / "0_mask.png", np.roll(mask, 9, axis=0))
        write_png(folder / "0_depth.png", mask)
    frames = {frame.relative: frame for frame in frames_in_folder(tmp_path)}
    assert sorted(frames) == [f"male_noobject/seq01/0_color{view}.png" for view in ("", "_on_depth")]
    assert "--objects takes them" in caplog.text
    assert np.array_equal(read_hand(frames["male_noobject/seq01/0_color.png"]).mask, np.roll(mask, 9, axis=0))
    on_depth = read_hand(frames["male_noobject/seq01/0_color_on_depth.png"])
    assert np.array_equal(on_depth.mask, np.roll(mask, 3, axis=1))
    assert len(frames_in_folder(tmp_path, Reading(objects=True))) == 4
    assert len(frames_in_folder(tmp_path / "male_object")) == 2  # named itself, it is asked for


def test_one_image_and_what_is_none(tmp_path):
    image, mask = hands(1)[0]
    write_png(tmp_path / "a" / "x.png", image)
    write_png(tmp_path / "a_masks" / "x.png", mask)
    (frame,) = frames_in_folder(tmp_path / "a" / "x.png")
    assert frame.relative == "x.png" and np.array_equal(read_hand(frame).mask, mask)
    (tmp_path / "film.mp4").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="film.mp4.*PNG, JPEG, WebP, TIFF and BMP"):
        frames_in_folder(tmp_path / "film.mp4")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("crop", [None, 48, 96])
def test_what_is_kept_outside_the_hand_is_kept_to_the_last_bit(tmp_path, depth, channels, crop):
    random = np.random.default_rng(0)
    pixels = random.integers(0, np.iinfo(depth).max, (64, 64, channels), dtype=depth)
    mask = hands(1)[0][1]
    write_png(tmp_path / "a.png", pixels)
    write_png(tmp_path / "a_mask.png", mask)
    region = HandRegions(frames_in_folder(tmp_path), crop=crop, keep_source=True)[0]
    assert (region.image[~region.mask] == 255).all()  # what the network sees
    painted = np.full(region.image.shape, 77, np.uint8)
    kept = compose(painted, region, "keep")
    write_png(tmp_path / "out.png", kept)
    again = read_picture(tmp_path / "out.png").pixels
    assert again.dtype == depth and np.array_equal(again, kept)
    x, y, width, height = region.box
    inside = np.s_[max(0, y) : y + height, max(0, x) : x + width]
    part = kept[max(0, -y) : max(0, -y) + 64, max(0, -x) : max(0, -x) + 64]
    where = mask[inside]
    assert np.array_equal(part[~where], pixels[inside][~where])
    assert (part[where][:, :3] == (77 * 257 if depth == np.uint16 else 77)).all()
    assert (compose(painted, region, "key")[~region.mask] == KEY).all()
    assert (compose(painted, region, "white")[~region.mask] == 255).all()
    clear = compose(painted, region, "transparent")
    assert clear.shape[2] == 4 and np.array_equal(clear[..., 3] == 255, region.mask)


def test_scaling_takes_image_and_mask_along_and_mixes_no_background_in(tmp_path):
    image, mask = hands(1, size=96)[0]
    flat = np.where(mask[..., None], np.uint8((200, 120, 90)), np.uint8(KEY))
    write_png(tmp_path / "a.png", flat)
    for scale in (0.5, 0.3, 2.0):
        (frame,) = frames_in_folder(tmp_path, Reading(load_scale=scale))
        source = read_source(frame)
        assert source.mask.shape == (round(96 * scale),) * 2
        assert (source.pixels[source.mask] == (200, 120, 90)).all() and (source.pixels[~source.mask] == KEY).all()
        assert abs(source.mask.mean() - mask.mean()) < 0.02


def test_at_most_so_many_images_a_domain_evenly_spaced(hands_root):
    frames = find_frames(dataroot=hands_root, reading=Reading(max_dataset_size=4))
    assert {domain: len(found) for domain, found in frames.items()} == {"synthetic": 4, "real": 4}
    assert len({frame.sequence for frame in frames["synthetic"]}) == 4


def test_output_names_are_unique_and_quick():
    from data.frames import Frame

    names = ["a.jpg", "a.png", "a.jpg.png", "b.png", *(f"d/{i}.png" for i in range(20000))]
    found = output_names([Frame(Path(name), name, "", "none") for name in names])
    assert len(set(map(str, found))) == len(names) and str(found[3]) == "b.png"


def test_masks_are_looked_up_once_a_folder(tmp_path, monkeypatch):
    """100,000 images must not list their folder of masks 100,000 times."""
    for name in range(50):
        write_png(tmp_path / "x" / f"{name}.png", np.zeros((20, 20, 3), np.uint8))
    write_png(tmp_path / "x_masks" / "7.png", np.ones((20, 20), bool))
    folders = MaskFolders(tmp_path / "x")
    listed = []
    monkeypatch.setattr("data.masks.sources.images_below", lambda folder: listed.append(folder) or folder.iterdir())
    found = [folders.find(path) for path in sorted((tmp_path / "x").iterdir())]
    assert sum(each is not None for each in found) == 1 and len(listed) <= 2
