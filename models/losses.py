"""The objective's terms (paper section III.C). All are computed in float32 and averaged over the batch."""

from torch import Tensor


def lsgan_discriminator_loss(real_maps: list[Tensor], fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, discriminator: sum over scales of 1/2 E[(D(real) - 1)^2] + 1/2 E[D(fake)^2]."""
    losses = ((real - 1).square().mean() + fake.square().mean() for real, fake in zip(real_maps, fake_maps, strict=True))
    return 0.5 * sum(losses)


def lsgan_generator_loss(fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, generator: sum over scales of 1/2 E[(D(fake) - 1)^2]."""
    return 0.5 * sum((fake - 1).square().mean() for fake in fake_maps)


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference: the cycle-consistency and identity losses of CycleGAN, over all pixels."""
    return (output - target).abs().mean()
