"""Flags of the CycleGAN code base (junyanz/pytorch-CycleGAN-and-pix2pix) that this project does not have."""


def explain_flag(flag: str, script: str) -> str | None:
    return None


def explain_value(flag: str, value: str) -> str | None:
    return None
