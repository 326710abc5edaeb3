"""Properties that hold for any input: images, metrics, pools."""

import random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.image_pool import ImagePool
from util.images import to_tensor, to_uint8
from util.scores.appearance import psnr, ssim
from util.scores.distances import frechet_distance, kernel_distance

SIDES = st.integers(1, 40)


@given(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))))
@settings(max_examples=100, deadline=None)
def test_tensors_and_arrays_are_one_thing(image):
    tensor = to_tensor(image)
    assert tensor.min() >= -1 and tensor.max() <= 1 and np.array_equal(to_uint8(tensor), image)


IMAGES = hnp.arrays(np.uint8, (14, 13, 3))


@given(IMAGES, IMAGES)
@settings(max_examples=80, deadline=None)
def test_likeness_of_images(a, b):
    mask = np.ones(a.shape[:2], bool)
    assert psnr(a, b, mask) == psnr(b, a, mask) and psnr(a, a, mask) == np.inf and psnr(a, b, mask) >= 0
    assert ssim(a, b, mask) <= 1 + 1e-9 and abs(ssim(a, a, mask) - 1) < 1e-9
    assert abs(ssim(a, b, mask) - ssim(b, a, mask)) < 1e-9


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.floats(-50, 50), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_distances_of_sets(n, m, dim, shift, seed):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(n, dim)), random.normal(size=(m, dim))
    distance = frechet_distance(a, b)
    assert distance >= 0 and abs(distance - frechet_distance(b, a)) <= 1e-6 * (1 + distance)
    assert frechet_distance(a, a[::-1]) <= 1e-6 * (1 + np.square(a).sum())
    turned = np.linalg.qr(random.normal(size=(dim, dim)))[0]  # distances do not depend on the axes, nor on the origin
    assert abs(frechet_distance(a @ turned + shift, b @ turned + shift) - distance) <= 1e-6 * (1 + distance + shift**2)
    size = min(n, m)
    mean, std = kernel_distance(a, a, subsets=3, subset_size=size)
    assert np.isfinite(mean) and std >= 0


@given(
    st.integers(0, 5), st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 2**32), st.integers(0, 11)
)
@settings(max_examples=80, deadline=None)
def test_pools_give_back_only_what_they_were_given_and_resume(size, batches, seed, cut):
    pool, again = ImagePool(size), ImagePool(size)
    seen, number = set(), 0
    for turn, count in enumerate(batches):
        if turn == min(cut, len(batches) - 1):
            again.load_state_dict(pool.state_dict())
        images = torch.arange(number, number + count).float().view(-1, 1, 1, 1)
        number += count
        seen |= set(images.flatten().tolist())
        out = pool.query(images, pool.plan(count, random.Random(seed + turn)))
        assert out.shape == images.shape and set(out.flatten().tolist()) <= seen and pool.count <= size
        if turn >= min(cut, len(batches) - 1):
            assert torch.equal(again.query(images, again.plan(count, random.Random(seed + turn))), out)
