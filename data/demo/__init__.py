"""A procedural demo data set of hands in the published folder layouts: a stand-in for development, no photographs.

Synthetic domain (SynthHands_Release/, plain shading on the key colour, depth and joints beside each image) and
real-look domain (RealHands/, painted skin before a green screen, raw noisy masks in mask/, joints in joints/). Joints
are one line of 63 numbers, x, y, z in mm for W, T0-T3, I0-I3, M0-M3, R0-R3, L0-L3, in CAMERA's frame: x right, y down,
z forward.
"""

from data.demo.render import BACKGROUND_DEPTH, CAMERA, KEY_COLOUR, Camera
from data.demo.skeleton import JOINT_NAMES
from data.demo.write import ensure_demo, is_demo, plan_frames, true_pair

__all__ = [
    "BACKGROUND_DEPTH",
    "CAMERA",
    "Camera",
    "JOINT_NAMES",
    "KEY_COLOUR",
    "ensure_demo",
    "is_demo",
    "plan_frames",
    "true_pair",
]
