"""Score results folders by the rulers, two lines a folder: python -m util.scores.compare results/msh4/test ...

A folder is what test.py writes: generated/, synthetic/, real/ and masks/. Translations of synthetic hands are scored
against their sources and against the photographs of the same folder; FD and KID are taken from its metrics.json.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data.depth import region_depth
from util.errors import UsageError, run_command
from util.images import read_mask, read_rgb
from util.scores.hand_pixels import ruler_scale
from util.scores.rulers import Appearance, RulerScores, best_score

HEADER = (
    "structure (chance) new  texture    6    12    24  tone    L     a     b  fringe    score     FD  inside    KID  n"
)


def main() -> int:
    opt = parse()
    cv2.setNumThreads(1)
    width = max(len(str(folder)) for folder in opt.folders)
    print(f"{'':{width}} {'':13}{HEADER}")
    for folder in opt.folders:
        images = sorted(path.relative_to(folder / "synthetic") for path in (folder / "synthetic").rglob("*.png"))
        if not images:
            raise UsageError(f"{folder} holds no synthetic/*.png; give folders that test.py wrote: results/NAME/PHASE")
        scale = opt.scale or ruler_scale(read_mask(path) for path in (folder / "masks").rglob("*.png"))
        photographs = Appearance(scale)
        for image, mask in hands(folder, "real"):
            photographs.add(image, mask)
        scores = read_scores(folder)
        for label, part in (("untranslated", "synthetic"), ("translated", "generated")):
            rulers = score(folder, part, images, photographs, depth_root=opt.depth_root)
            print(f"{str(folder):{width}} {label:13}{line(rulers, scores[part], len(images))}", flush=True)
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
    parser.add_argument("--scale", type=float, help="side of the frames / 256 (default: from the masks)")
    return parser.parse_args()


def hands(folder: Path, part: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, mask) of each file of generated/, synthetic/ or real/."""
    masks = folder / "masks" / ("real" if part == "real" else "synthetic")
    for path in sorted((folder / part).rglob("*.png")):
        yield read_rgb(path), read_mask(masks / path.relative_to(folder / part))


def score(folder: Path, part: str, images: list[Path], photographs: Appearance, *, depth_root: Path | None) -> dict:
    """The rulers' entries of generated/ or, untranslated, of synthetic/; images: paths below these."""
    scores = RulerScores(photographs)
    for name in images:
        mask = read_mask(folder / "masks" / "synthetic" / name)
        depth = region_depth(depth_root / name, mask) if depth_root else None
        scores.add(read_rgb(folder / "synthetic" / name), read_rgb(folder / part / name), mask, depth)
    return scores.entries()


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
    texture, tone, fringe = photographs.texture(), photographs.tone(), photographs.fringe()
    if texture is None or tone is None or fringe is None:
        return "too few to measure"
    return f"texture {texture.round(2)} L*, tone {tone.round(2)}, fringe {fringe:.2f}"


if __name__ == "__main__":
    run_command(main)
