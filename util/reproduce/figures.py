"""The paper's figures from the results of the stages, as JPEG files small enough to be shared."""

from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np

from util.drawing import sheet, spread
from util.files import write_bytes
from util.images import ImageError, read_mask, read_rgb
from util.reproduce.evidence import common_sources, deep_inside, test_folder
from util.reproduce.stages import real_root

SIDE = 176  # pixels of a hand
COLUMNS, ROWS = 8, 6
WIDEST = 1500  # pixels of a picture


def write_jpeg(path: Path, image: np.ndarray, *, quality: int = 88) -> Path:
    """Write uint8 RGB (H, W, 3), scaled down to at most WIDEST pixels a line."""
    scale = min(1.0, WIDEST / image.shape[1])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(f"{path}: could not encode an array of shape {image.shape} as JPEG")
    write_bytes(path, data.tobytes())
    return path


def some_of(items: list, count: int) -> list:
    """Up to `count` of the items, evenly spread."""
    return [items[place] for place in spread(len(items), count)]


def pair_figure(folder: Path, names: list[Path], *, source: str, labels: tuple[str, str]) -> np.ndarray:
    """Sources in the top row, their translations below: Figs. 1, 3 and 4. folder: of test.py; names: below generated/."""
    rows = [[read_rgb(folder / part / name) for name in names] for part in (source, "generated")]
    return sheet(rows, labels=list(labels), side=SIDE)


def model_figure(opt: Namespace, models: list[str], names: list[Path]) -> np.ndarray:
    """Fig. 5: a row a hand, the synthetic one first and then what each model makes of it."""
    columns = [test_folder(opt, models[0]) / "synthetic", *(test_folder(opt, m) / "generated" for m in models)]
    rows = [[read_rgb(column / name) for column in columns] for name in names]
    return sheet(rows, columns=["synthetic", *models], side=SIDE)


def shading_step(image: np.ndarray, mask: np.ndarray, *, margin: int = 8) -> float:
    """The strongest step of brightness inside the hand, in grey levels a pixel, away from its outline; 0 without an inside.

    Shading discontinuities, as the paper's Fig. 3 shows them at the wrist, are such steps. The brightness is smoothed by
    a deviation of 2 pixels, and the strongest thousandth of the pixels is left out.
    """
    inside = deep_inside(mask, margin)
    if not inside.any():
        return 0.0
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 2.0)
    slope = np.hypot(*np.gradient(grey))
    return float(np.quantile(slope[inside], 0.999))


def strongest_shading(folder: Path, names: list[Path], count: int) -> list[Path]:
    """The sources with the strongest shading steps, strongest first."""
    strength = {
        name: shading_step(read_rgb(folder / "synthetic" / name), read_mask(folder / "masks" / "synthetic" / name))
        for name in names
    }
    return sorted(strength, key=lambda name: (-strength[name], name))[:count]


def write_figures(opt: Namespace, models: list[str]) -> dict[str, Path]:
    """Write every figure whose hands are there to opt.folder/figures. Returns {figure: file}."""
    out, shown = opt.folder / "figures", test_folder(opt, opt.figure_model)
    written: dict[str, Path] = {}
    names = common_sources(opt, models)
    if names:
        written["fig5"] = write_jpeg(out / "fig5.jpg", model_figure(opt, models, some_of(names, ROWS)))
    if opt.figure_model in models and names:
        labels = ("synthetic", "translated")
        fig1 = pair_figure(shown, some_of(names, COLUMNS), source="synthetic", labels=labels)
        written["fig1"] = write_jpeg(out / "fig1.jpg", fig1)
        steps = strongest_shading(shown, names, COLUMNS)
        written["fig3"] = write_jpeg(out / "fig3.jpg", pair_figure(shown, steps, source="synthetic", labels=labels))
    back = opt.folder / opt.figure_model / "test_RtoS"
    if (back / "metrics.json").exists():
        real = sorted(path.relative_to(back / "generated") for path in (back / "generated").rglob("*.png"))
        fig4 = pair_figure(back, some_of(real, COLUMNS), source="real", labels=("real", "translated"))
        written["fig4"] = write_jpeg(out / "fig4.jpg", fig4)
    copies = {
        "fig6": opt.folder / "classify" / "table2" / "samples.png",
        "fig7": opt.folder / "classify" / "table3" / "confusion.png",
        "downstream": opt.folder / opt.figure_model / "downstream" / "segmentation" / "samples.png",
    }
    if real_root(opt):
        copies["masks"] = real_root(opt) / "masks_preview.png"
    for name, path in copies.items():
        if path.exists():
            written[name] = write_jpeg(out / f"{name}.jpg", read_rgb(path))
    return written
