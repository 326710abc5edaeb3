"""A trained generator as one file for other programs: ONNX, or PyTorch's exported program (.pt2)."""

import io
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from models import departures
from models.hgan import composite, tone_of
from models.load import Translator
from models.translation import side_bounds
from util.files import write_bytes

log = logging.getLogger(__name__)

INPUTS = ("image", "mask")
OPSET = 18  # of ONNX's operators
SIDES = {"min": 16, "max": 8192}  # pixels


class ExportedGraph(nn.Module):
    """What load_translator's callable computes, as one graph: the hand's box, the generator, compositing.

    image (1, 3, H, W) in [-1, 1], RGB, and mask (1, 1, H, W), above 0.5 on the hand -> (1, 3, H, W) in [-1, 1]. H and W are
    16 or more.
    """

    def __init__(self, model: Translator) -> None:
        super().__init__()
        self.generator, self.options = model.net.cpu().float().eval(), model.options
        self.tones = model.tones and model.tones.cpu()
        self.tone = tone_of(self.tones, model.direction)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        hand, masked = mask > 0.5, self.options.mask
        seen = torch.where(hand, image, 1.0)
        sides = [self._side(hand.any(dim=axis).flatten()) for axis in (3, 2)]  # of the box: (start, length), tensors
        box, inside = seen, hand.to(seen.dtype)
        for axis, (start, length) in zip((2, 3), sides):
            places = start + torch.arange(_size(length, SIDES["min"], image.shape[axis]))
            box, inside = box.index_select(axis, places), inside.index_select(axis, places)
        x = departures.extend_colors(box, inside) if self.options.extend_colors else box
        views = self.options.mean_of_views
        painted = departures.mean_of_views(self._paint, x, masked=masked) if views else self._paint(x)
        painted = self.tone(painted, box, inside) if self.tone else painted
        within = torch.ones_like(hand)
        for axis, (start, length) in zip((2, 3), sides):
            places = torch.arange(image.shape[axis]) - start
            painted = painted.index_select(axis, places.clamp(min=0).minimum(length - 1))
            within = within & ((places >= 0) & (places < length)).reshape((-1, 1) if axis == 2 else (1, -1))
        return composite(painted, image if masked else seen, hand & within if masked else within)

    def _paint(self, box: Tensor) -> Tensor:
        """The generator's image of the box, which is padded to a multiple of 4, as ResNetGenerator does."""
        size = box.shape[2:]
        for axis, length in zip((2, 3), size):
            places = torch.arange((length + 3) // 4 * 4)
            box = box.index_select(axis, torch.minimum(places, 2 * (length - 1) - places))
        return self.generator.net(box).tanh()[..., : size[0], : size[1]]

    def _side(self, hand: Tensor) -> tuple[Tensor, Tensor]:
        """The box along a side, start and length, by where the hand is along it, bool (L,); without crop_to_hand all of it."""
        if self.options.crop_to_hand:
            return side_bounds(hand)
        return torch.zeros((), dtype=torch.int64), torch.full((), hand.shape[0], dtype=torch.int64)


def _size(length: Tensor, low: int, high: int) -> int:
    """A length that is known when the graph runs, as a size between the two."""
    size = length.item()
    torch._check(size >= low)
    torch._check(size <= high)
    return size


def export_translator(model: Translator, path: Path) -> None:
    """Write the translator to path, FILE.onnx or FILE.pt2."""
    onnx = path.suffix == ".onnx"
    net = ExportedGraph(model)
    example = (torch.zeros(1, 3, 68, 99), torch.ones(1, 1, 68, 99))
    height, width = (torch.export.Dim(side, **SIDES) for side in ("height", "width"))
    with torch.no_grad():
        shapes = dict.fromkeys(INPUTS, {2: height, 3: width})
        program = torch.export.export(net, example, dynamic_shapes=shapes, strict=False)
    packed = io.BytesIO()
    if onnx:
        names = {"input_names": list(INPUTS), "output_names": ["translated"]}
        logging.disable(logging.WARNING)  # the exporter says every change that it makes
        try:
            exported = torch.onnx.export(program, **names, opset_version=OPSET, dynamo=True, verbose=False)
        finally:
            logging.disable(logging.NOTSET)
        packed.write(exported.model_proto.SerializeToString())
    else:
        torch.export.save(program, packed)
    write_bytes(path, packed.getbuffer(), sync=True)
    sizes = f"image (1, 3, H, W), mask (1, 1, H, W), H and W from {SIDES['min']} up"
    log.info("exported: %s (%s%s)", path, sizes, f", opset {OPSET}" if onnx else "")
