"""--paper against the training step of the authors' released code, transcribed from a description of it.

It trains CycleGAN's way: both generators by L1 of bare cycles (10) and identities (5) and least squares without a half (so
--lambda_gan 2), in which only the fakes that the other generator and the discriminators see are composited by the mask; then
each discriminator by half of its two least squares, on real images and on fakes from a pool that hands its first fifty back.
"""

import copy

import pytest
import torch
from helpers import CPU, make_batch, to_double

from models.config import network_config, objective
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from options.train_options import parse_train
from util.runtime import Amp


class Released:
    def __init__(self, model: HGAN, lr: float) -> None:
        self.G_r, self.G_s, self.D_r, self.D_s = (
            copy.deepcopy(model.networks[n]) for n in ("G_r", "G_s", "D_r", "D_s")
        )
        self.see = copy.deepcopy(model.view)
        both = [[*a.parameters(), *b.parameters()] for a, b in ((self.G_r, self.G_s), (self.D_r, self.D_s))]
        self.adam_G, self.adam_D = (torch.optim.Adam(p, lr=lr, betas=(0.5, 0.999), fused=False) for p in both)

    def step(self, batch: dict) -> dict[str, float]:
        s, r, m_s, m_r = (batch[name] for name in ("synthetic", "real", "synthetic_mask", "real_mask"))
        fake_r = self.G_r(s) * m_s + s * (1 - m_s)
        fake_s = self.G_s(r) * m_r + r * (1 - m_r)
        cycle = (self.G_s(fake_r) - s).abs().mean() + (self.G_r(fake_s) - r).abs().mean()
        identity = (self.G_r(r) - r).abs().mean() + (self.G_s(s) - s).abs().mean()
        pairs = (self.D_r, r, fake_r), (self.D_s, s, fake_s)
        adversarial = sum(((out - 1) ** 2).mean() for D, _, fake in pairs for out in D(self.see(fake)))
        loss_G = adversarial + 10 * cycle + 5 * identity
        self.adam_G.zero_grad()
        loss_G.backward()
        self.adam_G.step()
        self.adam_D.zero_grad()
        loss_D = 0.0
        for D, real, fake in pairs:
            for on_real, on_fake in zip(D(self.see(real)), D(self.see(fake.detach()))):
                loss_D = loss_D + 0.5 * (((on_real - 1) ** 2).mean() + (on_fake**2).mean())
        loss_D.backward()
        self.adam_D.step()
        return {"G": loss_G.item(), "D": loss_D.item()}


@pytest.mark.parametrize("netD, tolerance", [("pixel", 1e-9), ("patch", 1e-9), ("perceptual", 1e-5)])
def test_paper_trains_as_the_released_code(netD, tolerance):
    flags = ["--name", "x", "--paper", "--netD", netD, "--lambda_gan", "2", "--ngf", "4", "--ndf", "4"]
    opt = parse_train(flags)
    torch.manual_seed(0)
    vgg = load_vgg16("random", calibrated=False)[0] if netD == "perceptual" else None
    ours = HGAN(network_config(opt), objective(opt), vgg=vgg, amp=Amp(opt.amp), device=CPU)
    dtype = torch.float32 if netD == "perceptual" else torch.float64
    if dtype == torch.float64:
        to_double(ours)
    theirs = Released(ours, opt.lr)
    assert opt.lr == (2e-4 if netD == "patch" else 5e-5)
    for seed in range(3):
        batch = {name: value.to(dtype) for name, value in make_batch(seed=seed).items()}
        mine, its = ours.training_step(batch), theirs.step(batch)
        loss_G = 2 * mine["G_gan"] + 10 * mine["G_cycle"] + 5 * mine["G_identity"]
        assert loss_G.item() == pytest.approx(its["G"], rel=tolerance)
        assert (mine["D_r"] + mine["D_s"]).item() == pytest.approx(its["D"], rel=tolerance)
