"""From images to scores, with a feature network small enough to follow by hand."""

import cv2
import numpy as np
import pytest
from helpers import MeanColour

from util.errors import UsageError
from util.scores import distances as metrics
from util.scores.features import extract_features, patch_crop, score


def pictures(count, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (*random.integers(5, 30, 2), 3), np.uint8) for _ in range(count)]


def test_features_come_in_order_a_batch_at_a_time():
    net, images = MeanColour(), pictures(7)
    features = extract_features((image for image in images), net, batch_size=3)
    np.testing.assert_allclose(features, [image.mean((0, 1)) for image in images], rtol=1e-6)
    assert net.seen == [3, 3, 1] and features.dtype == np.float32
    assert extract_features([], net).shape == (0, 3)


def test_every_kind_of_file_is_scored(tmp_path):
    grey = np.arange(0, 240, 4, dtype=np.uint8).reshape(6, 10)
    rgb = np.dstack([grey] * 3)
    for name, image in {"grey": grey, "rgb": rgb, "rgba": np.dstack([rgb, np.full_like(grey, 255)])}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
        cv2.imwrite(str(tmp_path / f"{name}16.png"), image.astype(np.uint16) * 257)
    features = extract_features(sorted(tmp_path.iterdir()), MeanColour())
    np.testing.assert_array_equal(features, extract_features([rgb] * 6, MeanColour()))


def test_features_are_kept_by_content_and_network(tmp_path):
    net, images = MeanColour(), pictures(5)
    first = extract_features(images, net, cache_dir=tmp_path)
    again = extract_features([image.copy() for image in images[::-1]], net, cache_dir=tmp_path)
    assert net.seen == [5] and np.array_equal(first[::-1], again)

    images[2][0, 0, 0] ^= 1
    changed = extract_features([*images, images[2]], net, cache_dir=tmp_path)
    assert net.seen == [5, 1] and np.array_equal(changed, extract_features([*images, images[2]], MeanColour()))
    net.sha256 = "1" * 64
    extract_features(images, net, cache_dir=tmp_path)
    assert net.seen == [5, 1, 5] and len(list(tmp_path.iterdir())) == 2


def test_a_patch_lies_deep_in_the_hand_and_is_white_elsewhere():
    image = np.full((200, 200, 3), 90, np.uint8)
    mask = np.zeros((200, 200), bool)
    mask[60:140, 50:150] = True  # a palm, 80 x 100
    mask[10:60, 60:70] = True  # a finger, too thin to be chosen
    image[~mask] = (14, 255, 14)
    crop = patch_crop(image, mask, size=64, seed=3)
    assert crop.shape == (64, 64, 3) and (crop == 90).all()
    large = patch_crop(image, mask, size=128, seed=3)
    assert set(np.unique(large)) == {90, 255}
    assert (large == 90).all(-1).sum() >= 80 * 100  # the whole palm fits
    assert not np.array_equal(large, patch_crop(image, mask, size=128, seed=4))


def test_a_patch_beyond_the_image_is_white_and_its_border_counts_as_the_hand_s():
    image = np.full((40, 300, 3), 7, np.uint8)
    crop = patch_crop(image, np.ones((40, 300), bool), size=128)
    rows = np.flatnonzero((crop == 7).any((1, 2)))
    assert len(rows) == 40 and abs(rows.mean() - 63.5) <= 3  # centred on the strip's middle line, white above and below
    assert (np.delete(crop, rows, 0) == 255).all()


def test_patches_of_an_image_and_of_its_translation_match():
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 200, (60, 60, 3), np.uint8)
        before, after = (
            patch_crop(side, np.ones((60, 60), bool), size=24, seed=(5, i)) for side in (image, image + 20)
        )
        assert np.array_equal(before + 20, after)


def test_score_has_the_entries_of_metrics_json():
    random = np.random.default_rng(0)
    real, fake = random.normal(0, 1, (60, 3)), random.normal(1, 1, (50, 3))
    result = score(real, fake, MeanColour())
    assert result["fd"] == metrics.frechet_distance(real, fake) and "fid" not in result
    assert result["fd_ci"][0] < result["fd"] < result["fd_ci"][1]
    assert 0.0 < result["floor"] < result["fd"] and result["floor_n"] == 30
    assert (result["n_real"], result["n_generated"], result["kid_subset_size"]) == (60, 50, 5)
    assert (result["kid_mean"], result["kid_std"]) == metrics.kernel_distance(real, fake, subset_size=5)
    assert result["feature_net"] == "mean"
    with pytest.raises(UsageError, match="--kid_subset_size"):
        score(real, fake, MeanColour(), kid_subset_size=51)
