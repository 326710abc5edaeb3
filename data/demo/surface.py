"""The demo's hand surface: one smooth skin mesh a person, and how it follows the skeleton.

At rest the skin is the zero level of a smooth union of tapered rounds along bones, palm muscles and forearm. Posing turns
every vertex by its own share of each joint's angle, which keeps the knuckles' volume; linear blend skinning loses it.
"""

from dataclasses import dataclass

import numpy as np

from data.demo.skeleton import CHAINS, Person, bend, rotate, unit

VOXEL = 2.15  # mm
ARM = 40.0  # mm of forearm in the rest mesh; posing stretches it to the length that is asked for
_LOW, _HIGH = np.array([-68.0, -ARM - 6, -52.0]), np.array([112.0, 222.0, 40.0])
_CORNERS = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])


@dataclass(frozen=True)
class Skin:
    """A person's mesh at rest. V vertices, F triangles, counter-clockwise seen from outside a left hand.

    vertices: (V, 3). faces: (F, 3). shares: (5, V, 3), the part of each joint's turn that a vertex takes. members:
    (5, V), which finger carries a vertex; they sum to 1. side: (V,), -1 on the palm to 1 on the back.
    """

    person: Person
    vertices: np.ndarray
    shares: np.ndarray
    members: np.ndarray
    side: np.ndarray
    faces: np.ndarray


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, a smooth cubic between; low > high falls instead of rising."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _blend(field, start, end, radii, smooth, *, flat=1.0, dorsal=(0.0, 0.0, 1.0), finger=False) -> None:
    """Blend a tapered round from start to end with half-widths radii into the field, over `smooth` mm.

    flat: thickness over width, along dorsal. finger: with a pad on the palm side, and a waist.
    """
    start, bone = np.asarray(start, float), np.subtract(end, start)
    dorsal = unit(dorsal - np.dot(dorsal, bone) / (bone @ bone) * bone)
    reach = max(radii) * 1.15 + smooth + 4  # the field farther away is not touched
    low = np.maximum((np.minimum(start, end) - reach - _LOW) / VOXEL, 0).astype(int)
    high = ((np.maximum(start, end) + reach - _LOW) / VOXEL).astype(int) + 2
    block = tuple(slice(a, min(b, size)) for a, b, size in zip(low, high, field.shape))
    arm = (_LOW - start + VOXEL * np.moveaxis(np.mgrid[block], 0, -1)).astype(np.float32)
    t = np.clip(arm @ np.float32(bone / (bone @ bone)), 0, 1)
    offset = arm - t[..., None] * np.float32(bone)
    height, squared = offset @ np.float32(dorsal), np.square(offset).sum(-1)
    radius = radii[0] + t * np.float32(radii[1] - radii[0])
    if finger:
        palm = 0.5 - 0.5 * height / (np.sqrt(squared) + 1e-3)
        radius = radius * (1 + np.sin(np.float32(np.pi) * t) ** 2 * (0.08 * palm - 0.086 * (1 - palm)))
    distance = (np.sqrt(squared + height**2 * np.float32(1 / flat**2 - 1)) - radius) * np.float32(min(1, flat + 0.1))
    old = field[block]
    overlap = np.maximum(smooth - np.abs(old - distance), 0) / np.float32(smooth)
    field[block] = np.minimum(old, distance) - overlap**2 * np.float32(smooth / 4)


def _rest_field(person: Person) -> np.ndarray:
    """The hand's signed distance in mm, negative inside, float32 (X, Y, Z), every VOXEL mm from _LOW."""
    field = np.full(np.ceil((_HIGH - _LOW) / VOXEL).astype(int) + 1, 30, np.float32)
    scale, (width, _, thick) = person.scale, person.scale
    _blend(field, (0, -80, -1), (0, -8, -1), (29 * thick, 27.5 * thick), 2, flat=0.70)
    _blend(field, (0, -8, -1), (0, 14 * width, -1), (27.5 * thick, 27 * width), 14, flat=0.72)
    for chain in range(1, CHAINS):  # metacarpals: from the carpus to the knuckles
        knuckle, girth = person.chain(chain)[0], person.radii[chain, 0]
        base, end = knuckle * (0.5, 0, 0.3) + (0, 12 * width, -1), knuckle + np.array([0, -3, -3]) * thick
        _blend(field, base, end, (13.5 * thick, girth * 1.13), 13, flat=0.96)
    # Flesh between knuckles and webs, balls of little finger and thumb, the fold beside the thumb.
    (thumb, lead), first, last = person.chain(0)[:2], person.joints[5], person.joints[17]
    for start, end, radii, smooth in (
        (first + scale * (-3, 2, -6), last + scale * (4, 4, -5), (9.5, 8.5), 9),
        (scale * (-15.5, 17, -7), scale * (-28.5, 58, -8), (12.5, 10.5), 13),
        (thumb + scale * (-4, -3, -3), thumb + 0.85 * (lead - thumb), (14.5, 11.5), 13),
        (thumb + scale * (-7, 12, -5), thumb + scale * (10, 33, -8), (12.5, 9.5), 12),
        (thumb + 0.35 * (lead - thumb), first * (0.93, 0.55, 0) - (0, 0, 5), (8.5, 9.4), 10),
        (thumb + 0.62 * (lead - thumb), first * (0.93, 0.66, 0) - (0, 0, 5), (6.8, 7.5), 10),
        (thumb + 0.84 * (lead - thumb), first * (0.93, 0.74, 0) - (0, 0, 5), (5.2, 5.7), 10),
    ):
        _blend(field, start, end, np.array(radii) * thick, smooth)
    for chain in range(CHAINS):
        bones, radii = person.chain(chain).copy(), person.radii[chain]
        bones[3] -= person.dirs[chain, 2] * (radii[3] - 2.5)  # the last joint lies just under the fingertip's skin
        for i in range(chain == 0, 3):
            shape = {"flat": (0.95, 0.92, 0.82)[i], "dorsal": person.dorsals[chain, i], "finger": True}
            _blend(field, bones[i], bones[i + 1], radii[i : i + 2], 3.0 if i else 6.5, **shape)
        if chain:  # knuckle: a low dome on the back of the hand
            _blend(field, bones[0] + (0, -6, 1), bones[0] + (0, 2, 1), radii[[0, 0]] * 0.91, 9)
    cut = -ARM - (_LOW[1] + VOXEL * np.arange(field.shape[1]))  # the forearm's flat end
    return np.maximum(field, cut[:, None].astype(np.float32))


def surface_nets(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mesh the zero level of distance (X, Y, Z), negative inside: vertices (V, 3) in grid units, triangles (F, 3), which are
    counter-clockwise seen from outside. One vertex a cell (Gibson 1998), on the plane through its corners' values."""
    cells = np.array(distance.shape) - 1
    values = np.stack([distance[tuple(slice(s, s + n) for s, n in zip(shift, cells))] for shift in _CORNERS], -1)
    active = (values < 0).any(-1) & (values >= 0).any(-1)
    number = np.full(active.shape, -1)
    number[active] = np.arange(active.sum())
    values = values[active]
    slope = values @ (_CORNERS - 0.5) / 2
    step = slope * (values.mean(1) / np.maximum((slope**2).sum(1), 1e-6))[:, None]
    vertices = np.argwhere(active) + np.clip(0.5 - step, 0, 1)

    faces = []
    for axis in range(3):  # around every grid edge that the surface crosses, the four cells' vertices form a quad
        one, two = np.eye(3, dtype=int)[[(axis + 1) % 3, (axis + 2) % 3]]
        edges = np.argwhere(np.diff(distance < 0, axis=axis))
        edges = edges[((edges > 0) | (one + two == 0)).all(1) & (edges < cells).all(1)]
        quad = np.stack([number[tuple((edges - shift).T)] for shift in (0 * one, one, one + two, two)], 1)
        quad = np.where(distance[tuple(edges.T)][:, None] < 0, quad, quad[:, ::-1])  # outwards
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return vertices, np.concatenate(faces)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3), the area-weighted mean of the adjoining triangles'."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    sides = np.cross(b - a, c - a)
    count = len(vertices)
    return unit(np.stack([sum(np.bincount(corner, side, count) for corner in faces.T) for side in sides.T], 1))


def build_skin(person: Person) -> Skin:
    """Mesh the person's hand at rest and work out how its vertices follow the joints."""
    grid, faces = surface_nets(_rest_field(person))
    vertices = _LOW + VOXEL * grid
    distance, shares = np.empty((CHAINS, len(vertices))), np.empty((CHAINS, len(vertices), 3))
    for chain in range(CHAINS):
        bones, dirs = person.chain(chain), person.dirs[chain]
        distance[chain] = np.min([_distance(vertices, bones[i], bones[i + 1]) for i in range(3)], 0)
        for joint, reach in enumerate((None, *person.radii[chain, 1:3])):
            # A joint turns about its own bend: measured along the mean of the bones that meet there.
            past = (vertices - bones[joint]) @ unit(dirs[joint] + dirs[max(joint - 1, 0)])
            low, high = (-reach, reach) if reach else (-9, 26) if chain == 0 else (-11, 16)
            shares[chain, :, joint] = smoothstep(low, high, past)
    owner = distance.copy()
    for chain in range(1, CHAINS):  # a palm vertex belongs to its nearest metacarpal, lest the thumb drag it along
        knuckle = person.chain(chain)[0]
        owner[chain] = np.minimum(owner[chain], _distance(vertices, np.array([knuckle[0] * 0.6, 10, 0]), knuckle))
    owner[0] -= 2
    softness = 2.2 + 3.3 * smoothstep(105, 60, vertices[:, 1]) * (vertices[:, 0] > 0)
    members = np.exp(-(owner - owner.min(0)) / softness)
    members[members < 0.02] = 0
    members /= members.sum(0)
    return Skin(person, vertices, shares, members, vertex_normals(vertices, faces)[:, 2], faces)


def _distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance (N,) of points (N, 3) from the segment from start to end."""
    bone = end - start
    t = np.clip((points - start) @ bone / (bone @ bone), 0, 1)
    return np.linalg.norm(points - start - t[:, None] * bone, axis=1)


def arm_depth(depth: np.ndarray, arm_mm: float) -> np.ndarray:
    """Stretch depths below the wrist (mm, on the resting mesh) beyond 10 mm to a forearm of arm_mm millimetres."""
    return np.minimum(depth, 10) + np.maximum(depth - 10, 0) * np.float32((arm_mm - 10) / (ARM - 10))


def pose_skin(skin: Skin, rotations: np.ndarray, wrist: np.ndarray, *, arm_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Posed vertices (V, 3) and joints (21, 3) in the hand frame. rotations, wrist: of draw_pose. arm_mm: of forearm."""
    rest, posed, joints = skin.vertices, skin.vertices.copy(), [np.zeros((1, 3))]
    for chain in range(CHAINS):
        bones = skin.person.chain(chain)
        joints.append(bend(bones, rotations[chain], bones, np.tri(4, 3, -1)))
        moved = np.flatnonzero((skin.members[chain] > 0) & (skin.shares[chain].max(1) > 0))
        bent = bend(bones, rotations[chain], rest[moved], skin.shares[chain, moved])
        posed[moved] += skin.members[chain, moved, None] * (bent - rest[moved])
    arm = np.flatnonzero(rest[:, 1] < 12)
    depth = arm_depth(-posed[arm, 1], arm_mm)
    girth = 0.42 * smoothstep(15, 240, depth)
    part = np.stack([posed[arm, 0] * (1 + girth), -depth, posed[arm, 2] * (1 + 1.2 * girth)], 1)
    posed[arm] = rotate(part, np.zeros(3), wrist, smoothstep(12, -22, rest[arm, 1]))
    return posed, np.vstack(joints)
