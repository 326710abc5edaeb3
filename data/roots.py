"""From the data flags to frames that may be used."""

import os
from argparse import Namespace

from data import DEMO_ROOT
from data.checks import check_masks
from data.demo import ensure_demo, is_demo
from data.frames import EXPECTED_TREE, Domains, Reading, find_frames
from util import distributed
from util.errors import UsageError


def open_frames(opt: Namespace, reading: Reading) -> Domains:
    """The frames of both domains, their masks checked. opt: dataroot, synth_root, real_root, dataset_mode, num_workers.

    Writes the demo if it is asked for and not there. Raises UsageError that names the flag and shows the trees expected.
    """
    flags = ("synth_root", "real_root")
    if not (opt.synth_root and opt.real_root):
        flags += ("dataroot",)
        if opt.dataroot == DEMO_ROOT and not is_demo(DEMO_ROOT):  # missing, or its writing was interrupted
            if distributed.rank() == 0:
                ensure_demo(DEMO_ROOT, num_workers=max(2, opt.num_workers))
            distributed.barrier()
    for flag in flags:
        root = getattr(opt, flag)
        if root and not os.path.isdir(root):
            raise UsageError(f"--{flag} {root} is not a folder. Expected is one of\n{EXPECTED_TREE}")
    roots = {"dataroot": opt.dataroot, "synth_root": opt.synth_root, "real_root": opt.real_root}
    return check_masks(find_frames(**roots, layout=opt.dataset_mode, reading=reading))
