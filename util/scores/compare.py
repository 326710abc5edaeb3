"""Score results folders by the rulers, one line a folder: python -m util.scores.compare results/msh4/test ...

A folder is what test.py writes: generated/, synthetic/, real/ and masks/. Translations of synthetic hands are scored
against their sources and against the photographs of the same folder; FD and KID are taken from its metrics.json.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data.depth import read_depth, region_depth
from util.errors import UsageError, run_command
from util.images import read_mask, read_rgb
from util.scores.hand_pixels import REFERENCE_SIDE
from util.scores.rulers import Appearance, best_score, relative_to, structure_entries
from util.scores.structure import Structure, structure

HEADER = (
    "structure (chance) new  texture    6    12    24  tone    L     a     b  fringe    score     FD  inside    KID  n"
)


def main() -> int:
    opt = parse()
    cv2.setNumThreads(1)
    width = max(len(str(folder)) for folder in opt.folders)
    print(" " * (width + 12), HEADER)
    for folder in opt.folders:
        images = sorted(path.relative_to(folder / "synthetic") for path in (folder / "synthetic").rglob("*.png"))
        if not images:
            raise UsageError(
                f"{folder} holds no synthetic/*.png: give folders that test.py wrote, results/<name>/<phase>"
            )
        scale = opt.scale or folder_scale(folder)
        photographs = Appearance.of(hands(folder, "real"), scale=scale)
        scores = read_scores(folder)
        for label, part in (("untranslated", "synthetic"), ("translated", "generated")):
            measure = partial(
                image_structure, folder, part, depth_root=opt.depth_root, boxes=read_boxes(folder), scale=scale
            )
            with ProcessPoolExecutor(opt.num_workers) as pool:
                total = sum(pool.map(measure, images, chunksize=8), Structure())
            rulers = structure_entries(total) | relative_to(
                photographs, Appearance.of(hands(folder, part), scale=scale)
            )
            print(f"{str(folder):{width}} {label:12}{line(rulers, scores[part], len(images))}", flush=True)
        print(f"{'':{width}} photographs, absolute: {absolute(photographs)}; scale {scale:g}", flush=True)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="results folders, such as results/msh4/test")
    parser.add_argument(
        "--depth_root",
        type=Path,
        help="SynthHands_Release of the data, for its _depth.png; without it, luminance edges",
    )
    parser.add_argument("--scale", type=float, help="side of the frames / 256 (default: told from the masks)")
    parser.add_argument("--num_workers", type=int, default=2, help="processes (default: 2)")
    return parser.parse_args()


def hands(folder: Path, part: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, mask) of each file of generated/, synthetic/ or real/."""
    masks = folder / "masks" / ("real" if part == "real" else "synthetic")
    for path in sorted((folder / part).rglob("*.png")):
        yield read_rgb(path), read_mask(masks / path.relative_to(folder / part))


def image_structure(
    folder: Path, part: str, name: Path, *, depth_root: Path | None, boxes: dict[str, list[int]], scale: float
) -> Structure:
    """The structure of one image of generated/ (or, as a check that it is 1, synthetic/)."""
    mask = read_mask(folder / "masks" / "synthetic" / name)
    depth = None
    if depth_root:
        frame = read_depth(depth_root / name)
        box = boxes.get(name.as_posix()) or (frame is not None and padded_box(frame.shape, mask.shape))
        depth = region_depth(depth_root / name, box, mask) if box else None
    return structure(read_rgb(folder / "synthetic" / name), read_rgb(folder / part / name), mask, depth, scale=scale)


def read_boxes(folder: Path) -> dict[str, list[int]]:
    """regions.json: {file below generated/: [x, y, width, height]}; empty where there is none."""
    path = folder / "regions.json"
    regions = json.loads(path.read_text()) if path.exists() else []
    return {region["file"].removeprefix("generated/"): region["box"] for region in regions}


def padded_box(frame: tuple[int, int], region: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The box of a region that holds a whole frame, both (H, W), padded evenly; None where it cuts the frame."""
    if any(side > length for side, length in zip(frame, region)):
        return None
    y, x = (-((length - side) // 2) for side, length in zip(frame, region))
    return x, y, region[1], region[0]


def folder_scale(folder: Path) -> float:
    """0.5 where all hands fit into the middle half of their regions, as frames of 128 pixels padded to 256 do, else 1."""
    reach = 0
    for path in (folder / "masks").rglob("*.png"):
        mask = read_mask(path)
        for axis in (0, 1):
            centre = mask.shape[axis] / 2
            where = np.flatnonzero(mask.any(axis=1 - axis))
            if len(where):
                reach = max(reach, centre - where[0], where[-1] + 1 - centre)
    return 0.5 if reach <= REFERENCE_SIDE / 4 else 1.0


def read_scores(folder: Path) -> dict[str, dict]:
    """{"generated": scores, "synthetic": scores} from metrics.json; empty where it is missing."""
    path = folder / "metrics.json"
    scores = json.loads(path.read_text()) if path.exists() else {}
    return {"generated": scores, "synthetic": scores.get("baseline", {})}


def line(rulers: dict, scores: dict, count: int) -> str:
    """One line of the table."""
    metric = "fid" if "fid" in scores else "fd"
    distance = scores.get(metric)

    def text(value: float | None, width: int, digits: int = 2) -> str:
        return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"

    texture = "".join(text(value, 6) for value in rulers["texture"].values())
    tone = "".join(text(value, 6) for value in rulers["tone"].values())
    return (
        f"{text(rulers['structure'], 9, 3)} ({text(rulers['structure_chance'], 5, 3)}){text(rulers['new_edges'], 6)}"
        f"        {texture}      {tone}{text(rulers['fringe'], 8)}"
        f"{text(None if distance is None else best_score(distance, rulers), 9, 1)}{text(distance, 7, 1)}"
        f"{text(scores.get(f'{metric}_patch'), 8, 1)}{text(scores.get('kid_mean'), 7, 3)}  {count}"
    )


def absolute(photographs: Appearance) -> str:
    """The photographs' own figures."""
    texture, tone = photographs.texture(), photographs.tone()
    return f"texture {texture.round(2)} L*, tone {tone.round(2)}, fringe {photographs.fringe():.2f}"


if __name__ == "__main__":
    run_command(main)
