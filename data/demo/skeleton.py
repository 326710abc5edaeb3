"""The demo's hand skeleton: 21 joints, people of different build, and poses within the joints' limits.

Hand frame, in millimetres, wrist at the origin: x towards the thumb, y towards the fingers, z out of the back of the
hand. In this right-handed frame the hand is a left one; a right hand is its mirror image (x negated).
"""

from dataclasses import dataclass

import numpy as np

JOINT_NAMES = tuple(["W"] + [f"{finger}{i}" for finger in "TIMRL" for i in range(4)])
NUM_CHAINS = 5  # thumb, index, middle, ring, little

# Rest positions of the first joint of each chain: thumb CMC, then the four MCPs.
_ROOTS = np.array([[20, 19, -7], [25, 89, 1], [4.5, 92, 3.5], [-15, 86, 2], [-32.5, 76, -3]], float)
_LENGTHS = np.array([[43, 33, 26], [43, 26, 21], [48, 30, 22], [45, 28, 22], [34, 20, 19]], float)
# Half-widths at the four joints of each chain.
_RADII = np.array(
    [[14, 12, 11, 8.4], [11, 9.8, 8.4, 6.7], [11, 10, 8.5, 6.8], [10.6, 9.4, 8.1, 6.5], [9.6, 8.3, 7.2, 5.8]], float
)
_SPREAD_DEG = (0.0, 8.0, 1.0, -6.5, -15.0)  # rest directions of the fingers in the palm's plane, radial positive
_THUMB_DIRS = np.array([[0.68, 0.66, -0.32], [0.56, 0.80, -0.24], [0.50, 0.84, -0.20]])
_THUMB_DORSAL = np.array([0.62, -0.35, 0.62])


@dataclass(frozen=True)
class Person:
    """One person's hand at rest (open, fingers spread). Lengths in millimetres.

    joints: (21, 3) rest positions in the order of JOINT_NAMES. dirs: (5, 3, 3) unit bone directions, chain by bone.
    dorsals: (5, 3, 3) unit vectors out of the back of each bone. radii: (5, 4) half-widths at each chain's joints.
    palm: (width, thickness) factors of the palm; arm: factor of the forearm's girth; bony: 0 (plump) to 1 (bony).
    """

    joints: np.ndarray
    dirs: np.ndarray
    dorsals: np.ndarray
    radii: np.ndarray
    palm: tuple[float, float]
    arm: float
    bony: float


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_person(rng: np.random.Generator, *, size: float, slender: float, bony: float | None = None) -> Person:
    """Draw a person. size scales everything (1 = a hand about 190 mm long); slender > 1 thins fingers and wrist."""
    width = size * rng.uniform(0.96, 1.04) / slender**0.5
    roots = _ROOTS * np.array([width, size, size]) + rng.normal(0, 0.6, _ROOTS.shape)
    lengths = _LENGTHS * size * rng.uniform(0.96, 1.06) * rng.uniform(0.97, 1.03, _LENGTHS.shape)
    radii = _RADII * size / slender * rng.uniform(0.97, 1.04) * rng.uniform(0.98, 1.02, (NUM_CHAINS, 1))
    spread = np.deg2rad(np.array(_SPREAD_DEG) + rng.normal(0, 0.8, NUM_CHAINS))

    dirs = np.empty((NUM_CHAINS, 3, 3))
    dorsals = np.empty_like(dirs)
    dirs[0] = _unit(_THUMB_DIRS)
    dorsals[0] = _THUMB_DORSAL
    for chain in range(1, NUM_CHAINS):
        direction = np.array([np.sin(spread[chain]), np.cos(spread[chain]), 0.0])
        for bone, dip in enumerate(np.deg2rad((3.0, 9.0, 14.0))):  # hands at rest are never quite flat
            dirs[chain, bone] = direction * np.cos(dip) + np.array([0, 0, -np.sin(dip)])
        dorsals[chain] = (0.0, 0.0, 1.0)
    dorsals = _unit(dorsals - np.sum(dorsals * dirs, -1, keepdims=True) * dirs)

    joints = np.zeros((21, 3))
    for chain in range(NUM_CHAINS):
        steps = dirs[chain] * lengths[chain][:, None]
        joints[1 + 4 * chain : 5 + 4 * chain] = roots[chain] + np.vstack([np.zeros(3), np.cumsum(steps, 0)])
    if bony is None:
        bony = float(rng.uniform(0.2, 0.9))
    arm = size / slender * float(rng.uniform(0.95, 1.06))
    return Person(joints, dirs, dorsals, radii, (width, size / slender**0.7), arm, bony)


@dataclass(frozen=True)
class Pose:
    """Rotations of the joints, as rotation vectors (axis times angle in radians) in the rest hand's frame.

    rotations: (5, 3, 3), chain by joint. wrist: (3,), how the forearm turns against the palm. name: the kind of pose.
    """

    rotations: np.ndarray
    wrist: np.ndarray
    name: str


# Angles in degrees. Fingers: flexion of MCP, PIP, DIP. Thumb: adduction towards the index, palmar abduction,
# pronation (turning the pulp to the fingers), flexion of MCP and IP.
_STRAIGHT = (2.0, 3.0, 0.0)
_CURLED = (80.0, 97.0, 58.0)
_THUMB_OUT = (-4.0, 0.0, 0.0, 0.0, 2.0)
_THUMB_ACROSS = (-3.0, 34.0, 22.0, 43.0, 44.0)
_THUMB_ALONG = (25.0, 2.0, 2.0, 8.0, 4.0)
_KINDS = {
    # name: (share of frames, thumb, index, middle, ring, little)
    "open": (0.20, _THUMB_OUT, _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT),
    "flat": (0.06, _THUMB_ALONG, _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT),
    "fist": (0.07, _THUMB_ACROSS, _CURLED, _CURLED, _CURLED, _CURLED),
    "thumb_up": (0.03, (-14.0, -4.0, 0.0, -6.0, -10.0), _CURLED, _CURLED, _CURLED, _CURLED),
    "one": (0.07, _THUMB_ACROSS, _STRAIGHT, _CURLED, _CURLED, _CURLED),
    "two": (0.08, (0.0, 40.0, 21.0, 50.0, 35.0), _STRAIGHT, _STRAIGHT, _CURLED, _CURLED),
    "three": (0.05, (3.0, 45.0, 23.0, 55.0, 30.0), _STRAIGHT, _STRAIGHT, _STRAIGHT, _CURLED),
    "four": (0.06, (8.0, 36.0, 30.0, 52.0, 46.0), _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT),
    "gun": (0.04, _THUMB_OUT, _STRAIGHT, _CURLED, _CURLED, _CURLED),
    "three_thumb": (0.04, _THUMB_OUT, _STRAIGHT, _STRAIGHT, _CURLED, _CURLED),
    "phone": (0.03, _THUMB_OUT, _CURLED, _CURLED, _CURLED, _STRAIGHT),
    "pinch": (
        0.06,
        (0.0, 35.0, 20.0, 25.0, 6.0),
        (48.0, 52.0, 26.0),
        (30.0, 34.0, 16.0),
        (22.0, 26.0, 12.0),
        (16.0, 22.0, 10.0),
    ),
    "ring": (0.04, (-12.0, 34.0, 21.0, 44.0, 8.0), (52.0, 58.0, 30.0), _STRAIGHT, _STRAIGHT, _STRAIGHT),
    "relaxed": (
        0.13,
        (8.0, 8.0, 8.0, 8.0, 14.0),
        (18.0, 26.0, 12.0),
        (24.0, 32.0, 16.0),
        (28.0, 36.0, 18.0),
        (30.0, 36.0, 18.0),
    ),
    "free": (0.04, _THUMB_OUT, _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT),
}
_FINGER_LIMITS = ((-12.0, 90.0), (-2.0, 105.0), (-4.0, 70.0))
_THUMB_LIMITS = ((-20.0, 40.0), (-12.0, 50.0), (-10.0, 40.0), (-10.0, 60.0), (-16.0, 75.0))


def draw_pose(person: Person, rng: np.random.Generator, kind: str | None = None) -> Pose:
    """Draw a pose within the joints' limits: a kind (open palm, fist, counting, pinch, ...) with jitter."""
    names = list(_KINDS)
    shares = np.array([_KINDS[name][0] for name in names])
    drawn = names[rng.choice(len(names), p=shares / shares.sum())]
    kind = kind or drawn
    thumb, *fingers = (np.array(angles) for angles in _KINDS[kind][1:])
    curl = np.array(fingers)
    if kind == "free":  # neighbouring fingers share much of their flexion, DIP follows PIP
        base = rng.uniform(0, 1)
        for i in range(4):
            amount = np.clip(base + rng.normal(0, 0.22), 0, 1)
            pip = 90 * amount * rng.uniform(0.7, 1.1)
            curl[i] = (70 * amount * rng.uniform(0.4, 1.1), pip, 0.55 * pip)
        thumb = thumb + np.array([20, 26, 20, 30, 35]) * rng.uniform(0, 1)
    common = rng.normal(0, 1, 3) * (4, 4, 2.5)
    curl = curl + common + rng.normal(0, 1, (4, 3)) * (3.5, 3.5, 2.0)
    curl[:, 0] += rng.uniform(-3, 9) if kind in ("open", "flat", "four") else 0.0
    curl[:, 2] = np.maximum(curl[:, 2], 0.3 * curl[:, 1] - 6)  # the DIP cannot stay straight while the PIP bends
    thumb = thumb + rng.normal(0, 1, 5) * (4, 4, 4, 5, 6)
    thumb = np.clip(thumb, *np.array(_THUMB_LIMITS).T)
    low, high = np.array(_FINGER_LIMITS).T
    curl = np.clip(curl, low, high)

    fan = {
        "open": rng.uniform(-0.75, 0.45),
        "flat": rng.uniform(-1.0, -0.8),
        "four": rng.uniform(-0.7, 0.4),
        "two": rng.uniform(-0.6, 0.6),
        "three": rng.uniform(-0.6, 0.4),
    }.get(kind, rng.uniform(-0.8, -0.1))
    spread = np.array([8.0, 1.0, -6.5, -13.0]) * fan + rng.normal(0, 1.2, 4)
    # Bent fingers lose their spread and converge on the scaphoid.
    bent = np.clip(curl[:, 0] / 80, 0, 1)
    spread = spread * (1 - bent) + bent * np.array([-7.0, -1.0, 5.0, 11.0])

    rotations = np.zeros((NUM_CHAINS, 3, 3))
    flexion = np.cross(person.dorsals, person.dirs)
    down = np.array([0.0, 0.0, -1.0])
    palmar = _unit(np.cross(person.dirs[0, 0], down))
    add, abd, pron, mcp, ip = np.deg2rad(thumb)
    rotations[0, 0] = -down * add + palmar * abd + person.dirs[0, 0] * pron
    rotations[0, 1] = flexion[0, 1] * mcp
    rotations[0, 2] = flexion[0, 2] * ip
    rotations[1:] = flexion[1:] * np.deg2rad(curl)[..., None]
    rotations[1:, 0] -= np.array([0, 0, 1.0]) * np.deg2rad(spread)[:, None]
    wrist = np.deg2rad([rng.normal(0, 9), rng.normal(0, 12), rng.normal(0, 7)])
    return Pose(rotations, np.clip(wrist, -0.5, 0.5), kind)


def rotate(points: np.ndarray, pivot: np.ndarray, rotation: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Turn points (N, 3) about pivot by share (N,) of the rotation vector: Rodrigues' formula, an angle a point."""
    angle = float(np.linalg.norm(rotation))
    if angle < 1e-9:
        return points
    axis = (rotation / angle).astype(points.dtype)
    arm = points - pivot.astype(points.dtype)
    cos, sin = np.cos(share * angle)[:, None], np.sin(share * angle)[:, None]
    along = (arm[:, 0] * axis[0] + arm[:, 1] * axis[1] + arm[:, 2] * axis[2])[:, None]
    across = np.stack(
        [
            axis[1] * arm[:, 2] - axis[2] * arm[:, 1],
            axis[2] * arm[:, 0] - axis[0] * arm[:, 2],
            axis[0] * arm[:, 1] - axis[1] * arm[:, 0],
        ],
        1,
    )
    return pivot.astype(points.dtype) + arm * cos + across * sin + axis * (along * (1 - cos))


def bend_chain(person: Person, pose: Pose, chain: int, points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Carry points (N, 3) along with one finger. shares (N, 3) in [0, 1]: the part of each joint's turn they take."""
    for joint in (2, 1, 0):  # from the tip inwards, so that every pivot is still at rest when it is used
        points = rotate(points, person.joints[1 + 4 * chain + joint], pose.rotations[chain, joint], shares[:, joint])
    return points


def pose_joints(person: Person, pose: Pose) -> np.ndarray:
    """The 21 posed joints in the hand frame, (21, 3). Bone lengths stay those of person."""
    joints = person.joints.copy()
    shares = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], float)
    for chain in range(NUM_CHAINS):
        part = slice(1 + 4 * chain, 5 + 4 * chain)
        joints[part] = bend_chain(person, pose, chain, person.joints[part], shares)
    return joints
