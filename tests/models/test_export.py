"""The translator as a file for other programs, against load_translator's pixels."""

import importlib.util
import logging
from types import SimpleNamespace as Namespace

import cv2
import numpy as np
import pytest
import torch
from helpers import CPU, build

from models.export import ExportedGraph, export_translator
from models.load import Translator
from options.test_options import parse_test
from util.errors import UsageError
from util.runtime import Amp

logging.getLogger("torch.__trace").setLevel(logging.WARNING)  # what pytest would keep of an export takes minutes

SIZES = ((64, 64), (61, 83), (17, 200), (16, 16), (255, 127), (130, 333), (240, 320), (101, 99), (77, 512), (259, 257))


def translator(**changes) -> Translator:
    """As a run's, with weights that were drawn."""
    how = {"upsample": changes.pop("upsample", "smooth"), "norm": changes.pop("norm", "instance")}
    model = build(None, netD="patch", match_tone=changes.pop("match_tone", True), **how)
    options = {"mask": True, "extend_colors": True, "mean_of_views": True, "crop_to_hand": True} | changes
    made = object.__new__(Translator)
    made.net, made.device, made.amp = model.G_r.eval().requires_grad_(False), CPU, Amp("off")
    made.tones, made.direction = model.tones, "StoR"
    if model.tones:
        model.tones.see(torch.rand(5, 3) - 0.5, torch.rand(5, 3) - 0.5)
    made.options = Namespace(**options)
    return made


def frames() -> list[tuple[np.ndarray, np.ndarray]]:
    """An image and a mask of each size; the hand is anywhere in it, large or small."""
    random, made = np.random.default_rng(0), []
    for height, width in SIZES:
        rgb = cv2.resize(random.integers(0, 256, (9, 9, 3), dtype=np.uint8), (width, height))
        mask = np.zeros((height, width), np.uint8)
        centre, axes = (
            (round(length * random.uniform(*span)) for length in (width, height)) for span in ((0.1, 0.9), (0.05, 0.4))
        )
        cv2.ellipse(mask, tuple(centre), tuple(max(3, each) for each in axes), 30, 0, 360, 1, -1)
        made.append((rgb, mask))
    return made


def assert_equal(model: Translator, run) -> None:
    """run({"image", "mask"}) gives what the translator does, to one grey level, for each frame."""
    for rgb, mask in frames():
        image = np.ascontiguousarray((rgb.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1))
        made = np.asarray(run({"image": image[None], "mask": mask[None, None].astype(np.float32)}))[0]
        pixels = np.rint((made.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255)
        assert np.abs(pixels - model(rgb, mask)).max() <= 1, rgb.shape
    assert (model(rgb, mask) != rgb).mean() > 0.01


OTHER = dict.fromkeys(("match_tone", "extend_colors", "mean_of_views", "crop_to_hand", "mask"), False)
OTHER |= {"norm": "batch", "upsample": "deconv"}


@pytest.mark.parametrize("changes", [{}, OTHER, {"mask": False}, {"norm": "none"}], ids=str)
def test_the_graph_computes_the_same(changes):
    model = translator(**changes)
    net = ExportedGraph(model)
    with torch.no_grad():
        assert_equal(model, lambda feed: net(*map(torch.from_numpy, feed.values())))


def test_pt2_takes_any_size(tmp_path):
    model = translator(**OTHER | {"match_tone": True})
    export_translator(model, tmp_path / "g.pt2")
    net = torch.export.load(tmp_path / "g.pt2").module()
    assert_equal(model, lambda feed: net(*map(torch.from_numpy, feed.values())))


def test_onnxruntime_takes_any_size(tmp_path, caplog, capfd, monkeypatch):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    model = translator()
    (tmp_path / "g.onnx").write_bytes(b"an earlier one")
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])  # without those of earlier tests
    with caplog.at_level(logging.INFO):
        export_translator(model, tmp_path / "g.onnx")
    assert len(caplog.messages) == 1 and "opset 18" in caplog.text and capfd.readouterr() == ("", "")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads wait by spinning
    session = runtime.InferenceSession(tmp_path / "g.onnx", options)
    assert_equal(model, lambda feed: session.run(None, feed)[0])
    assert list(tmp_path.iterdir()) == [tmp_path / "g.onnx"]


def test_a_failed_export_leaves_the_earlier_file(tmp_path, monkeypatch):
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "g.pt2").write_bytes(b"an earlier one")
    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)  # which takes seconds
    monkeypatch.setattr(torch.export, "save", lambda _, file: file.write(b"a new one"))
    with pytest.raises(OSError, match="No space left.*g.pt2"):
        export_translator(translator(**OTHER), tmp_path / "g.pt2")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("g.pt2", b"an earlier one")]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install onnx onnxscript"):
        parse_test(["--name", "a", "--export", "g.onnx"])
