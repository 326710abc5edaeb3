"""The generator as a file for other programs, against the network itself."""

import importlib.util
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import CPU, build

from models import departures
from models.export import INPUTS, PortableGenerator, export_translator
from models.load import Translator
from util.errors import UsageError


def trained(*, extend_colors: bool = True, **changes) -> Translator:
    """A Translator around a small generator, without a run's folder."""
    model = build(None, netD="patch", upsample="smooth", **changes)
    translator = Translator.__new__(Translator)
    translator.net, translator.device = model.G_r, CPU
    del translator.net.net[10:13]  # three of the four residual blocks, which are alike
    translator.options = SimpleNamespace(mask=True, extend_colors=extend_colors)
    return translator


def inputs(height: int = 60, width: int = 84) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    mask = torch.zeros(1, 1, height, width)
    mask[..., 12:50, 20:60] = 1
    image = torch.where(mask > 0, torch.rand(1, 3, height, width, generator=random) * 2 - 1, 1.0)
    return image, mask


def expected(translator: Translator) -> torch.Tensor:
    image, mask = inputs()
    with torch.no_grad():
        painted = translator.net(departures.extend_colors(image, mask) if translator.options.extend_colors else image)
    return torch.where(mask > 0, painted, image)


@pytest.mark.parametrize("extend_colors", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_the_graph_computes_the_same(norm, extend_colors):
    translator = trained(norm=norm, extend_colors=extend_colors)
    net = PortableGenerator(translator.net, extend_colors=extend_colors, masked=True)
    with torch.no_grad():
        torch.testing.assert_close(net(*inputs()), expected(translator), atol=1e-5, rtol=0)


def test_pt2_takes_other_sizes(tmp_path):
    translator = trained(
        extend_colors=False
    )  # the graph that test_onnxruntime_computes_the_same has is exported with it
    export_translator(translator, tmp_path / "g.pt2")
    with torch.no_grad():
        made = torch.export.load(tmp_path / "g.pt2").module()(*inputs())
    torch.testing.assert_close(made, expected(translator), atol=1e-5, rtol=0)


def test_onnxruntime_computes_the_same(tmp_path, caplog):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    translator = trained()
    with caplog.at_level(logging.INFO):
        export_translator(translator, tmp_path / "g.onnx")
    assert "opset 18" in caplog.text
    feed = {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs())}
    (made,) = runtime.InferenceSession(tmp_path / "g.onnx").run(None, feed)
    assert np.abs(made - expected(translator).numpy()).max() < 1e-4


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    translator = trained()
    with pytest.raises(UsageError, match=r"\.onnx or \.pt2"):
        export_translator(translator, tmp_path / "g.pt")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="onnx and onnxscript missing.*pip install onnx onnxscript"):
        export_translator(translator, tmp_path / "g.onnx")
