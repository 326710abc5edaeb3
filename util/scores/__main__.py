"""FID, or FD, and KID of two folders of images, as torch-fidelity's --input1 and --input2: python -m util.scores GENERATED REAL"""

import argparse
from collections.abc import Sequence

from options.parsing import Parser, existing_path, integer
from options.shared import add_feature_net_flags
from util.errors import UsageError, run_command


def parse_scores(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line)."""
    parser = Parser(prog="python -m util.scores", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("generated", type=existing_path, metavar="GENERATED", help="folder of generated images")
    parser.add_argument("real", type=existing_path, metavar="REAL", help="folder of real images")
    add = parser.group("scores")
    add_feature_net_flags(add)
    add("kid_subset_size", integer(2), None, "images in a KID subset (default: a tenth of the smaller set)")
    add("kid_subsets", integer(1, 10**6), 100, "KID subsets drawn")
    add("device", ("auto", "cpu", "cuda"), "auto", "auto: CUDA if available")
    return parser.parse_args(argv)


def main(opt: argparse.Namespace | None = None) -> None:
    """Print the scores, one a line."""
    opt = opt or parse_scores()
    from data.listing import images_below
    from models.features.registry import load_feature_net
    from util.runtime import resolve_device
    from util.scores.features import extract_features, score

    images = {folder: sorted(images_below(folder)) for folder in (opt.real, opt.generated)}
    for folder, paths in images.items():
        if not paths:
            raise UsageError(f"there are no images below {folder}")
    net = load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=resolve_device(opt.device))
    real, generated = (extract_features(paths, net, progress="features") for paths in images.values())
    scores = score(real, generated, net, kid_subset_size=opt.kid_subset_size, kid_subsets=opt.kid_subsets)
    for name, value in scores.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    run_command(main)
