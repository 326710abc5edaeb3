"""A run in TensorBoard: tags in groups, in the order in which one looks at them, and a guide to them."""

import numpy as np

from util.drawing import PAPER, draw_text
from util.training.tally import SKIPPED

CAPTION = 22  # pixels: the height of a caption on a card
CARD = 300  # pixels: the width at which TensorBoard shows a picture

WHAT_TO_WATCH = """\
**1 scores** matter most. `fd` (or `fid`) is the distance of translated from real validation hands, lower is better.
`structure` is the share of the source's inner edges that the translation still shows (1: all; `structure_chance`: what
creases everywhere would show by chance). `texture_6`, `texture_12`, `texture_24`, `tone_L` and `fringe` are 1 where they are
the photographs' own. `score` combines them, lower is better; `best.pt` is the checkpoint with the lowest (docs/scores.md).

**2 generators**: `G_cycle` and `G_identity` fall and then level off. `G_gan` does not fall to 0: it shows the balance of
the two players. If it keeps rising, the discriminators win.

**3 discriminators**: `D_r_real` and `D_r_fake` are D's mean answers, 1 for real and 0 for fake. Both near 0.5: D sees no
difference, and the generators get no signal. Near 1 and 0 for thousands of steps: D is too strong, and the generators learn
little. In between is where training happens. `D_s` judges the other direction.

**4 speed and memory**: seconds a step without validation, pictures and saving; a slow rise means that something else uses the
machine.

**Images**: look at these first and trust them last. Skin should gain texture from left to right, the outline should stay,
and the cycle should come back to the source. What looks best at one step may be chance: compare several.
"""


def tag(name: str) -> str:
    """A logged number's name -> its tag, "group/name"."""
    if name in ("seconds", "images_per_second", "memory_gib", SKIPPED):
        return f"4_speed_and_memory/{name}"
    if name.startswith("D_"):
        return f"3_discriminators/{name}"
    if name.startswith("G_"):
        return f"2_generators/{name}"
    return f"2_losses/{name}"


def score_tag(name: str) -> str:
    """A score's name -> its tag."""
    return f"1_scores/{name}"


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """uint8 (H, W, 3) with the text in a white strip above it, cut to the width, as large as a CARD needs it."""
    height, width = picture.shape[:2]
    scale = max(1.0, width / CARD)
    strip = round(CAPTION * scale)
    sheet = np.full((strip + height, width, 3), PAPER, np.uint8)
    sheet[strip:] = picture
    draw_text(sheet, text, (4 * scale, strip / 2), size=0.45 * scale, anchor="start", bold=scale > 2)
    return sheet
