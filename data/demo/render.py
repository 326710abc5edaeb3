"""From a posed hand to pixels: views, a z-buffer, cast shadows, and the plainly synthetic look."""

from dataclasses import dataclass

import numpy as np
import scipy

from data.demo.hand import Skin, arm_depth, draw_pose, pose_skin, unit, vertex_normals
from data.joints import Camera, project
from data.masks import SYNTHETIC_KEY

CAMERA, SIDE = Camera(fx=330.0, fy=330.0, cx=128.0, cy=128.0), 256  # SIDE: pixels of the square picture


@dataclass(frozen=True)
class Geometry:
    """What the camera sees of one frame, in its frame, mm; P pixels show the hand, in row-major order.

    mask: (H, W) bool. depth: (H, W), 0 off the hand. points, normals: (P, 3). paint: (P, 3), x and y on the resting hand, and
    Skin.side. joints: (21, 3). vertices (V, 3), faces (F, 3): the posed mesh.
    """

    mask: np.ndarray
    depth: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    paint: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray


def draw_frame(skin: Skin, rng: np.random.Generator, *, long_arm: bool) -> Geometry:
    """Draw a pose and a view of a left or right hand, all joints in the picture, and find what each pixel sees. long_arm: the
    forearm reaches out of the picture."""
    arm_mm = rng.uniform(250, 300) if long_arm else rng.uniform(15, 90)
    vertices, joints = pose_skin(skin, *draw_pose(skin.person, rng), arm_mm=arm_mm)
    palm, right = rng.random() < 0.55, rng.random() < 0.5
    tilt = np.clip(rng.normal(0, 1, 3), -2, 2) * np.deg2rad((17, 21, 16))
    facing = np.diag([-1.0, -1.0, 1.0] if palm else [1.0, -1.0, -1.0]) @ np.diag([-1.0 if right else 1.0, 1.0, 1.0])
    rotation = scipy.spatial.transform.Rotation.from_euler("xyz", tilt).as_matrix() @ facing
    joints = joints @ rotation.T
    low, high = joints[:, :2].min(0), joints[:, :2].max(0)
    distance = rng.uniform(300, 400)
    distance *= max(1.0, (high - low).max() / ((SIDE - 30) * distance / CAMERA.fx))
    spare = np.maximum((SIDE - 36) * distance / CAMERA.fx - (high - low), 0) / 2
    # Long arms come in from below, so the hand sits rather high.
    shift = rng.uniform((-0.6, -0.7), (0.6, 0.25)) if long_arm else rng.uniform(-0.6, 0.6, 2)
    offset = np.array([*(shift * spare - (low + high) / 2), distance - joints[:, 2].mean()])
    vertices = vertices @ rotation.T + offset
    faces = skin.faces[:, ::-1] if right else skin.faces
    z = np.maximum(vertices[:, 2], 50.0)
    u, v = project(np.column_stack([vertices[:, :2], z]), CAMERA).T
    # Seen from the camera (y down, z away), a triangle that is counter-clockwise outside has negative area.
    pixel, triangle, weight = rasterise(u, v, -1 / z, faces[:, ::-1], (SIDE, SIDE))
    weight = weight / z[triangle]  # perspective-correct
    weight /= weight.sum(1, keepdims=True)
    paint = np.column_stack([skin.vertices[:, 0], -arm_depth(-skin.vertices[:, 1], arm_mm), skin.side])
    normals, paint, points = (
        np.einsum("pij,pi->pj", each[triangle], weight) for each in (vertex_normals(vertices, faces), paint, vertices)
    )
    depth = np.zeros((SIDE, SIDE), np.float32)
    depth.flat[pixel] = points[:, 2]
    return Geometry(depth > 0, depth, points, unit(normals), paint, joints + offset, vertices, faces)


def rasterise(u: np.ndarray, v: np.ndarray, z: np.ndarray, faces: np.ndarray, shape: tuple[int, int]):
    """The nearest triangle behind each pixel centre: flat pixel numbers (P,), ascending, its vertices and weights (P, 3).

    u, v: (V,) pixels; z: (V,), smaller is nearer. faces: (F, 3); those of positive area on the screen are drawn.
    """
    corners = np.stack([u, v])[:, faces.T]  # (2, 3, F)
    low = np.maximum(np.ceil(corners.min(1) - 0.5), 0).astype(int)
    high = np.minimum(np.floor(corners.max(1) - 0.5), np.array(shape[::-1])[:, None] - 1).astype(int)
    (ax, bx, cx), (ay, by, cy) = corners
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    kept = np.flatnonzero((area > 1e-9) & (high >= low).all(0))
    faces, area, low, high = faces[kept], area[kept], low[:, kept], high[:, kept]
    wide, tall = high - low + 1
    owner = np.repeat(np.arange(len(kept)), wide * tall)
    place = np.arange(len(owner)) - (np.cumsum(wide * tall) - wide * tall)[owner]
    x, y = low[0, owner] + place % wide[owner], low[1, owner] + place // wide[owner]
    (ax, bx, cx), (ay, by, cy) = corners[:, :, kept]
    weights = []  # a corner's weight is a plane over x and y
    for px, py, qx, qy in ((bx, by, cx, cy), (cx, cy, ax, ay), (ax, ay, bx, by)):
        planes = np.stack([py - qy, qx - px, px * qy - qx * py]) / area
        weights.append(planes[0, owner] * (x + 0.5) + planes[1, owner] * (y + 0.5) + planes[2, owner])
    weights = np.stack(weights)
    covered = np.flatnonzero((weights >= -1e-7).all(0))
    triangles, weights, pixel = faces[owner[covered]], weights[:, covered].T, (y * shape[1] + x)[covered]
    order = np.lexsort((np.einsum("pi,pi->p", z[triangles], weights), pixel))
    first = order[np.diff(pixel[order], prepend=-1) > 0]
    return pixel[first], triangles[first], weights[first]


def lit_part(geometry: Geometry, light: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How much of each hand pixel a far light sees, (P,) in [0, 1], by a shadow map with cells of 2 mm.

    light: (3,) unit vector towards it. offsets: (K, 2) mm across its beam to average over; one zero gives a hard edge.
    """
    side = unit(np.cross(light, np.eye(3)[np.abs(light).argmin()]))
    frame = np.stack([side, np.cross(light, side), -light])  # rows: across, across, away from the light
    beam, spot = geometry.vertices @ frame.T, (geometry.points + 1.5 * geometry.normals) @ frame.T
    low = spot[:, :2].min(0) - 12
    columns, rows = np.ceil((spot[:, :2].max(0) + 12 - low) / 2).astype(int)
    # The side away from the light casts the same shadow, and a lit surface can then not shade itself.
    u, v = ((beam[:, :2] - low) / 2).T
    pixel, triangle, weight = rasterise(u, v, beam[:, 2], geometry.faces, (rows, columns))
    nearest = np.full(rows * columns, 1e6)
    nearest[pixel] = np.einsum("pi,pi->p", beam[triangle, 2], weight)
    cells = np.floor((spot[:, None, :2] + offsets - low) / 2).astype(int)  # (P, K, 2)
    cells = np.clip(cells, 0, (columns - 1, rows - 1))
    return (nearest[cells[..., 1] * columns + cells[..., 0]] > spot[:, 2:] - 4.5).mean(1)


def highlight(geometry: Geometry, light: np.ndarray, *, power: float) -> np.ndarray:
    """Blinn's reflection of a far light, (P,) in [0, 1]."""
    return np.clip((geometry.normals * unit(light - unit(geometry.points))).sum(1), 0, 1) ** power


def shade_synthetic(geometry: Geometry, albedo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The synthetic look, uint8 RGB (H, W, 3) on SYNTHETIC_KEY, which no pixel of the hand gets: flat albedo, (3,) in [0, 1], one
    hard light, a break at the wrist."""
    light = unit(np.array([rng.uniform(-0.9, 0.9), rng.uniform(-1.0, 0.1), -1.0]))
    facing, lit = np.clip(geometry.normals @ light, 0, 1), lit_part(geometry, light, np.zeros((1, 2)))
    tone = rng.uniform(0.40, 0.50) + rng.uniform(0.60, 0.72) * facing * lit
    gloss = 0.16 * lit * highlight(geometry, light, power=24)
    # The forearm is another material of the renderer's: duller, darker, without gloss, cut off along a plane.
    arm = geometry.paint[:, 1] < -4
    colour = albedo * np.where(arm, 0.30 + 0.42 * facing, tone)[:, None] + np.where(arm, 0, gloss)[:, None]
    pixels = np.clip(colour * np.where(arm[:, None], (0.97, 0.93, 0.92), 1) * 255 + 0.5, 0, 255).astype(np.uint8)
    pixels[(pixels == SYNTHETIC_KEY).all(1), 1] = 254
    image = np.full((SIDE, SIDE, 3), SYNTHETIC_KEY, np.uint8)
    image[geometry.mask] = pixels
    return image
