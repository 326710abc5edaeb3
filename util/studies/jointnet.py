"""Train JointNet on renders whose joints are known: python -m util.studies.jointnet --dataroot DIR --output FILE.

The network that comes with the project (models/pretrained/jointnet.pt) was made so. Crops are turned, zoomed and mirrored, and
hands painted anew in any colour, shading, texture and lines, so that nothing but the hand's form tells where joints are.
"""

import argparse
import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.frames import Frame, find_frames
from data.hands import Hand, read_hand
from data.joints import Camera, camera_of, joint_file, joints_in
from models.networks.jointnet import SIDE
from models.supervised import JointFinder
from util.errors import UsageError, run_command
from util.files import user_path
from util.images import to_tensor
from util.runtime import resolve_amp, resolve_device, seed_everything
from util.studies import train

SIGMA = 2.5  # pixels of a crop: a joint's spot in its heat map
TURN, ZOOM = 60.0, (0.6, 1.5)  # degrees to either side
AS_IS, SKIN = 0.25, 0.6  # shares of hands that keep their look; of the others, those in colours of skin
CENTRES = 2 * np.arange(SIDE // 2) + 1.0  # of a heat map's pixels, in the crop's


class PaintedHands(Dataset):
    """Sample k, a pure function of (seed, k): {"image": (3, 64, 64) in [-1, 1], "maps": (21, 32, 32) in [0, 1]}."""

    def __init__(self, frames: list[Frame], camera: Camera, *, seed: int) -> None:
        self.frames, self.camera, self.seed = frames, camera, seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        random = np.random.default_rng((self.seed, k))
        frame = self.frames[random.integers(len(self.frames))]
        hand, joints = read_hand(frame), joints_in(frame, (0, 0, 0, 0), self.camera)
        matrix = random_motion(hand.mask, random)
        image = cv2.warpAffine(hand.image, matrix, (SIDE, SIDE), borderValue=(255, 255, 255))
        mask = cv2.warpAffine(hand.mask.astype(np.float32), matrix, (SIDE, SIDE)) > 0.5
        # OpenCV counts from pixel centres, joints from corners.
        joints = (joints - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
        image = paint(Hand(image, mask), random) if random.random() >= AS_IS and mask.any() else image
        return {"image": to_tensor(image), "maps": torch.from_numpy(heat_maps(joints))}


def random_motion(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An affine map (2, 3) from a frame to a crop whose middle lies between the hand's middle and one of its pixels."""
    rows, columns = np.nonzero(mask)
    pick = random.integers(len(rows))
    here, middle = np.array([columns[pick], rows[pick]], float), np.array([columns.mean(), rows.mean()])
    centre = here + (middle - here) * random.random()
    zoom = math.exp(random.uniform(*np.log(ZOOM)))
    matrix = cv2.getRotationMatrix2D(centre.tolist(), random.uniform(-TURN, TURN), zoom)
    matrix[:, 2] += SIDE / 2 - 0.5 - centre
    if random.random() < 0.5:
        matrix[0] *= -1
        matrix[0, 2] += SIDE - 1
    return matrix


def heat_maps(joints: np.ndarray) -> np.ndarray:
    """Joints (21, 2) in pixels of a crop -> float32 (21, 32, 32): a Gaussian of height 1 at each."""
    across, down = (np.exp(-(((CENTRES - joints[:, axis, None]) / SIGMA) ** 2) / 2) for axis in (0, 1))
    return (down[:, :, None] * across[:, None]).astype(np.float32)


def paint(hand: Hand, random: np.random.Generator) -> np.ndarray:
    """Another look for a hand on white, uint8 (S, S, 3): colour, strength of its shading, mottling, lines, blur and noise."""
    light = hand.image.mean(-1, keepdims=True)
    on_hand = light[hand.mask]
    shading = ((light - on_hand.mean()) / (on_hand.std() + 0.25)).clip(-2.5, 2.5)
    shading = -shading if random.random() < 0.1 else shading
    colour = np.array([0.75, 0.55, 0.45]) * random.uniform(0.35, 1.25) + random.normal(0, 0.05, 3)
    colour = colour if random.random() < SKIN else random.uniform(0.15, 0.9, 3)
    look = colour * (1 + random.uniform(0.05, 0.35) * shading)
    for strength, cells, channels in ((0.08, (2, 6), 3), (0.1, (6, 20), 1), (0.06, (20, SIDE), 1)):
        side = int(random.integers(*cells))
        noise = random.standard_normal((side, side, channels))
        noise = cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).reshape(SIDE, SIDE, channels)
        look = look + random.uniform(0, strength) * noise
    for _ in range(random.integers(0, 6)):
        look = look * (1 - random.uniform(-0.15, 0.35) * random_line(random))
    if random.random() < 0.3:
        look = cv2.GaussianBlur(look, (0, 0), random.uniform(0.3, 1.2))
    look = look + random.uniform(0, 0.04) * random.standard_normal(look.shape)
    return np.where(hand.mask[..., None], np.rint(255 * look.clip(0, 1)), 255).astype(np.uint8)


def random_line(random: np.random.Generator) -> np.ndarray:
    """A curve as of a crease, float (S, S, 1) in [0, 1]."""
    start, bend, end = random.uniform(0, SIDE, (3, 2))
    t = np.linspace(0, 1, 12)[:, None]
    curve = np.rint(8 * ((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end)).astype(np.int32)
    line = cv2.polylines(np.zeros((SIDE, SIDE)), [curve], False, 1.0, int(random.integers(1, 3)), cv2.LINE_AA, 3)
    return cv2.GaussianBlur(line, (0, 0), random.uniform(0.4, 1.5))[..., None]


def main() -> None:
    """Train JointNet on synthetic hands with joints."""
    parser = argparse.ArgumentParser(prog="python -m util.studies.jointnet", description=main.__doc__)
    parser.add_argument("--dataroot", type=user_path, required=True, help="folder with SynthHands' layout")
    parser.add_argument("--output", type=user_path, required=True, help="folder of the run; jointnet.pt goes there")
    parser.add_argument("--steps", type=int, default=4000, help="of 16 crops (default: 4000)")
    parser.add_argument("--num_workers", type=int, default=2, help="processes that read and paint (default: 2)")
    opt = parser.parse_args()
    seed_everything(0)
    frames = [each for each in find_frames(dataroot=opt.dataroot)["synthetic"] if joint_file(each.image).is_file()]
    if not frames:
        raise UsageError(f"--dataroot {opt.dataroot} holds no synthetic images with a <prefix>_joint_pos.txt")
    device = resolve_device("auto")
    learner = JointFinder(total_steps=opt.steps, amp=resolve_amp("auto", device), device=device)
    hands = PaintedHands(frames, camera_of(frames), seed=0)
    length = {"total_steps": opt.steps, "log_every": 100, "batch_size": 16}
    train(learner, hands, folder=opt.output, **length, seed=0, num_workers=opt.num_workers)
    network = {name: value.half() for name, value in learner.net.state_dict().items() if value.is_floating_point()}
    torch.save(learner.net.state_dict() | network, opt.output / "jointnet.pt")
    print(f"written: {opt.output / 'jointnet.pt'}")


if __name__ == "__main__":
    run_command(main)
