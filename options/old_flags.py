"""Flags of the CycleGAN code base (junyanz/pytorch-CycleGAN-and-pix2pix), and what replaces them here.

Parsers' errors quote OLD_FLAGS and OLD_VALUES, from which python -m options.document writes docs/old_flags.md.
"""

from typing import NamedTuple


class Replacement(NamedTuple):
    """use: our flags, or "" where nothing replaces the old one; why: one sentence."""

    use: str
    why: str


_NO_RESIZE = "training crops are cut from images at their own size, so that a hand's detail stays as it is"
_LINEAR = "the length of a run is one number; see --help-all for the learning rate's flags"
_VISDOM = "pictures go to TensorBoard and to the run's folder; there is no Visdom server and no web page"
_UNPAIRED = "this project translates unpaired images with two generators"
_SAVED = "train.py's; the other scripts read it from the run's options.yaml"

OLD_FLAGS = {
    # which GPU, how many processes
    "--gpu_ids": Replacement(
        "--device", "CUDA_VISIBLE_DEVICES=0 chooses the GPU, torchrun trains on several, cpu is off"
    ),
    "--num_threads": Replacement("--num_workers", "the name that PyTorch's DataLoader uses"),
    "--nThreads": Replacement("--num_workers", "the name that PyTorch's DataLoader uses"),
    # data
    "--no_flip": Replacement(
        "--no-flip", "switches have a hyphen: --flip and --no-flip; crops are not flipped by default"
    ),
    "--load_size": Replacement(
        "--load_scale", "it scales every image by one factor; by default hands keep their own size"
    ),
    "--loadSize": Replacement(
        "--load_scale", "it scales every image by one factor; by default hands keep their own size"
    ),
    "--fineSize": Replacement("--crop_size", "it is the side of a training crop"),
    "--preprocess": Replacement("--crop_size", f"{_NO_RESIZE}; test.py --no-crop takes whole images"),
    "--resize_or_crop": Replacement("--crop_size", f"{_NO_RESIZE}; test.py --no-crop takes whole images"),
    "--serial_batches": Replacement("--seed", "images are always paired at random, and the seed repeats the draws"),
    "--input_nc": Replacement("", "images are read as RGB; grey ones are converted"),
    "--output_nc": Replacement("", "translations are RGB"),
    "--batchSize": Replacement("--batch_size", "it counts images per domain, step and process"),
    "--aspect_ratio": Replacement("", "translations keep the size of their sources"),
    "--dataset_mode": Replacement("--dataroot", "the layout is recognised by what the root holds"),
    "--which_direction": Replacement("--direction", "StoR is synthetic to real (A to B), RtoS the way back"),
    "--direction": Replacement(
        "--direction", "train.py trains both directions at once; choose one when you run test.py"
    ),
    # networks
    "--n_layers_D": Replacement("--netD", "patch is CycleGAN's 70x70 PatchGAN of three layers"),
    "--no_dropout": Replacement("--no-dropout", "dropout is off by default"),
    "--which_model_netG": Replacement("--netG", "resnet_9blocks is CycleGAN's"),
    "--which_model_netD": Replacement("--netD", "patch is CycleGAN's basic"),
    "--use_masks": Replacement("--mask", "masks are used by default; --no-mask trains without"),
    # losses
    "--lambda_A": Replacement("--lambda_cycle", "both directions have the same weight"),
    "--lambda_B": Replacement("--lambda_cycle", "both directions have the same weight"),
    "--lambda_L1": Replacement("--lambda_cycle", f"it weighs pix2pix's loss on pairs; {_UNPAIRED}"),
    "--identity": Replacement("--lambda_identity", "its weight relative to the cycle loss"),
    "--gan_mode": Replacement(
        "--lambda_gan", "the adversarial loss is always LSGAN, CycleGAN's default and the paper's"
    ),
    "--no_lsgan": Replacement(
        "--lambda_gan", "the adversarial loss is always LSGAN, CycleGAN's default and the paper's"
    ),
    # length and rate
    "--niter": Replacement("--n_epochs", _LINEAR),
    "--niter_decay": Replacement("--n_epochs", _LINEAR),
    "--n_epochs_decay": Replacement("--n_epochs", _LINEAR),
    "--lr_policy": Replacement("--lr", "--lr_decay says how the rate falls"),
    "--lr_decay_iters": Replacement("--lr", "--lr_decay says how the rate falls"),
    "--epoch_count": Replacement("--continue_train", "a run goes on from the step it was saved at"),
    # watching and saving
    "--print_freq": Replacement("--log_freq", "it counts steps, whatever the batch size"),
    "--save_latest_freq": Replacement("--save_freq", "it counts steps; --save_minutes saves by time"),
    "--save_by_iter": Replacement("--save_freq", "latest.pt is saved by steps and by time, best.pt by validation"),
    "--update_html_freq": Replacement("--display_freq", _VISDOM),
    "--no_html": Replacement("--display_freq", f"{_VISDOM}; 0 draws none"),
    "--display_id": Replacement("--display_freq", f"{_VISDOM}; 0 draws none"),
    "--display_ncols": Replacement("--display_freq", _VISDOM),
    "--display_port": Replacement("--display_freq", _VISDOM),
    "--display_server": Replacement("--display_freq", _VISDOM),
    "--display_env": Replacement("--display_freq", _VISDOM),
    "--display_winsize": Replacement("--display_freq", _VISDOM),
    "--use_wandb": Replacement("", "scalars and pictures go to TensorBoard"),
    "--wandb_project_name": Replacement("", "scalars and pictures go to TensorBoard"),
    "--verbose": Replacement("", "options.yaml and TensorBoard hold the networks' sizes and all options"),
    "--suffix": Replacement("--name", "the name of the run is the name of its folder"),
    # testing
    "--phase": Replacement("--phase", "train.py trains on the train split; test.py translates the split that it names"),
    "--how_many": Replacement("--num_test", "images per domain, at most"),
    "--ntest": Replacement("--num_test", "images per domain, at most"),
    "--which_epoch": Replacement("--epoch", "best is the best by validation, latest the last saved"),
    "--load_iter": Replacement("--epoch", "best is the best by validation, latest the last saved"),
    "--eval": Replacement("", "generators always run in eval mode outside training"),
    "--model_suffix": Replacement("--direction", "StoR uses G_r, RtoS uses G_s"),
    "--results_dir": Replacement("--results_dir", "test.py writes results; train.py writes to CHECKPOINTS_DIR/NAME"),
    "--num_test": Replacement("--num_test", "test.py counts images; train.py sets the split with --test_size"),
    "--model": Replacement("--model", _SAVED),
    "--norm": Replacement("--norm", _SAVED),
    "--netG": Replacement("--netG", _SAVED),
    "--netD": Replacement("--netD", _SAVED),
    "--ngf": Replacement("--ngf", _SAVED),
    "--ndf": Replacement("--ndf", _SAVED),
    "--crop_size": Replacement(
        "--crop", "test.py takes 256 pixels centred on the hand, or the whole image with --no-crop"
    ),
}

OLD_VALUES = {
    ("--direction", "AtoB"): "A is the synthetic domain and B the real one: use StoR",
    ("--direction", "BtoA"): "A is the synthetic domain and B the real one: use RtoS",
    ("--dataset_mode", "single"): "test.py --input DIR translates a folder of images",
    ("--dataset_mode", "aligned"): f"there are no pairs; {_UNPAIRED}: use unaligned",
    ("--dataset_mode", "colorization"): f"{_UNPAIRED}: use unaligned",
    ("--model", "cycle_gan"): "CycleGAN's networks are --netG resnet_9blocks --netD patch",
    ("--model", "pix2pix"): f"pix2pix learns from pairs; {_UNPAIRED}: leave --model out, or choose one of Table I",
    ("--model", "test"): "test.py --name NAME translates with a trained run",
    ("--model", "colorization"): f"{_UNPAIRED}: leave --model out, or choose one of Table I",
    ("--netG", "unet_256"): "generators are ResNets: use resnet_9blocks for images of 256 pixels and more",
    ("--netG", "unet_128"): "generators are ResNets: use resnet_6blocks for crops of 128 pixels",
    ("--device", "gpu"): "a GPU is cuda",
    ("--netD", "basic"): "CycleGAN's basic discriminator is patch",
    ("--netD", "n_layers"): "patch is CycleGAN's 70x70 PatchGAN of three layers",
    ("--upsample", "basic"): "transposed convolutions are deconv",
}


def explain_flag(flag: str) -> str | None:
    """What to do instead of giving an old flag; None for any other flag."""
    entry = OLD_FLAGS.get(flag)
    if entry is None:
        return None
    use = f"use {entry.use}" if entry.use and entry.use != flag else "nothing replaces it" if not entry.use else ""
    return "; ".join(part for part in (use, entry.why) if part)
