"""A trained generator as one file for other programs: ONNX, or PyTorch's exported program (.pt2)."""

import importlib.util
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.load import Translator
from models.networks.hand_norm import EPS, level_weights
from models.networks.layers import InstanceNorm
from models.networks.resnet_generator import ResidualBlock, ResNetGenerator
from util.errors import UsageError

log = logging.getLogger(__name__)

OPSET = 18  # of ONNX's operators
LARGEST = 2048  # times 4 pixels a side
FORMATS = (".onnx", ".pt2")


class PortableGenerator(nn.Module):
    """What test.py computes of a hand, as a graph of plain operators for any batch and any size.

    image (N, 3, H, W) in [-1, 1], RGB, white outside the hand; mask (N, 1, H, W) in {0, 1}; H and W are multiples of 4.
    noise (N, 3, H, W), only for runs with --input_noise: standard normal; zeros do as well, for a slightly smoother
    skin. Returns the translated image (N, 3, H, W) in [-1, 1], composited by the mask where the run has masks.
    """

    def __init__(self, generator: ResNetGenerator, *, input_noise: float, masked: bool) -> None:
        super().__init__()
        self.generator, self.input_noise, self.masked = generator, input_noise, masked

    def forward(self, image: Tensor, mask: Tensor, noise: Tensor | None = None) -> Tensor:
        generator = self.generator
        x = image if noise is None else image + self.input_noise * noise
        weights = None
        if generator.hand_share:
            weights = level_weights(mask, generator.hand_share, levels=generator.halvings + 1)
        painted = _walk(generator.net, x, weights).tanh()
        return torch.where(mask > 0.5, painted, image) if self.masked else painted


def _walk(layers: nn.Sequential, x: Tensor, weights: list[Tensor] | None, level: int = 0) -> Tensor:
    """The layers in order; `level` counts the halvings, by which each normalisation finds its weights."""
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            x = x + _walk(layer.body, x, weights, level)
        elif isinstance(layer, InstanceNorm):
            x = F.instance_norm(x) if weights is None else _normalised(x, weights[level])
        else:
            height = x.shape[-2]
            x = layer(x)
            level += int(x.shape[-2] < height) - int(x.shape[-2] > height)
    return x


def _normalised(x: Tensor, weights: Tensor) -> Tensor:
    """models.networks.hand_norm.weighted_instance_norm in operators that every format knows."""
    share = weights.view(x.shape[0], 1, x.shape[2], x.shape[3])
    centred = x - (x * share).sum((2, 3), keepdim=True)
    return centred * ((centred * centred * share).sum((2, 3), keepdim=True) + EPS).rsqrt()


def export_translator(model: Translator, path: Path) -> None:
    """Write the generator to path, whose suffix chooses the format. Raises UsageError for another suffix, and where the
    packages that a format needs are not installed."""
    if path.suffix not in FORMATS:
        raise UsageError(f"--export {path}: the name must end in {' or '.join(FORMATS)}")
    if path.suffix == ".onnx":
        _check_packages(path)
    net = PortableGenerator(model.net.cpu().float().eval(), input_noise=model.input_noise, masked=model.options.mask)
    inputs = [torch.zeros(2, 3, 64, 96), torch.ones(2, 1, 64, 96)]
    names = ["image", "mask"]
    if model.input_noise:
        inputs.append(torch.zeros(2, 3, 64, 96))
        names.append("noise")
    batch = torch.export.Dim("batch", min=1, max=4096)
    height, width = (4 * torch.export.Dim(name, min=4, max=LARGEST) for name in ("quarter_height", "quarter_width"))
    shapes = {name: {0: batch, 2: height, 3: width} for name in names}
    with torch.no_grad():
        program = torch.export.export(net, tuple(inputs), dynamic_shapes=shapes, strict=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pt2":
        torch.export.save(program, path)
    else:
        _write_onnx(program, path, names)
    sizes = f"{', '.join(names)}: float32 (N, 3 or 1, H, W), H and W multiples of 4"
    log.info("exported: %s (%s)", path, sizes + (f", opset {OPSET}" if path.suffix == ".onnx" else ""))


def _check_packages(path: Path) -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--export {path} needs the packages onnx and onnxscript ({' and '.join(missing)} missing): "
            "pip install onnx onnxscript; or export to a .pt2 file"
        )


def _write_onnx(program: torch.export.ExportedProgram, path: Path, names: list[str]) -> None:
    written = torch.onnx.export(
        program, input_names=names, output_names=["translated"], opset_version=OPSET, dynamo=True, verbose=False
    )
    written.save(str(path), external_data=False)
