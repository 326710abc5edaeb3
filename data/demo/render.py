"""From a posed hand to pixels: views, a z-buffer, cast shadows, and the flat synthetic look."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.demo.skeleton import Person, Pose, draw_pose, pose_joints
from data.demo.surface import Skin, arm_depth, pose_skin, vertex_normals

KEY_COLOUR = (14, 255, 14)
BACKGROUND_DEPTH = 32001


class Camera(NamedTuple):
    """Pinhole: u = fx x / z + cx, v = fy y / z + cy in continuous pixels; a pixel's centre lies at +0.5."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


CAMERA = Camera(330.0, 330.0, 128.0, 128.0, 256, 256)


@dataclass(frozen=True)
class Geometry:
    """What the camera sees of one frame; P pixels show the hand.

    mask: (H, W) bool. depth: (H, W) float32 mm, 0 off the hand. normals: (P, 3) camera frame, unit. rest: (P, 3) the
    same skin points on the resting hand, mm. rest_normals: (P, 3). thumb: (P, 4) position along, lateral, dorsal on
    the thumb, and its share. points: (P, 3) camera frame, mm. joints: (21, 3) camera frame, mm. vertices (V, 3) and
    faces (F, 3): the posed mesh, camera frame. Per-pixel arrays follow mask's row-major order.
    """

    mask: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    rest: np.ndarray
    rest_normals: np.ndarray
    thumb: np.ndarray
    points: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class View:
    """How the hand is held before the camera. rotation: (3, 3) hand to camera, a mirror image for a right hand."""

    rotation: np.ndarray
    offset: np.ndarray
    arm_mm: float
    palm: bool


def _turn(axis: int, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = cos, -sin, sin, cos
    return matrix


def draw_view(person: Person, pose: Pose, rng: np.random.Generator, *, long_arm: bool) -> View:
    """Draw side (left, right), palm or back, tilt and place, so that all joints lie in the picture.

    long_arm: the forearm reaches out of the picture; otherwise it is a stump of 15 to 90 mm.
    """
    palm = bool(rng.random() < 0.55)
    mirror = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0, 1.0])
    facing = np.diag([-1.0, -1.0, 1.0]) if palm else np.diag([1.0, -1.0, -1.0])
    tilt = np.clip(rng.normal(0, 1, 3), -2, 2) * np.deg2rad((17, 21, 16))
    if pose.name == "thumb_up":
        tilt[2] += 0.3 * rng.normal()
    rotation = _turn(2, tilt[2]) @ _turn(1, tilt[1]) @ _turn(0, tilt[0]) @ facing @ mirror
    joints = pose_joints(person, pose) @ rotation.T
    low, high = joints[:, :2].min(0), joints[:, :2].max(0)
    distance = rng.uniform(300, 400)
    room = (CAMERA.width - 30) * distance / CAMERA.fx  # mm that the picture spans at that distance, less a margin
    distance *= max(1.0, (high - low).max() / room)
    spare = np.maximum((CAMERA.width - 36) * distance / CAMERA.fx - (high - low), 0) / 2
    shift = rng.uniform(-0.6, 0.6, 2) * spare
    if long_arm:  # arms come in from below, so the hand sits rather high
        shift[1] = rng.uniform(-0.7, 0.25) * spare[1]
    centre = (low + high) / 2
    offset = np.array([shift[0] - centre[0], shift[1] - centre[1], distance - joints[:, 2].mean()])
    arm_mm = rng.uniform(250, 300) if long_arm else rng.uniform(15, 90)
    return View(rotation, offset, float(arm_mm), palm)


def rasterise(u: np.ndarray, v: np.ndarray, z: np.ndarray, faces: np.ndarray, shape: tuple[int, int]):
    """Nearest triangle behind each pixel centre.

    u, v: (V,) pixels; z: (V,), smaller is nearer. faces: (F, 3), only triangles of positive area on the screen are
    drawn. Returns flat pixel numbers (P,), ascending, triangles (P, 3) as vertex numbers and weights (P, 3).
    """
    height, width = shape
    fu, fv = u[faces], v[faces]
    area = (fu[:, 1] - fu[:, 0]) * (fv[:, 2] - fv[:, 0]) - (fu[:, 2] - fu[:, 0]) * (fv[:, 1] - fv[:, 0])
    x0 = np.maximum(np.ceil(fu.min(1) - 0.5), 0).astype(np.int64)
    x1 = np.minimum(np.floor(fu.max(1) - 0.5), width - 1).astype(np.int64)
    y0 = np.maximum(np.ceil(fv.min(1) - 0.5), 0).astype(np.int64)
    y1 = np.minimum(np.floor(fv.max(1) - 0.5), height - 1).astype(np.int64)
    kept = np.flatnonzero((area > 1e-9) & (x1 >= x0) & (y1 >= y0))
    fu, fv, area, faces = fu[kept], fv[kept], area[kept], faces[kept]
    x0, y0, wide, high = x0[kept], y0[kept], (x1 - x0 + 1)[kept], (y1 - y0 + 1)[kept]
    size = wide * high
    owner = np.repeat(np.arange(len(kept)), size)
    k = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    px = x0[owner] + k % wide[owner]
    py = y0[owner] + k // wide[owner]
    # Edge functions as planes in x and y, one triple a triangle.
    weights = []
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        slope_x = (fv[:, j] - fv[:, k]) / area
        slope_y = (fu[:, k] - fu[:, j]) / area
        base = (fu[:, j] * fv[:, k] - fu[:, k] * fv[:, j]) / area
        weights.append(slope_x[owner] * (px + 0.5) + slope_y[owner] * (py + 0.5) + base[owner])
    covered = np.flatnonzero((weights[0] >= -1e-7) & (weights[1] >= -1e-7) & (weights[2] >= -1e-7))
    owner = owner[covered]
    weights = np.stack([w[covered] for w in weights], 1)
    pixel = py[covered] * width + px[covered]
    depth = (z[faces[owner]] * weights).sum(1)
    order = np.lexsort((depth, pixel))
    first = np.ones(len(order), bool)
    first[1:] = pixel[order[1:]] != pixel[order[:-1]]
    chosen = order[first]
    return pixel[chosen], faces[owner[chosen]], weights[chosen]


def see(skin: Skin, pose: Pose, view: View) -> Geometry:
    """Pose the skin, hold it before CAMERA and find what each pixel sees."""
    vertices = pose_skin(skin, pose, arm_mm=view.arm_mm).astype(np.float64)
    vertices = np.einsum("ij,vj->vi", view.rotation, vertices) + view.offset
    faces = skin.faces if np.linalg.det(view.rotation) > 0 else skin.faces[:, ::-1]
    normals = vertex_normals(vertices, faces)
    z = np.maximum(vertices[:, 2], 50.0)
    u = CAMERA.fx * vertices[:, 0] / z + CAMERA.cx
    v = CAMERA.fy * vertices[:, 1] / z + CAMERA.cy
    # Seen from the camera (y down, z away), a triangle that is counter-clockwise outside has negative area.
    pixel, triangle, weight = rasterise(u, v, -1.0 / z, faces[:, ::-1], (CAMERA.height, CAMERA.width))
    seen_z = 1.0 / (weight / z[triangle]).sum(1)
    weight = weight / z[triangle] * seen_z[:, None]  # perspective-correct

    thumb = np.concatenate([skin.local[0], skin.members[0][:, None]], 1)
    rest = skin.vertices.copy()
    rest[:, 1] = -arm_depth(-rest[:, 1], view.arm_mm)
    attributes = np.concatenate([normals, rest, skin.normals, thumb], 1).astype(np.float32)
    w = weight.astype(np.float32)
    seen = sum(attributes[triangle[:, i]] * w[:, i : i + 1] for i in range(3))
    normal = seen[:, :3] / (np.linalg.norm(seen[:, :3], axis=1, keepdims=True) + 1e-6)
    mask = np.zeros(CAMERA.height * CAMERA.width, bool)
    mask[pixel] = True
    depth = np.zeros(mask.shape, np.float32)
    depth[pixel] = seen_z
    px, py = pixel % CAMERA.width + 0.5, pixel // CAMERA.width + 0.5
    rays = np.stack([(px - CAMERA.cx) / CAMERA.fx, (py - CAMERA.cy) / CAMERA.fy, np.ones(len(px))], 1)
    points = rays * seen_z[:, None]
    joints = np.einsum("ij,vj->vi", view.rotation, pose_joints(skin.person, pose)) + view.offset
    shape = (CAMERA.height, CAMERA.width)
    return Geometry(
        mask.reshape(shape),
        depth.reshape(shape),
        normal,
        seen[:, 3:6],
        seen[:, 6:9],
        seen[:, 9:13],
        points,
        joints,
        vertices,
        faces,
    )


def lit_part(geometry: Geometry, light: np.ndarray, offsets: np.ndarray, *, bias_mm: float = 4.0) -> np.ndarray:
    """How much of each hand pixel a far light sees, (P,) in [0, 1].

    light: (3,) unit vector towards the light. offsets: (K, 2) mm across the light's beam over which to average: one
    zero offset gives a hard shadow's edge.
    """
    cell = 2.0
    side = np.cross(light, [0.0, 1.0, 0.0] if abs(light[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(light, side), -light])  # rows: across, across, away from the light
    beam = np.einsum("ij,vj->vi", frame, geometry.vertices)
    spot = np.einsum("ij,vj->vi", frame, geometry.points + 1.5 * geometry.normals)
    low = np.minimum(spot[:, :2].min(0), 1e9) - 12
    shape = tuple(np.ceil((spot[:, :2].max(0) + 12 - low) / cell).astype(int)[::-1])
    flat = (beam[:, :2] - low) / cell
    faces = geometry.faces
    # The side away from the light casts the same shadow, and a lit surface can then not shade itself.
    pixel, triangle, weight = rasterise(flat[:, 0], flat[:, 1], beam[:, 2], faces, shape)
    nearest = np.full(shape[0] * shape[1], 1e6)
    nearest[pixel] = (beam[:, 2][triangle] * weight).sum(1)
    lit = np.zeros(len(spot))
    for offset in offsets:
        at = np.floor((spot[:, :2] + offset - low) / cell).astype(int)
        at = np.clip(at, 0, np.array(shape[::-1]) - 1)
        lit += nearest[at[:, 1] * shape[1] + at[:, 0]] > spot[:, 2] - bias_mm
    return lit / len(offsets)


def shade_synthetic(geometry: Geometry, albedo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The synthetic look, uint8 RGB (H, W, 3) on KEY_COLOUR: flat albedo, one hard light, a break at the wrist.

    albedo: (3,) in [0, 1], sRGB. No pixel of the hand gets KEY_COLOUR, and the border is not blended with it.
    """
    light = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-1.0, 0.1), -1.0])
    light /= np.linalg.norm(light)
    normals = geometry.normals
    facing = np.clip((normals * light).sum(1), 0, 1)
    lit = lit_part(geometry, light, np.zeros((1, 2)))
    gaze = -geometry.points / np.linalg.norm(geometry.points, axis=1, keepdims=True)
    half = gaze + light
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gloss = np.clip((normals * half).sum(1), 0, 1) ** 24
    ambient, strength = rng.uniform(0.40, 0.50), rng.uniform(0.60, 0.72)
    tone = ambient + strength * facing * lit
    # The forearm is another material of the renderer's: duller, darker, without gloss, cut off along a plane.
    arm = geometry.rest[:, 1] < -4.0
    tone = np.where(arm, 0.30 + 0.42 * facing, tone)
    gloss = np.where(arm, 0.0, gloss * 0.16 * lit)
    colour = np.where(arm[:, None], albedo * (0.97, 0.93, 0.92), albedo)
    colour = colour * tone[:, None] + gloss[:, None]
    image = np.empty((CAMERA.height, CAMERA.width, 3), np.uint8)
    image[:] = KEY_COLOUR
    pixels = np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)
    pixels[(pixels == KEY_COLOUR).all(1), 1] = 254
    image[geometry.mask] = pixels
    return image


def draw_frame(skin: Skin, rng: np.random.Generator, *, long_arm: bool, kind: str | None = None) -> Geometry:
    """Draw a pose and a view of one person and see it."""
    pose = draw_pose(skin.person, rng, kind)
    return see(skin, pose, draw_view(skin.person, pose, rng, long_arm=long_arm))
