"""The demo's hands: 21 joints, people of different build, poses within the joints' limits, and a smooth skin that follows.

Hand frame, in millimetres, wrist at the origin: x towards the thumb, y towards the fingers, z out of the back of the
hand. In this right-handed frame the hand is a left one; a right hand is its mirror image (x negated).

At rest the skin is the zero level of a smooth union of tapered rounds along bones, palm muscles and forearm. Posing turns
every vertex by its own share of each joint's angle, which keeps the knuckles' volume; linear blend skinning loses it.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # which imports its parts, slow ones, when they are used

CHAINS = 5  # thumb, index, middle, ring, little; each has 4 joints and 3 bones

# Rest positions of the first joint of each chain: thumb CMC, then the four MCPs.
_ROOTS = np.array([[20, 19, -7], [25, 89, 1], [4.5, 92, 3.5], [-15, 86, 2], [-32.5, 76, -3]], float)
_LENGTHS = np.array([[43, 33, 26], [43, 26, 21], [48, 30, 22], [45, 28, 22], [34, 20, 19]], float)
# Half-widths at the four joints of each chain.
_RADII = np.array(
    [[14, 12, 11, 8.4], [11, 9.8, 8.4, 6.7], [11, 10, 8.5, 6.8], [10.6, 9.4, 8.1, 6.5], [9.6, 8.3, 7.2, 5.8]]
)
_SPREAD = np.deg2rad([0.0, 8.0, 1.0, -6.5, -15.0])  # rest directions in the palm's plane, radial positive
_DIPS = np.deg2rad([3.0, 9.0, 14.0])  # of the bones below the palm's plane: hands at rest are never quite flat
_THUMB_DIRS = np.array([[0.68, 0.66, -0.32], [0.56, 0.80, -0.24], [0.50, 0.84, -0.20]])
_THUMB_DORSAL = np.array([0.62, -0.35, 0.62])


@dataclass(frozen=True)
class Person:
    """One person's hand at rest (open, fingers spread), in millimetres.

    joints: (21, 3) in the order of data.joints. dirs, dorsals: (5, 3, 3) unit vectors along and out of the back of each
    chain's bones. radii: (5, 4) half-widths at each chain's joints. scale: (3,) of the palm, against the mean hand's.
    """

    joints: np.ndarray
    dirs: np.ndarray
    dorsals: np.ndarray
    radii: np.ndarray
    scale: np.ndarray

    def chain(self, number: int) -> np.ndarray:
        """The four joints of a finger, (4, 3)."""
        return self.joints[1 + 4 * number : 5 + 4 * number]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1."""
    return vectors / np.sqrt(np.maximum(np.einsum("...i,...i", vectors, vectors), 1e-18))[..., None]


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person: the size of the hand, how slender it is, and every finger's proportions."""
    size, slender = rng.uniform(0.88, 1.05), rng.uniform(0.96, 1.10)
    width, thick = size * rng.uniform(0.96, 1.04) / slender**0.5, size / slender**0.7
    roots = _ROOTS * (width, size, size) + rng.normal(0, 0.6, _ROOTS.shape)
    lengths = _LENGTHS * size * rng.uniform(0.96, 1.06) * rng.uniform(0.97, 1.03, _LENGTHS.shape)
    radii = _RADII * size / slender * rng.uniform(0.97, 1.04) * rng.uniform(0.98, 1.02, (CHAINS, 1))

    spread = (_SPREAD + rng.normal(0, np.deg2rad(0.8), CHAINS))[:, None]
    flat, down = np.cos(_DIPS), -np.sin(_DIPS)
    dirs = np.stack(np.broadcast_arrays(np.sin(spread) * flat, np.cos(spread) * flat, down), -1)
    dorsals = np.zeros_like(dirs) + (0.0, 0.0, 1.0)
    dirs[0], dorsals[0] = unit(_THUMB_DIRS), _THUMB_DORSAL
    dorsals = unit(dorsals - (dorsals * dirs).sum(-1, keepdims=True) * dirs)

    joints = np.zeros((CHAINS, 4, 3)) + roots[:, None]
    joints[:, 1:] += np.cumsum(dirs * lengths[..., None], 1)
    joints = np.vstack([np.zeros(3), joints.reshape(-1, 3)])
    return Person(joints, dirs, dorsals, radii, np.array([width, width, thick]))


# Flexion of a finger's MCP, PIP and DIP in degrees: straight, curled, and bent more and more.
_FINGER = dict(zip("sc1235", ((2, 3, 0), (80, 97, 58), (16, 22, 10), (21, 28, 13), (29, 36, 18), (50, 55, 28))))
# Thumb: adduction towards the index, palmar abduction, pronation (turning the pulp to the fingers), flexion of MCP and IP.
_OUT, _ACROSS = (-4, 0, 0, 0, 2), (-3, 34, 22, 43, 44)
_POSES = (  # share of frames, thumb, index to little finger, least and most fan of the fingers
    (0.20, _OUT, "ssss", -0.75, 0.45),
    (0.06, (25, 2, 2, 8, 4), "ssss", -1.0, -0.8),
    (0.07, _ACROSS, "cccc", -0.8, -0.1),
    (0.03, (-14, -4, 0, -6, -10), "cccc", -0.8, -0.1),
    (0.07, _ACROSS, "sccc", -0.8, -0.1),
    (0.08, (0, 40, 21, 50, 35), "sscc", -0.6, 0.6),
    (0.05, (3, 45, 23, 55, 30), "sssc", -0.6, 0.4),
    (0.06, (8, 36, 30, 52, 46), "ssss", -0.7, 0.4),
    (0.05, _OUT, "sccc", -0.8, -0.1),
    (0.05, _OUT, "sscc", -0.8, -0.1),
    (0.04, _OUT, "cccs", -0.8, -0.1),
    (0.06, (0, 35, 20, 25, 6), "5321", -0.8, -0.1),
    (0.05, (-12, 34, 21, 44, 8), "5sss", -0.8, -0.1),
    (0.13, (8, 8, 8, 8, 14), "2333", -0.8, -0.1),
)


def draw_pose(person: Person, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a pose: rotation vectors (axis times radians) in the rest hand's frame, of the fingers, (5, 3, 3), chain by joint,
    and of the forearm against the palm, (3,)."""
    _, thumb, fingers, low, high = _POSES[rng.choice(len(_POSES), p=[pose[0] for pose in _POSES])]
    curl = np.array([_FINGER[letter] for letter in fingers]) + rng.normal(0, (4, 4, 2.5))
    curl += rng.normal(0, (3.5, 3.5, 2.0), (4, 3))
    curl[:, 2] = np.maximum(curl[:, 2], 0.3 * curl[:, 1] - 6)  # the DIP cannot stay straight while the PIP bends
    curl = np.clip(curl, (-12, -2, -4), (90, 105, 70))  # the joints' limits
    thumb = np.clip(thumb + rng.normal(0, (4, 4, 4, 5, 6)), (-20, -12, -10, -10, -16), (40, 50, 40, 60, 75))
    spread = np.array([8.0, 1.0, -6.5, -13.0]) * rng.uniform(low, high) + rng.normal(0, 1.2, 4)
    bent = np.clip(curl[:, 0] / 80, 0, 1)  # bent fingers lose their spread and converge on the scaphoid
    spread = spread * (1 - bent) + bent * (-7.0, -1.0, 5.0, 11.0)

    down = np.array([0.0, 0.0, -1.0])
    flexion = np.cross(person.dorsals, person.dirs)
    adduct, abduct, pronate, mcp, ip = np.deg2rad(thumb)
    rotations = np.zeros((CHAINS, 3, 3))
    rotations[0, 0] = -down * adduct + unit(np.cross(person.dirs[0, 0], down)) * abduct + person.dirs[0, 0] * pronate
    rotations[0, 1:] = flexion[0, 1:] * [[mcp], [ip]]
    rotations[1:] = flexion[1:] * np.deg2rad(curl)[..., None]
    rotations[1:, 0] += down * np.deg2rad(spread)[:, None]
    return rotations, np.deg2rad(np.clip(rng.normal(0, (9, 12, 7)), -28, 28))


def rotate(points: np.ndarray, pivot: np.ndarray, rotation: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Turn points (N, 3) about pivot by share (N,) of the rotation vector."""
    return pivot + scipy.spatial.transform.Rotation.from_rotvec(share[:, None] * rotation).apply(points - pivot)


def bend(bones: np.ndarray, rotations: np.ndarray, points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Carry points (N, 3) along with a finger. bones: its joints at rest. rotations: (3, 3), of its joints. shares (N, 3)
    in [0, 1]: the part of each joint's turn that a point takes."""
    for joint in (2, 1, 0):  # from the tip inwards, so that every pivot is still at rest when it is used
        points = rotate(points, bones[joint], rotations[joint], shares[:, joint])
    return points


VOXEL = 2.15  # mm
ARM = 40.0  # mm of forearm in the rest mesh; posing stretches it to the length that is asked for
_LOW, _HIGH = np.array([-68.0, -ARM - 6, -52.0]), np.array([112.0, 222.0, 40.0])
_CORNERS = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])


@dataclass(frozen=True)
class Skin:
    """A person's mesh at rest: vertices (V, 3) and triangles (F, 3), counter-clockwise seen from outside a left hand.

    shares: (5, V, 3), the part of each joint's turn that a vertex takes. members: (5, V), which finger carries a vertex;
    they sum to 1. side: (V,), -1 on the palm to 1 on the back.
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
    """Blend a tapered round from start to end with half-widths radii into the field, over `smooth` mm. flat: thickness over
    width, along dorsal. finger: with a pad on the palm side, and a waist."""
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
    number = active.cumsum().reshape(active.shape) - 1
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
    a, b, c = (vertices[corner] for corner in faces.T)
    sides, count = np.cross(b - a, c - a).T, len(vertices)
    return unit(np.stack([sum(np.bincount(corner, side, count) for corner in faces.T) for side in sides], 1))


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
