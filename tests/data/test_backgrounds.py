"""Backgrounds and the pasting of hands on them: what must not tell the class of a hand."""

import cv2
import numpy as np
import pytest

from data import pasting
from data.pasting import Placement, draw_room, mask_of_crop, open_backgrounds, paste_hand, place_hand
from util.errors import UsageError
from util.images import write_png


def disc(size: int = 200, centre: tuple[int, int] = (100, 100), radius: int = 40, colour=(200, 120, 90)):
    """A round hand: image on white, and its mask."""
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    image = np.full((size, size, 3), 255, np.uint8)
    image[mask > 0] = colour
    return image, mask > 0


def flat(size: int = 96, value: int = 50) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def test_a_room_is_a_function_of_the_seed_alone() -> None:
    first = draw_room(96, np.random.default_rng([3, 1]))
    cv2.setRNGSeed(99)
    np.random.seed(99)
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8
    drawn = open_backgrounds(None, size=96, part="test")
    assert np.array_equal(first, drawn(np.random.default_rng([3, 1])))
    assert not np.array_equal(first, drawn(np.random.default_rng([3, 2])))


def test_rooms_vary_in_colour_sharpness_and_layout() -> None:
    rooms = np.stack([draw_room(64, np.random.default_rng([0, i])) for i in range(60)]).astype(np.float32)
    means = rooms.mean((1, 2))
    assert means.std(0).min() > 25 and np.ptp(means.mean(1)) > 100
    sharpness = [cv2.Laplacian(room, cv2.CV_32F).std() for room in rooms]
    assert max(sharpness) > 5 * min(sharpness)
    centred = (rooms - means[:, None, None]).reshape(60, -1)
    correlation = np.corrcoef(centred)
    assert np.abs(correlation - np.eye(60)).max() < 0.95  # no two alike
    skin = (means[:, 0] > means[:, 1] * 1.1) & (means[:, 1] > means[:, 2] * 1.1)  # brown to orange on the whole
    assert 5 < skin.sum() < 45


@pytest.fixture
def photographs(tmp_path):
    for i in range(12):
        folder = tmp_path / ("kitchen" if i % 2 else "office/near")
        write_png(folder / f"{i:02d}.png", np.full((40 + i, 60, 3), 20 * i, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_photographs_are_read_recursively_and_test_ones_held_out(photographs) -> None:
    seen = {}
    for part in ("train", "test"):
        draw = open_backgrounds(photographs, size=32, part=part)
        drawn = [draw(np.random.default_rng([7, i])) for i in range(150)]
        assert all(image.shape == (32, 32, 3) for image in drawn)
        seen[part] = {int(image[0, 0, 0]) // 20 for image in drawn}
    assert len(seen["train"]) == 10 and len(seen["test"]) == 2 and not seen["train"] & seen["test"]


def test_broken_and_few_photographs(photographs, caplog) -> None:
    """Broken ones are named, and the next one serves."""
    draw = open_backgrounds(photographs, size=32, part="train")
    *broken, last = draw.paths
    for path in broken:
        path.write_bytes(b"\x89PNG but no more")
    for seed in range(3):
        assert draw(np.random.default_rng(seed)).shape == (32, 32, 3)
    told = [caplog.text.count(str(path)) for path in broken]
    assert max(told) == 1 and told[-1] == 1
    last.write_bytes(b"")
    with pytest.raises(UsageError, match="none of the .*--background_root"):
        open_backgrounds(photographs, size=32, part="train")(np.random.default_rng(0))
    with pytest.raises(UsageError, match="holds 6 photographs.*--background_root"):
        open_backgrounds(photographs / "kitchen", size=48, part="train")


def test_a_crop_is_a_square_piece_of_the_photograph() -> None:
    ramp = np.zeros((50, 80, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(80)[None] * 3, np.arange(50)[:, None] * 5
    for seed in range(20):
        crop = pasting.random_crop(ramp, 50, np.random.default_rng(seed)).astype(int)
        wide, high = abs(crop[0, -1, 0] - crop[0, 0, 0]) / 3, (crop[-1, 0, 1] - crop[0, 0, 1]) / 5
        assert 22 < wide < 50 and abs(wide - high) < 2  # same scale both ways, at least half the short side


def test_mask_of_a_crop_on_white_and_on_the_key_colour() -> None:
    for background in ((255, 255, 255), (14, 255, 14)):
        image, mask = disc()
        image[~mask] = background
        image[98:102, 98:102] = background  # 16 pixels of highlight
        assert np.array_equal(mask_of_crop(image), mask)
        image[80:90, 80:90] = background  # 100 pixels, 0.25 %: seen through a ring of fingers
        mask[80:90, 80:90] = False
        assert np.array_equal(mask_of_crop(image), mask)
    assert mask_of_crop(flat(64)).all()
    assert not mask_of_crop(flat(64, 255)).any()


def test_composite_shows_hand_inside_background_outside_and_no_source_background() -> None:
    image, mask = disc(colour=(200, 120, 90))
    out = paste_hand(image, mask, flat()).astype(int)
    assert out[48, 48].tolist() == [200, 120, 90]
    assert (out[:10] == 50).all() and (out[:, -10:] == 50).all()
    # Every pixel lies on the segment from background to hand: nothing of the white around the hand came along.
    share = (out[..., 0] - 50) / 150
    assert share.min() >= 0 and share.max() <= 1
    assert np.abs(out - (50 + share[..., None] * (150, 70, 40))).max() <= 1
    soft = ((share > 0) & (share < 1)).sum()
    assert 2 * np.pi * 22 < soft < 3 * 2 * np.pi * 24  # a circle of radius 23 to 24, feathered over two or three pixels


def test_place_and_size_in_the_source_do_not_show() -> None:
    middle = paste_hand(*disc(), flat())
    corner = paste_hand(*disc(centre=(45, 150), radius=40), flat())
    cut = paste_hand(*[part[60:141, 60:141] for part in disc()], flat())  # the source ends where the hand does
    small = paste_hand(*disc(radius=20), flat()).astype(int)
    assert np.array_equal(middle, corner) and np.array_equal(middle, cut)
    covered = [(np.abs(picture.astype(int) - 50).sum(-1) > 0).mean() for picture in (middle, small)]
    assert covered[0] == pytest.approx(1 / pasting.WINDOW**2, rel=0.12)
    assert covered[1] == pytest.approx(covered[0], rel=0.08)


def test_a_ragged_mask_gives_nearly_the_border_of_a_clean_one() -> None:
    image, mask = disc(400, (200, 200), 100)
    rim = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    ragged = mask ^ (rim & (np.random.default_rng(0).random(mask.shape) < 0.5))
    clean, rough = (place_hand(image, m, size=96)[1] for m in (mask, ragged))
    assert np.abs(clean - rough).mean() < 0.004 and np.abs((clean > 0.5) ^ (rough > 0.5)).sum() < 24


def test_placement_moves_zooms_and_mirrors() -> None:
    image, mask = disc()
    image[:, :100][mask[:, :100]] = (10, 20, 30)  # the left half is dark

    def opacity(placement: Placement) -> np.ndarray:
        return place_hand(image, mask, size=96, placement=placement)[1]

    plain, moved = opacity(Placement()), opacity(Placement(right=0.1, down=-0.05))
    shift = np.subtract(*(np.argwhere(alpha > 0.5).mean(0) for alpha in (moved, plain)))
    assert shift == pytest.approx([-4.8, 9.6], abs=0.7)
    assert (opacity(Placement(zoom=1.2)) > 0.5).sum() == pytest.approx(1.44 * (plain > 0.5).sum(), rel=0.06)
    mirrored = paste_hand(image, mask, flat(), placement=Placement(mirror=True))
    assert np.array_equal(mirrored, paste_hand(image, mask, flat())[:, ::-1])
    drawn = [pasting.random_placement(np.random.default_rng(i)) for i in range(200)]
    assert max(abs(p.right) for p in drawn) <= 0.06 and 0.9 <= min(p.zoom for p in drawn) < 0.92
    assert 70 < sum(p.mirror for p in drawn) < 130
