"""Large images in tiles."""

import pytest
import torch

from models.translation import paint_in_tiles, tiles


@pytest.mark.parametrize("size", [(50, 70), (32, 32), (33, 200), (10, 10)])
def test_tiles_cover_the_image_and_overlap(size):
    seen = torch.zeros(size)
    for rows, columns in tiles(*size, side=32, overlap=8):
        seen[rows, columns] += 1
        assert rows.stop - rows.start == min(32, size[0]) and columns.stop - columns.start == min(32, size[1])
    assert (seen >= 1).all()


def test_what_depends_on_single_pixels_is_the_same_in_tiles():
    images = torch.rand(1, 3, 70, 90) * 2 - 1
    painted = paint_in_tiles(lambda image, _: image * 0.5, images, torch.ones(1, 1, 70, 90), side=32, overlap=8)
    assert torch.allclose(painted, images * 0.5, atol=1e-6)


def test_tones_of_neighbours_fade_into_each_other_and_empty_tiles_stay():
    """A painter that gives every tile a tone of its own leaves no step larger than its tones' difference over a ramp."""
    tones = iter([-1.0, 1.0])
    images, masks = torch.zeros(1, 3, 32, 56), torch.ones(1, 1, 32, 56)
    painted = paint_in_tiles(lambda image, _: torch.full_like(image, next(tones)), images, masks, side=32, overlap=8)
    assert painted[..., 0].eq(-1).all() and painted[..., -1].eq(1).all()
    assert painted.diff(dim=-1).abs().max() < 0.5
    kept = paint_in_tiles(lambda image, _: image + 1, images, torch.zeros_like(masks), side=32, overlap=8)
    assert torch.equal(kept, images)
