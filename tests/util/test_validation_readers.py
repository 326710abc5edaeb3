"""Validation during training: who reads its images."""

from helpers import build

from data.frames import find_frames
from models.features.registry import load_feature_net
from util.training.validation import create_validation


def test_threads_read_all_images(hands_root, tmp_path, monkeypatch):
    readers = []

    def read(regions, *, num_workers):
        readers.append(num_workers)
        return [regions[index] for index in range(len(regions))]

    monkeypatch.setattr("data.regions.ordered_items", read)
    frames = {domain: part[:2] for domain, part in find_frames(dataroot=hands_root).items()}
    model, net = build(None, "pixcyclegan4"), load_feature_net("random")
    settings = {"background": "white", "crop_to_hand": True, "by_distance": True}
    validate = create_validation(model, frames, net, cache_dir=tmp_path, num_workers=3, **settings)
    assert "fd" in validate()[0]
    assert set(readers) == {3}
