"""One run's translations of one split or folder: their files, their scores, and the pages that show them."""

from dataclasses import dataclass, field
from pathlib import Path

from util.results.browse import SCORE_LABELS, Column, Gallery, write_gallery
from util.results.verdict import score_rows
from util.results.write import Written

UNINTERESTING = ("explicit", "name")  # options that a page need not list


@dataclass
class Tested:
    """One run's translations of one set of sources.

    folder: what test.py wrote. domains: (of the sources, of the target). metrics: what metrics.json holds, empty for a
    folder of images that is only translated. each: {score: {path of the source: value}}.
    """

    name: str
    folder: Path
    domains: tuple[str, str]
    source: list[Written]
    generated: list[Written]
    metrics: dict = field(default_factory=dict)
    each: dict[str, dict[str, float]] = field(default_factory=dict)

    def image_scores(self) -> dict[str, list[float | None]]:
        """{label: a value, or None, for each translation, in their order}."""
        return {
            SCORE_LABELS.get(key, key): [values.get(each.frame.relative) for each in self.generated]
            for key, values in self.each.items()
        }

    def write_page(self, options: dict) -> Path:
        """Write index.html. options: test.py's flags. Returns its path."""
        columns = [Column(self.domains[0], self.domains[0]), Column("translated", "generated")]
        if any(each.frame.mask_kind != "none" for each in self.source):
            columns.append(Column("mask", f"masks/{self.domains[0]}"))
        if (self.folder / "true_pairs").is_dir():
            columns.append(Column("true pair", "true_pairs"))
        step = f", step {self.metrics['step']:,}" if "step" in self.metrics else ""
        gallery = Gallery(
            title=f"{self.name}{step}: {self.folder.name}",
            verdicts=[text] if (text := self.metrics.get("verdict")) else [],
            columns=columns,
            names=[each.image.relative_to(self.folder / "generated") for each in self.generated],
            scores=self.image_scores(),
            tables={"scores": rows} if (rows := score_rows(self.metrics)) else {},
            options={key: value for key, value in sorted(options.items()) if key not in UNINTERESTING},
        )
        return write_gallery(self.folder, gallery)
