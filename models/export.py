"""A trained generator as one file for other programs: ONNX, or PyTorch's exported program (.pt2)."""

import importlib.util
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from models import departures
from models.hgan import composite
from models.load import Translator
from models.networks.resnet_generator import ResNetGenerator
from util.errors import UsageError

log = logging.getLogger(__name__)

FORMATS = (".onnx", ".pt2")
INPUTS = ("image", "mask")
OPSET = 18  # of ONNX's operators
LARGEST = 8192  # pixels: the largest side


class PortableGenerator(nn.Module):
    """A generator with its input's preparation and compositing, as test.py computes it.

    image (N, 3, H, W) in [-1, 1], RGB, white outside the hand, and mask (N, 1, H, W) in {0, 1} -> the translated image,
    (N, 3, H, W) in [-1, 1]; H and W are multiples of 4.
    """

    def __init__(self, generator: ResNetGenerator, *, extend_colors: bool, masked: bool) -> None:
        super().__init__()
        self.generator, self.extend_colors, self.masked = generator, extend_colors, masked

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        painted = self.generator(departures.extend_colors(image, mask) if self.extend_colors else image)
        return composite(painted, image, mask if self.masked else None)


def export_translator(model: Translator, path: Path) -> None:
    """Write the generator to path, whose suffix is one of FORMATS. Raises UsageError, also for missing packages."""
    if path.suffix not in FORMATS:
        raise UsageError(f"--export {path}: the name must end in {' or '.join(FORMATS)}")
    onnx = path.suffix == ".onnx"
    if onnx and not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise UsageError(f"--export {path} needs packages: pip install onnx onnxscript; or export to a .pt2 file")
    options = model.options
    net = PortableGenerator(model.net.cpu().float().eval(), extend_colors=options.extend_colors, masked=options.mask)
    example = (torch.zeros(2, 3, 64, 96), torch.ones(2, 1, 64, 96))
    batch = torch.export.Dim("batch", min=1, max=4096)
    height, width = (4 * torch.export.Dim(f"quarter_{side}", min=4, max=LARGEST // 4) for side in ("height", "width"))
    shapes = {name: {0: batch, 2: height, 3: width} for name in INPUTS}
    with torch.no_grad():
        program = torch.export.export(net, example, dynamic_shapes=shapes, strict=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    if onnx:
        names = {"input_names": list(INPUTS), "output_names": ["translated"]}
        exported = torch.onnx.export(program, **names, opset_version=OPSET, dynamo=True, verbose=False)
        exported.save(str(path), external_data=False)
    else:
        torch.export.save(program, path)
    opset = f", opset {OPSET}" if onnx else ""
    log.info("exported: %s (image, mask: float32 (N, 3 or 1, H, W), H and W multiples of 4%s)", path, opset)
