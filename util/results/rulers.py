"""The rulers' part of metrics.json, and rulers.csv: each image's own structure."""

from pathlib import Path

from data.depth import region_depth
from util.files import csv_text, write_bytes
from util.images import read_mask, read_rgb
from util.results.scores import Scores
from util.results.write import Written
from util.scores.hand_pixels import ruler_scale
from util.scores.rulers import Appearance, RulerScores
from util.scores.structure import Structure
from util.workers import progress

RULERS_FILE = "rulers.csv"
RULERS = ("structure", "texture", "tone", "fringe")  # what looks at the inside of hands, and so needs masks


def measure_rulers(folder: Path, target: list[Written], generated: list[Written], source: list[Written]) -> Scores:
    """Structure, texture, tone and fringe; of single images, the structure that they keep.

    Texture, tone and fringe are relative to the target domain's. Writes rulers.csv: one row a translation, by its file
    below `folder`.
    """
    scale = ruler_scale(read_mask(each.mask) for each in (*target, *source))
    photographs = Appearance(scale)
    for each in target:
        photographs.add(read_rgb(each.image), read_mask(each.mask))
    translated, untranslated = RulerScores(photographs), RulerScores(photographs)
    for each, translation in zip(progress(source, desc="rulers"), generated):
        source_image, mask = read_rgb(each.image), read_mask(each.mask)
        depth = region_depth(each.frame.image, mask)
        translated.add(source_image, read_rgb(translation.image), mask, depth)
        untranslated.add(source_image, source_image, mask, depth)
    write_bytes(folder / RULERS_FILE, rulers_csv(folder, generated, translated.structures).encode())
    kept = zip(source, translated.structures, strict=True)
    shares = {each.frame.relative: structure.share for each, structure in kept if structure.share is not None}
    return Scores(translated.entries() | {"ruler_scale": scale}, untranslated.entries(), {"structure": shares})


def rulers_csv(folder: Path, generated: list[Written], structures: list[Structure]) -> str:
    """Columns: file, structure, structure_chance, new_edges (0 to 1; empty where there is no edge) and n_edges."""
    rows = []
    for each, structure in zip(generated, structures, strict=True):
        shares = (structure.share, structure.chance_share, structure.new_share)
        cells = ("" if share is None else f"{share:.4f}" for share in shares)
        rows.append((each.image.relative_to(folder).as_posix(), *cells, structure.edges))
    return csv_text(("file", "structure", "structure_chance", "new_edges", "n_edges"), rows)
