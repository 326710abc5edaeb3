"""The generator as a file for other programs, against the network itself."""

import importlib.util
import logging
from types import SimpleNamespace as Namespace

import numpy as np
import pytest
import torch
from helpers import build

from models import departures
from models.export import PortableGenerator, export_translator
from util.errors import UsageError


def trained(*, extend_colors: bool = True, **changes) -> Namespace:
    """As a Translator of a small generator."""
    net = build(None, netD="patch", upsample="smooth", **changes).G_r
    del net.net[10:13]  # three of the four residual blocks, which are alike
    return Namespace(net=net, options=Namespace(mask=True, extend_colors=extend_colors))


MASK = torch.zeros(1, 1, 60, 84)
MASK[..., 12:50, 20:60] = 1
IMAGE = torch.where(MASK > 0, torch.rand(1, 3, 60, 84, generator=torch.Generator().manual_seed(1)) * 2 - 1, 1.0)


@torch.no_grad()
def expected(translator: Namespace) -> torch.Tensor:
    painted = translator.net(departures.extend_colors(IMAGE, MASK) if translator.options.extend_colors else IMAGE)
    return torch.where(MASK > 0, painted, IMAGE)


@pytest.mark.parametrize("extend_colors", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_the_graph_computes_the_same(norm, extend_colors):
    translator = trained(norm=norm, extend_colors=extend_colors)
    net = PortableGenerator(translator.net, extend_colors=extend_colors, masked=True)
    with torch.no_grad():
        torch.testing.assert_close(net(IMAGE, MASK), expected(translator), atol=1e-5, rtol=0)


def test_pt2_takes_other_sizes(tmp_path):
    translator = trained(extend_colors=False)  # the next test exports with it
    export_translator(translator, tmp_path / "g.pt2")
    with torch.no_grad():
        made = torch.export.load(tmp_path / "g.pt2").module()(IMAGE, MASK)
    torch.testing.assert_close(made, expected(translator), atol=1e-5, rtol=0)


def test_onnxruntime_computes_the_same(tmp_path, caplog):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    translator = trained()
    with caplog.at_level(logging.INFO):
        export_translator(translator, tmp_path / "g.onnx")
    assert "opset 18" in caplog.text
    feed = {"image": IMAGE.numpy(), "mask": MASK.numpy()}
    (made,) = runtime.InferenceSession(tmp_path / "g.onnx").run(None, feed)
    assert np.abs(made - expected(translator).numpy()).max() < 1e-4


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    translator = trained()
    with pytest.raises(UsageError, match=r"\.onnx or \.pt2"):
        export_translator(translator, tmp_path / "g.pt")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install onnx onnxscript"):
        export_translator(translator, tmp_path / "g.onnx")
