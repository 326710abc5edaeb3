"""The demo's hand skeleton: 21 joints, people of different build, and poses within the joints' limits.

Hand frame, in millimetres, wrist at the origin: x towards the thumb, y towards the fingers, z out of the back of the
hand. In this right-handed frame the hand is a left one; a right hand is its mirror image (x negated).
"""

from dataclasses import dataclass

import numpy as np

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
    """Turn points (N, 3) about pivot by share (N,) of the rotation vector, by Rodrigues' formula."""
    angle = np.linalg.norm(rotation)
    axis = rotation / max(angle, 1e-9)
    arm, turn = points - pivot, (share * angle)[:, None]
    along = (arm @ axis)[:, None] * axis
    return pivot + along + (arm - along) * np.cos(turn) + arm @ np.cross(axis, np.eye(3)) * np.sin(turn)


def bend(bones: np.ndarray, rotations: np.ndarray, points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Carry points (N, 3) along with a finger. bones: its joints at rest. rotations: (3, 3), of its joints. shares (N, 3)
    in [0, 1]: the part of each joint's turn that a point takes."""
    for joint in (2, 1, 0):  # from the tip inwards, so that every pivot is still at rest when it is used
        points = rotate(points, bones[joint], rotations[joint], shares[:, joint])
    return points
