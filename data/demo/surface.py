"""The demo's hand surface: one smooth skin mesh a person, and how it follows the skeleton.

At rest the skin is the zero level of a smooth union of tapered rounds along the bones, palm muscles and forearm,
meshed once a person. Posing turns every vertex by its own share of each joint's angle, which keeps the volume at the
knuckles that linear blend skinning would lose.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.sparse

from data.demo.skeleton import NUM_CHAINS, Person, Pose, bend_chain, rotate

VOXEL_MM = 2.15
ARM_REST_MM = 40.0  # forearm in the rest mesh; posing stretches it to the length that is asked for
_ARM_FIXED_MM = 10.0  # of which this much next to the wrist is never stretched
_LOW = np.array([-68.0, -ARM_REST_MM - 6, -52.0])
_HIGH = np.array([112.0, 222.0, 40.0])


@dataclass(frozen=True)
class Skin:
    """A person's mesh at rest. V vertices, F triangles, counter-clockwise seen from outside a left hand.

    vertices, normals: (V, 3) float32. faces: (F, 3). shares: (5, V, 3), the part of each joint's turn that a vertex
    takes. members: (5, V), which finger carries a vertex; they sum to 1. local: (5, V, 3) position by finger: along the
    chain (0 at its first joint, 1 at the next, ... 3 at the tip), lateral and dorsal in units of the local half-width.
    """

    person: Person
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    shares: np.ndarray
    members: np.ndarray
    local: np.ndarray


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, a smooth cubic between; low > high falls instead of rising."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class _Field:
    """A signed distance (negative inside) on a regular grid, into which rounds are blended one at a time."""

    def __init__(self) -> None:
        self.size = np.ceil((_HIGH - _LOW) / VOXEL_MM).astype(int) + 1
        self.axes = [(_LOW[i] + VOXEL_MM * np.arange(self.size[i])).astype(np.float32) for i in range(3)]
        self.distance = np.full(self.size, 30.0, np.float32)

    def blend(self, start, end, radii, *, dorsal=(0, 0, 1), flat=1.0, smooth=4.0, pad=0.0, waist=0.0) -> None:
        """Blend in a tapered round from start to end with half-widths radii.

        flat: thickness over width, along dorsal. smooth: width of the blend. pad swells the palm side of the middle,
        waist draws in the rest of it. The field away from the round is not touched.
        """
        start, end = np.asarray(start, float), np.asarray(end, float)
        reach = max(radii) * 1.15 + smooth + 4
        low = np.floor((np.minimum(start, end) - reach - _LOW) / VOXEL_MM).astype(int).clip(0)
        high = np.ceil((np.maximum(start, end) + reach - _LOW) / VOXEL_MM).astype(int) + 1
        block = tuple(slice(low[i], min(high[i], self.size[i])) for i in range(3))
        grid = np.meshgrid(*[self.axes[i][block[i]] for i in range(3)], indexing="ij", sparse=True)
        arm = [grid[i] - np.float32(start[i]) for i in range(3)]
        bone = end - start
        t = sum(arm[i] * np.float32(bone[i]) for i in range(3)) / np.float32(bone @ bone)
        t = np.clip(t, 0, 1)
        offset = [arm[i] - t * np.float32(bone[i]) for i in range(3)]
        dorsal = np.asarray(dorsal, float) - (np.asarray(dorsal, float) @ bone) / (bone @ bone) * bone
        dorsal = dorsal / np.linalg.norm(dorsal)
        height = sum(offset[i] * np.float32(dorsal[i]) for i in range(3))
        squared = sum(o * o for o in offset)
        stretched = np.sqrt(squared + height * height * np.float32(1 / flat**2 - 1))
        radius = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
        if pad or waist:
            palm = 0.5 - 0.5 * height / (np.sqrt(squared) + 1e-3)
            middle = np.sin(np.float32(np.pi) * t) ** 2
            radius = radius * (1 + middle * (pad * palm - waist * (1 - palm)))
        distance = (stretched - radius) * np.float32(min(1.0, flat + 0.1))
        old = self.distance[block]
        overlap = np.maximum(smooth - np.abs(old - distance), 0) / smooth
        self.distance[block] = np.minimum(old, distance) - overlap * overlap * np.float32(smooth / 4)


def _rest_field(person: Person) -> _Field:
    field = _Field()
    width, thick = person.palm
    joints = person.joints
    scale = np.array([width, width, thick])

    def at(x: float, y: float, z: float) -> np.ndarray:
        return np.array([x, y, z]) * scale

    arm = person.arm
    field.blend((0, -80, -1), (0, -8, -1), (29.0 * arm, 27.5 * arm), flat=0.70, smooth=2)
    field.blend((0, -8, -1), at(0, 14, -1), (27.5 * arm, 27 * width), flat=0.72, smooth=14)
    # Metacarpals: flat rounds from the carpus to the knuckles.
    for chain in range(1, NUM_CHAINS):
        knuckle = joints[1 + 4 * chain]
        base = np.array([knuckle[0] * 0.5, 12 * width, 0.3 * knuckle[2] - 1])
        end = knuckle + np.array([0, -3.0, -3.0]) * thick
        field.blend(base, end, (13.5 * thick, person.radii[chain, 0] * 1.13), flat=0.96, smooth=13)
    # Flesh of the palm between the knuckles and the fingers' webs.
    first, last = joints[5], joints[17]
    field.blend(first + at(-3, 2, -6), last + at(4, 4, -5), (9.5 * thick, 8.5 * thick), smooth=9)
    # Little finger's ball, thumb's ball, and the fold between thumb and index.
    field.blend(at(-15.5, 17, -7), at(-28.5, 58, -8), (12.5 * thick, 10.5 * thick), smooth=13)
    thumb = joints[1:5]
    lead = thumb[0] + (thumb[1] - thumb[0]) * 0.85
    field.blend(thumb[0] + at(-4, -3, -3), lead, (14.5 * thick, 11.5 * thick), smooth=13)
    field.blend(thumb[0] + at(-7, 12, -5), thumb[0] + at(10, 33, -8), (12.5 * thick, 9.5 * thick), smooth=12)
    for share, radius in ((0.35, 8.5), (0.62, 6.8), (0.84, 5.2)):
        start = thumb[0] + (thumb[1] - thumb[0]) * share
        end = np.array([first[0] * 0.93, first[1] * (0.42 + 0.38 * share), -5.0])
        field.blend(start, end, (radius * thick, radius * 1.1 * thick), smooth=10)

    waist = 0.05 + 0.06 * person.bony
    for chain in range(NUM_CHAINS):
        bones = joints[1 + 4 * chain : 5 + 4 * chain].copy()
        radii = person.radii[chain]
        bones[3] -= person.dirs[chain, 2] * (radii[3] - 2.5)  # the last joint lies just under the fingertip's skin
        for bone in range(3):
            if chain == 0 and bone == 0:
                continue
            smooth = 6.5 if bone == 0 else 3.0
            flat = (0.95, 0.92, 0.86)[bone] if chain else (1.0, 0.92, 0.78)[bone]
            field.blend(
                bones[bone],
                bones[bone + 1],
                radii[bone : bone + 2],
                dorsal=person.dorsals[chain, bone],
                flat=flat,
                smooth=smooth,
                pad=0.10 - 0.03 * person.bony,
                waist=waist,
            )
        if chain:  # knuckle: a low dome on the back of the hand
            dome = bones[0] + np.array([0, -1.0, 1.8 * person.bony])
            field.blend(dome + (0, -5, 0), dome + (0, 3, 0), (radii[0] * 0.92, radii[0] * 0.90), smooth=9)
    cut = -ARM_REST_MM - field.axes[1]
    field.distance = np.maximum(field.distance, cut[None, :, None])
    return field


_CORNERS = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1]


def surface_nets(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mesh the zero level of distance (X, Y, Z), negative inside: vertices (V, 3) in grid units, triangles (F, 3).

    Naive surface nets (Gibson 1998): one vertex a cell that the surface crosses, at the mean of its edge crossings.
    Triangles are counter-clockwise seen from outside.
    """
    inside = distance < 0
    cells = np.array(distance.shape) - 1
    corner = [distance[i : i + cells[0], j : j + cells[1], k : k + cells[2]] for i, j, k in _CORNERS]
    count = sum((c < 0).astype(np.int8) for c in corner)
    active = (count > 0) & (count < 8)
    where = np.argwhere(active)
    values = np.stack([c[active] for c in corner], 1)
    total, crossings = np.zeros((len(where), 3)), np.zeros((len(where), 1))
    for a, b in _EDGES:
        va, vb = values[:, a], values[:, b]
        crossed = ((va < 0) != (vb < 0))[:, None]
        t = (va / np.where(va == vb, 1, va - vb))[:, None]
        total += np.where(crossed, _CORNERS[a] + t * (_CORNERS[b] - _CORNERS[a]), 0)
        crossings += crossed
    vertices = where + total / crossings
    number = np.full(active.shape, -1, np.int64)
    number[active] = np.arange(len(where))

    faces = []
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        shift = np.eye(3, dtype=int)[axis]
        a = inside[tuple(slice(0, n) for n in np.array(inside.shape) - shift)]
        b = inside[tuple(slice(s, None) for s in shift)]
        edge = np.argwhere(a != b)
        edge = edge[(edge[:, one] > 0) & (edge[:, two] > 0) & (edge[:, one] < cells[one]) & (edge[:, two] < cells[two])]
        leaves = a[tuple(edge.T)]
        ring = []
        for d1, d2 in ((0, 0), (-1, 0), (-1, -1), (0, -1)):
            place = edge.copy()
            place[:, one] += d1
            place[:, two] += d2
            ring.append(number[tuple(place.T)])
        quad = np.stack(ring, 1)
        quad[~leaves] = quad[~leaves][:, ::-1]
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return vertices, np.concatenate(faces)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3), the area-weighted mean of the adjoining triangles'."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    corners, count = faces.T, len(vertices)
    normals = np.stack([sum(np.bincount(corner, face[:, k], count) for corner in corners) for k in range(3)], 1)
    return (normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def _chain_coordinates(person: Person, chain: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance (V,) in mm to one chain's bones, signed mm (V, 3) past each of its joints, and local (V, 3)."""
    bones = person.joints[1 + 4 * chain : 5 + 4 * chain]
    best = np.full(len(points), np.inf)
    past = np.empty((len(points), 3))
    local = np.zeros((len(points), 3))
    for bone in range(3):
        direction, dorsal = person.dirs[chain, bone], person.dorsals[chain, bone]
        lateral = np.cross(direction, dorsal)
        length = np.linalg.norm(bones[bone + 1] - bones[bone])
        arm = points - bones[bone]
        along = arm @ direction
        past[:, bone] = along
        t = along / length
        distance = np.linalg.norm(arm - np.clip(t, 0, 1)[:, None] * (bones[bone + 1] - bones[bone]), axis=1)
        radius = person.radii[chain, bone] + np.clip(t, 0, 1) * np.diff(person.radii[chain])[bone]
        closer = distance < best
        best = np.where(closer, distance, best)
        here = np.stack([bone + t, arm @ lateral / radius, arm @ dorsal / radius], 1)
        local = np.where(closer[:, None], here, local)
    # A joint turns about its own bend: measure "past" along the mean of the bones that meet there.
    for joint in (1, 2):
        mean = person.dirs[chain, joint - 1] + person.dirs[chain, joint]
        past[:, joint] = (points - bones[joint]) @ (mean / np.linalg.norm(mean))
    return best, past, local


def build_skin(person: Person) -> Skin:
    """Mesh the person's hand at rest and work out how its vertices follow the joints."""
    field = _rest_field(person)
    grid, faces = surface_nets(field.distance)
    for _ in range(2):  # pull the vertices onto the level itself: removes the grid's facets
        value = scipy.ndimage.map_coordinates(field.distance, grid.T, order=1)
        slope = (
            np.stack(
                [
                    scipy.ndimage.map_coordinates(field.distance, (grid + step).T, order=1)
                    - scipy.ndimage.map_coordinates(field.distance, (grid - step).T, order=1)
                    for step in np.eye(3) * 0.75
                ],
                1,
            )
            / 1.5
        )
        move = value[:, None] * slope / np.maximum((slope**2).sum(1, keepdims=True), 1e-3)
        flat_end = grid[:, 1:2] * VOXEL_MM + _LOW[1] < -ARM_REST_MM + 1.5 * VOXEL_MM
        grid = grid + np.where(flat_end, 0, np.clip(move, -0.5, 0.5))
    vertices = _LOW + VOXEL_MM * grid
    adjacency = scipy.sparse.coo_matrix(
        (np.ones(len(faces) * 3), (faces.ravel(), np.roll(faces, 1, 1).ravel())), shape=(len(vertices),) * 2
    ).tocsr()
    adjacency = adjacency + adjacency.T
    degree = np.asarray(adjacency.sum(1))
    for step in (0.5, -0.52, 0.5, -0.52):  # Taubin smoothing: removes ripple, keeps volume
        vertices = vertices + step * (adjacency @ vertices / degree - vertices)

    count = len(vertices)
    distance, shares, local = np.empty((NUM_CHAINS, count)), np.empty((NUM_CHAINS, count, 3)), []
    for chain in range(NUM_CHAINS):
        distance[chain], past, here = _chain_coordinates(person, chain, vertices)
        radii = person.radii[chain]
        reach = [(-11.0, 16.0)] + [(-1.0 * radii[i], 1.0 * radii[i]) for i in (1, 2)]
        if chain == 0:
            reach[0] = (-9.0, 26.0)
            reach[1] = (-13.0, 13.0)
        for joint in range(3):
            shares[chain, :, joint] = smoothstep(*reach[joint], past[:, joint])
        local.append(here)
    # A palm vertex belongs to the metacarpal nearest to it, lest the thumb drag the palm along.
    owner = distance.copy()
    for chain in range(1, NUM_CHAINS):
        knuckle = person.joints[1 + 4 * chain]
        base = np.array([knuckle[0] * 0.6, 10.0, 0.0])
        t = np.clip((vertices - base) @ (knuckle - base) / ((knuckle - base) @ (knuckle - base)), 0, 1)
        owner[chain] = np.minimum(owner[chain], np.linalg.norm(vertices - base - t[:, None] * (knuckle - base), axis=1))
    owner[0] -= 2.0
    softness = 2.2 + 3.3 * smoothstep(105, 60, vertices[:, 1]) * (vertices[:, 0] > 0)
    members = np.exp(-(owner - owner.min(0)) / softness)
    members[members < 0.02] = 0
    members /= members.sum(0)
    return Skin(
        person,
        vertices.astype(np.float32),
        vertex_normals(vertices, faces),
        faces,
        shares.astype(np.float32),
        members.astype(np.float32),
        np.stack(local).astype(np.float32),
    )


def arm_depth(depth: np.ndarray, arm_mm: float) -> np.ndarray:
    """Stretch depths below the wrist (mm, on the resting mesh) to a forearm of arm_mm millimetres."""
    stretch = (arm_mm - _ARM_FIXED_MM) / (ARM_REST_MM - _ARM_FIXED_MM)
    return np.minimum(depth, _ARM_FIXED_MM) + np.maximum(depth - _ARM_FIXED_MM, 0) * np.float32(stretch)


def pose_skin(skin: Skin, pose: Pose, *, arm_mm: float) -> np.ndarray:
    """Posed vertices (V, 3) float32 in the hand frame, with a forearm of arm_mm millimetres below the wrist."""
    rest = skin.vertices
    posed = rest.copy()
    for chain in range(NUM_CHAINS):
        moved = np.flatnonzero((skin.members[chain] > 0) & (skin.shares[chain].max(1) > 0))
        bent = bend_chain(skin.person, pose, chain, rest[moved], skin.shares[chain, moved])
        posed[moved] += skin.members[chain, moved, None] * (bent - rest[moved])
    arm = np.flatnonzero(rest[:, 1] < 12)
    part = posed[arm]
    depth = arm_depth(-part[:, 1], arm_mm)
    girth = 1 + 0.42 * smoothstep(15, 240, depth)
    part = np.stack([part[:, 0] * girth, -depth, part[:, 2] * (girth + 0.2 * (girth - 1))], 1).astype(np.float32)
    share = smoothstep(12, -22, rest[arm, 1]).astype(np.float32)
    posed[arm] = rotate(part, np.zeros(3, np.float32), pose.wrist, share)
    return posed
