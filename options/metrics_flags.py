"""Flags of the realism scores, which train.py and test.py share."""

import argparse

from models import FEATURE_NETS
from options.parsing import add_flag, existing_file, integer


def add_feature_net_flags(group: argparse._ActionsContainer, **marks: bool) -> None:
    """Add --feature_net and --inception_weights; marks: see add_flag."""
    add_flag(
        group,
        "--feature_net",
        basic=True,
        choices=("auto", *FEATURE_NETS),
        default="auto",
        help="network whose features are compared: inception gives FID, any other an FD; auto: inception if "
        "available, else effnet_lite0",
        **marks,
    )
    add_flag(
        group,
        "--inception_weights",
        type=existing_file,
        metavar="FILE",
        help="the FID network's weights (default: torch.hub's cache, else their download)",
        **marks,
    )


def add_metric_flags(group: argparse._ActionsContainer) -> None:
    """Add the flags of add_feature_net_flags, --kid_subset_size and --kid_subsets."""
    add_feature_net_flags(group)
    add_flag(
        group,
        "--kid_subset_size",
        type=integer(2),
        metavar="N",
        help="images in a KID subset (default: a tenth of the smaller set)",
    )
    add_flag(group, "--kid_subsets", type=integer(1, 10**6), default=100, metavar="N", help="KID subsets drawn")
