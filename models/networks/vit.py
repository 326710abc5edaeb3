"""The Vision Transformer that classifies synthetic, real and generated hands (paper, section IV.D).

Dosovitskiy et al., "An image is worth 16x16 words", 2021. Parameter names are those of timm's
`vit_*_patch16_224` models, so that their state dicts can be loaded (except for the number of classes).
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from models import PATCH_SIZE


class VisionTransformer(nn.Module):
    """Images (N, 3, S, S) in [-1, 1] -> logits (N, num_classes), randomly initialised. width, depth, heads: see models.VITS. S,
    img_size, sets the grid of learned positions. It must be a multiple of PATCH_SIZE, and width one of heads."""

    def __init__(self, *, width: int, depth: int, heads: int, img_size: int, num_classes: int) -> None:
        super().__init__()
        self.grid = img_size // PATCH_SIZE
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, PATCH_SIZE, stride=PATCH_SIZE)))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid**2, width))  # the class token's comes first
        self.blocks = nn.ModuleList(Block(width=width, heads=heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Truncated normals of deviation 0.02 for most linear layers, zero biases, patches of unit variance.

        With 0.02 everywhere, attention's logits start near zero, and the class token sees a mean over all patches for
        hundreds of steps. So queries and keys have deviation width^-0.5, and positions start as sines and cosines of the
        patches' order: heads attend to different places from the first step on.
        """
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        width = self.cls_token.shape[-1]
        for block in self.blocks:
            nn.init.trunc_normal_(block.attn["qkv"].weight[: 2 * width], std=width**-0.5)
        with torch.no_grad():
            self.pos_embed[:, :1].zero_()
            self.pos_embed[:, 1:] = sine_positions(self.grid, width)
        fan_in = self.patch_embed.proj.weight[0].numel()
        nn.init.trunc_normal_(self.patch_embed.proj.weight, std=fan_in**-0.5)
        nn.init.zeros_(self.patch_embed.proj.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)  # (N, grid * grid, width)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


def sine_positions(grid: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column, (grid * grid, width), row by row (Vaswani et al. 2017, for two axes).

    A quarter of the features each: the row's sine and cosine, and the column's, at wavelengths of 2 pi to 20,000 pi patches.
    """
    wavelengths = math.ceil(width / 4)
    frequencies = 10_000 ** (-torch.arange(wavelengths) / wavelengths)
    angles = torch.arange(grid)[:, None] * frequencies  # (grid, wavelengths)
    rows, columns = angles.repeat_interleave(grid, dim=0), angles.repeat(grid, 1)
    return torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=1)[:, :width]


class Block(nn.Module):
    """(N, T, width) -> the same: multi-head self-attention, then an MLP four times as wide, both pre-norm and residual."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        # (N, T, 3 * width) -> three of (N, heads, T, width / heads)
        qkv = self.attn["qkv"](self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv)
        # (N, heads, T, width / heads) -> (N, T, width)
        tokens = tokens + self.attn["proj"](mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens))
