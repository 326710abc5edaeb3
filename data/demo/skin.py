"""The demo's real look: painted skin on the posed hand, in soft light with warm shadows."""

import cv2
import numpy as np

from data.demo.paint import MAP_LOW, PIXELS_PER_MM, Paint
from data.demo.render import CAMERA, Geometry, lit_part
from data.demo.surface import smoothstep


def _look_up(tables: tuple[np.ndarray, ...], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples (P, 5) of a map's albedo and relief at columns x, rows y."""
    x, y = x[None].astype(np.float32), y[None].astype(np.float32)
    samples = [cv2.remap(table, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] for table in tables]
    return np.concatenate(samples, 1)


def _skin_at(geometry: Geometry, paint: Paint) -> np.ndarray:
    """Painted skin of each hand pixel, (P, 5)."""
    x, y = geometry.rest[:, 0], geometry.rest[:, 1]
    y = np.where(y < -20, -60 + np.abs((-20 - y) % 80 - 40), y)  # the forearm's far end repeats its near one, mirrored
    at = (np.stack([x, y], 1) - MAP_LOW) * PIXELS_PER_MM
    back = smoothstep(-0.30, 0.30, geometry.rest_normals[:, 2])[:, None].astype(np.float32)
    skin = _look_up(paint.maps["palm"], *at.T) * (1 - back) + _look_up(paint.maps["back"], *at.T) * back
    along, lateral, dorsal, share = geometry.thumb.T
    thumb = np.flatnonzero((share > 0.3) & (along > 0.6))
    if len(thumb):
        x, y = (lateral[thumb] + 1.6) * 50, along[thumb] * 100
        back = smoothstep(-0.35, 0.30, dorsal[thumb])[:, None].astype(np.float32)
        own = _look_up(paint.maps["thumb_palm"], x, y) * (1 - back) + _look_up(paint.maps["thumb_back"], x, y) * back
        blend = (smoothstep(0.3, 0.8, share[thumb]) * smoothstep(0.6, 1.05, along[thumb]))[:, None]
        skin[thumb] = skin[thumb] * (1 - blend) + own * blend
    return skin


def spread_within(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Blur values (H, W[, C]) over the mask alone; off the mask, the blur of the nearest hand pixels."""
    cover = mask.astype(np.float32)
    weight = np.maximum(cv2.GaussianBlur(cover, (0, 0), sigma), 1e-4)
    if values.ndim == 3:
        cover, weight = cover[..., None], weight[..., None]
    return cv2.GaussianBlur(values * cover, (0, 0), sigma) / weight


def _occlusion(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ambient light that reaches each pixel, (H, W) in [0, 1], from how far it lies behind its surroundings."""
    open_sky = np.ones(mask.shape, np.float32)
    half = (mask.shape[1] // 2, mask.shape[0] // 2)
    small_cover = cv2.resize(mask.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    small_depth = cv2.resize(depth, half, interpolation=cv2.INTER_AREA)  # depth times cover: 0 off the hand
    for sigma, span in ((2.0, 9.0), (5.0, 22.0), (12.0, 46.0)):
        mean = cv2.GaussianBlur(small_depth, (0, 0), sigma / 2)
        mean /= np.maximum(cv2.GaussianBlur(small_cover, (0, 0), sigma / 2), 1e-4)
        behind = depth - cv2.resize(mean, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        open_sky *= 1 - 0.42 * np.clip((behind - 0.8) / span, 0, 1) ** 0.8
    return open_sky


def shade_real(geometry: Geometry, paint: Paint, rng: np.random.Generator) -> np.ndarray:
    """The real look, float32 sRGB (H, W, 3) in [0, 1]; colours are carried on a few pixels past the hand's border."""
    rows, columns = np.flatnonzero(geometry.mask.any(1)), np.flatnonzero(geometry.mask.any(0))
    box = tuple(slice(max(line[0] - 12, 0), line[-1] + 13) for line in (rows, columns))  # all else is off the hand
    mask = geometry.mask[box]
    shape = mask.shape
    skin = _skin_at(geometry, paint).astype(np.float32)

    def image(values: np.ndarray) -> np.ndarray:
        full = np.zeros(shape + values.shape[1:], np.float32)
        full[mask] = values
        return full

    height = image(skin[:, 3])
    height = np.where(mask, height, spread_within(height, mask, 1.5))
    slope_x, slope_y = (cv2.Sobel(height, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    normals = geometry.normals - 0.85 * np.stack([slope_x[mask], slope_y[mask], np.zeros_like(skin[:, 0])], 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)

    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-1.1, -0.1), -rng.uniform(0.7, 1.2)])
    light = (light / np.linalg.norm(light)).astype(np.float32)
    warmth = rng.uniform(-1, 1)
    key = np.array([1 + 0.06 * warmth, 1.0, 1 - 0.09 * warmth], np.float32) * rng.uniform(0.75, 1.0)
    sky = np.array([1 - 0.03 * warmth, 1.0, 1 + 0.04 * warmth], np.float32) * rng.uniform(0.28, 0.42)
    angle = np.arange(8) * 2.4
    offsets = np.stack([np.cos(angle), np.sin(angle)], 1) * np.sqrt(np.arange(8) + 0.5)[:, None] * 2.6
    lit = spread_within(image(lit_part(geometry, light, offsets, bias_mm=5.0)), mask, 1.6)
    open_sky = _occlusion(geometry.depth[box], mask)
    facing = (normals * light).sum(1)
    wrap = np.array([0.48, 0.32, 0.26], np.float32)
    direct = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1) ** 1.15
    # Light bleeds under the skin, red farthest, so shadows and folds turn warm.
    shadow = 1 - (1 - lit[mask][:, None]) * np.array([0.74, 0.84, 0.87], np.float32)
    around = open_sky[mask][:, None] ** np.array([0.75, 1.1, 1.2], np.float32)
    upward = 0.72 - 0.20 * normals[:, 1:2] - 0.12 * normals[:, 2:3]
    light_in = image((key * direct * shadow * (0.35 + 0.65 * around) + sky * upward * around).astype(np.float32))
    for channel, sigma in enumerate((1.7, 1.0, 0.8)):
        light_in[..., channel] = spread_within(np.ascontiguousarray(light_in[..., channel]), mask, sigma)
    colour = skin[:, :3] * light_in[mask]

    gaze = (-geometry.points / np.linalg.norm(geometry.points, axis=1, keepdims=True)).astype(np.float32)
    half = gaze + light
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    glint = np.clip((normals * half).sum(1), 0, 1) ** 18 * lit[mask]
    rim = (1 - np.clip((geometry.normals * gaze).sum(1), 0, 1)) ** 3
    colour = colour + (0.085 * paint.shine * skin[:, 4] * glint + 0.02 * rim * open_sky[mask])[:, None] * key

    colour = 1.28 * colour
    colour = colour * (1 + 0.10 * colour) / (1 + 0.30 * colour)  # a soft shoulder, as cameras have
    srgb = image(np.clip(colour, 0, 1) ** (1 / 2.2))
    picture = np.zeros((CAMERA.height, CAMERA.width, 3), np.float32)
    picture[box] = np.where(mask[..., None], srgb, np.clip(spread_within(srgb, mask, 1.5), 0, 1))
    return picture
