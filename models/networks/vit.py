"""The Vision Transformer that classifies synthetic, real and generated hands (paper, section IV.D), of torchvision.

Dosovitskiy et al., "An image is worth 16x16 words", 2021. Trained from scratch, as in the paper; only the initial weights are ours.
"""

import math

import torch
from torch import nn

from models import PATCH_SIZE, VITS


def create_vit(name: str, *, img_size: int, num_classes: int) -> nn.Module:
    """Images (N, 3, img_size, img_size) in [-1, 1] -> logits (N, num_classes); img_size is a multiple of PATCH_SIZE.

    Linear layers start as truncated normals of deviation 0.02, biases as zeros. With 0.02 everywhere, attention's logits start
    near zero, and the class token sees a mean over all patches for hundreds of steps. So queries and keys have deviation
    width^-0.5, and positions start as sines and cosines of the patches' order: heads attend to different places from the
    first step on.
    """
    from torchvision.models.vision_transformer import VisionTransformer  # takes seconds to import

    width, depth, heads = (VITS[name][key] for key in ("width", "depth", "heads"))
    net = VisionTransformer(img_size, PATCH_SIZE, depth, heads, width, 4 * width, num_classes=num_classes)
    nn.init.trunc_normal_(net.class_token, std=0.02)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        for block in net.encoder.layers:
            query_and_key, value = block.self_attention.in_proj_weight.split([2 * width, width])
            nn.init.trunc_normal_(query_and_key, std=width**-0.5)
            nn.init.trunc_normal_(value, std=0.02)
        net.encoder.pos_embedding[0, 0].zero_()  # the class token's
        net.encoder.pos_embedding[0, 1:] = sine_positions(img_size // PATCH_SIZE, width)
    return net


def sine_positions(grid: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column, (grid * grid, width), row by row (Vaswani et al. 2017, for two axes).

    A quarter of the features each: the row's sine and cosine, and the column's, at wavelengths of 2 pi to 20,000 pi patches.
    """
    wavelengths = math.ceil(width / 4)
    frequencies = 10_000 ** (-torch.arange(wavelengths) / wavelengths)
    angles = torch.arange(grid)[:, None] * frequencies  # (grid, wavelengths)
    rows, columns = angles.repeat_interleave(grid, dim=0), angles.repeat(grid, 1)
    return torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=1)[:, :width]
