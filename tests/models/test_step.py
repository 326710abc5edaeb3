"""The training step against two transcriptions, step after step, and in few operators that never wait for a GPU.

tests/reference_step.py is the paper's step with our departures; `Released`, below, is that of the authors' released code.

In float64 losses and weights agree to 1e-10, which no difference in the mathematics survives; in float32, to 1e-5. Adam divides
every gradient by its own size, so a weight whose true gradient is zero walks at random with rounding errors: biases that
a normalisation takes away again are such weights, and are left out of the comparison of weights.
"""

import copy

import pytest
import torch
from helpers import CPU, ROOT, as_on_gpus, build, make_batch, to_double
from reference_step import ReferenceStep
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from models.config import network_config, objective
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from models.networks.layers import BatchNorm, InstanceNorm
from models.networks.resnet_generator import ResidualBlock
from models.networks.silnet import SilNet
from options.train_options import parse_train
from util.runtime import Amp

STEPS = 5
SHIPPED = dict.fromkeys(("average_weights", "common_mask", "extend_colors", "match_tone"), True)
SHIPPED |= {"lambda_joints": 300.0, "upsample": "smooth"}
CASES = [
    {"model": "mshgan4", "pool_size": 1, "upsample": "smooth"},
    {"model": "mshgan6", "mask": False, "extend_colors": True, "count": 2},
    {"model": "pixcyclegan4", "lambda_identity": 0.0, "pool_size": 0, "norm": "none"},
    {"model": "pixcyclegan6", "pool_size": 2, "count": 3},
    {"model": "geocongan", "lambda_geo": 2.0, "size": 64},
    {"model": "pixcyclegan4", "upsample": "deconv", "init_gain": 0.02},
    {"model": "geocongan", "norm": "batch", "count": 2},
    SHIPPED | {"model": "pixcyclegan4", "lambda_geo": 1.0, "size": 64, "pool_size": 2, "count": 2},
    SHIPPED | {"model": "mshgan4", "pool_size": 1},
]
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}


def uneven_batch(size: int, *, count: int, seed: int) -> dict:
    """A batch whose synthetic and real hands have other outlines, which differ from image to image."""
    batch = make_batch(size, count=count, seed=seed)
    for i in range(count):
        batch["real_mask"][i] = batch["real_mask"][i].roll((2 * i - size // 8, size // 8 + seed), (-2, -1))
    for domain in ("synthetic", "real"):
        batch[domain] = torch.where(batch[f"{domain}_mask"] > 0, batch[domain], 1.0)
    return batch


class NoReading(TorchDispatchMode):
    """Fails on whatever would make a CPU wait for a GPU: reading values, shapes that depend on values, copies across."""

    READERS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        assert name not in self.READERS, name
        assert name != "index" or not any(x is not None and x.dtype == torch.bool for x in args[1]), (
            "a mask as an index"
        )
        if name == "_to_copy":
            assert (kwargs or {}).get("device") in (None, args[0].device), "a copy between devices"
        return func(*args, **(kwargs or {}))


def side_by_side(vgg: nn.Module, *, model: str, dtype: torch.dtype, size: int = 32, count: int = 1, **changes):
    """Train a model, which may read nothing, and the reference from the same weights. Returns both and all steps' losses."""
    vgg = copy.deepcopy(vgg)
    torch.manual_seed(1)
    silnet = SilNet(base=2, levels=2).eval().requires_grad_(False) if changes.get("lambda_geo") else None
    fast = build(vgg, model, silnet=silnet, **changes)
    theirs = copy.deepcopy(silnet).to(dtype) if silnet else None
    plain = ReferenceStep(fast, vgg=copy.deepcopy(vgg), dtype=dtype, silnet=theirs)
    if dtype == torch.float64:
        to_double(fast)
    fast.steps = plain.steps = (fast.total_steps or 4) // 2 - 2  # the rate begins to fall
    losses = []
    for seed in range(STEPS):
        batch = {name: value.to(dtype) for name, value in uneven_batch(size, count=count, seed=seed).items()}
        exchange = fast.begin_step(batch)
        with NoReading():
            mine = fast.training_step(batch, exchange)
        losses.append((mine, plain.step(batch, exchange)))
    return fast, plain, losses


def without_effect(net: nn.Module) -> set[int]:
    """The ids of biases that a normalisation takes away again, in a network of the reference."""
    norms = (InstanceNorm, BatchNorm)
    found = set()
    for module in net.modules():
        layers = list(module) if isinstance(module, nn.Sequential) else []
        convolutions = [layer[-1] if isinstance(layer, nn.Sequential) else layer for layer in layers]
        found |= {id(a.bias) for a, b in zip(convolutions, layers[1:]) if isinstance(b, norms)}
        if isinstance(module, ResidualBlock):  # what it adds to every pixel alike ends before a normalisation, too
            found.add(id(getattr(module.body[-1], "bias", None)))
    return found


def weights_of(fast: HGAN, plain: ReferenceStep):
    """(name, fast weights, reference weights) of every network and of every mean of weights, each as one vector."""
    means = fast.average.networks if fast.average else {}
    for name, net in (*fast.networks.items(), *means.items()):
        idle = without_effect(plain.nets[name])
        skipped = [id(each) in idle for each in plain.nets[name].parameters()]
        averaged = net is means.get(name)
        theirs = plain.mean_weights(name) if averaged else plain.nets[name].parameters()
        triples = zip(net.parameters(), theirs, skipped, strict=True)
        kept = [(a.detach().flatten(), b.detach().flatten()) for a, b, skip in triples if not skip]
        yield name, torch.cat([a for a, _ in kept]), torch.cat([b for _, b in kept])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES.items(), ids=str)
def test_the_step_is_the_reference(vgg, dtype, tolerance, case):
    # Adam's first steps are as long for a gradient of unsure sign as for any other, and so magnify float32's rounding.
    rate = {} if dtype == torch.float64 else {"lr": 1e-5}
    fast, plain, losses = side_by_side(vgg, dtype=dtype, **rate, **case)
    for mine, theirs in losses:
        assert mine.keys() - {"skipped"} == theirs.keys()
        for name in theirs:
            # Means of D's maps lie around zero; what they are means of is of order one.
            torch.testing.assert_close(mine[name].to(dtype), theirs[name].to(dtype), rtol=tolerance, atol=tolerance)
    for name, a, b in weights_of(fast, plain):
        # The mean, not the largest: where a ReLU or an L1 term sits on its kink, rounding moves a weight by Adam's lr.
        assert (a - b).abs().mean() <= tolerance * b.abs().mean(), name
        assert (a - b).abs().max() <= (tolerance if dtype == torch.float64 else 2 * STEPS * fast.objective.lr), name


@pytest.mark.parametrize("case", [CASES[0], CASES[3]], ids=str)
def test_bfloat16_stays_within_its_rounding(vgg, case):
    """bfloat16 rounds by up to 2^-9 wherever a tensor is stored, and what a discriminator says of a cycle has passed through
    some 30 layers: sqrt(30) * 2^-9 is 1.1 %, which the losses may differ by. Weights can only be held to their direction:
    generators four features wide get many gradients of unsure sign through L1's kinks, for which Adam's first steps are as
    long as for others. The rate is low, so that such steps do not lead the two trainings apart.
    """
    fast, plain, losses = side_by_side(vgg, dtype=torch.float32, amp="bf16", lr=1e-5, **case)
    still = ReferenceStep(build(vgg, case["model"]), vgg=None)
    for mine, theirs in losses:
        for name in theirs:
            torch.testing.assert_close(mine[name], theirs[name], rtol=0.011, atol=0.011)
    starts = {name: start for name, _, start in weights_of(fast, still)}
    for name, a, b in weights_of(fast, plain):
        moved, wanted = a - starts[name], b - starts[name]
        assert torch.cosine_similarity(moved, wanted, dim=0) > (0.95 if name.startswith("D") else 0.5), name


@pytest.mark.parametrize("value", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool((x > 0).all())])
def test_reading_would_be_noticed(value):
    with pytest.raises(AssertionError), NoReading():
        value(torch.rand(3))


class OperatorLog(TorchDispatchMode):
    """Counts the operators that launch a kernel."""

    FREE = ("_unsafe_view", "detach", "alias", "empty", "new_empty", "empty_like", "empty_strided", "promote_types")
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        namespace, name = func.name().split("::")
        free = func.is_view or name.split(".")[0] in (*self.FREE, "lift_fresh")
        self.calls += namespace != "profiler" and not free
        return func(*args, **(kwargs or {}))


def from_flags(*flags: str, vgg: nn.Module | None, **arguments: object) -> HGAN:
    """A narrow model of train.py's flags."""
    opt = parse_train(["--name", "x", "--ngf", "4", "--ndf", "4", *flags])
    torch.manual_seed(0)
    return HGAN(network_config(opt), objective(opt), vgg=vgg, device=CPU, **arguments)


@pytest.mark.parametrize(("joints", "more"), [("0", 100), ("300", 300)])
def test_a_step_takes_few_operators(vgg, joints, more):
    """At most 60 % of what the plain first implementation took, which had neither mean colours nor a JointNet, and 100
    and 200 more for these: a GPU waits for launches."""
    model = from_flags("--lambda_joints", joints, vgg=vgg, amp=Amp("bf16"), total_steps=14)
    for seed in range(2):
        model.training_step(make_batch(64, seed=seed))
    with as_on_gpus(), OperatorLog() as log:
        model.training_step(make_batch(64, seed=2))
    assert log.calls <= 0.6 * 2415 + more


def test_channels_last_networks_give_the_same_gradients_and_convert_nothing_back(vgg):
    """The memory format of VGG16 and the perceptual discriminator on CUDA; in float64, so that only mathematics can differ."""
    plain, other = (to_double(build(copy.deepcopy(vgg))) for _ in range(2))
    kept = []

    def look(_, inputs, output):
        kept.append(output.is_contiguous(memory_format=torch.channels_last))

    for net in (other.view, other.D_r, other.D_s):
        for layer in net.to(memory_format=torch.channels_last).modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(look)
    batch = {name: value.double() for name, value in make_batch(count=3).items()}
    wanted, found = plain.training_step(batch), other.training_step(batch)
    assert kept and all(kept)
    for name, net in plain.networks.items():
        ours, theirs = (torch.cat([p.grad.flatten() for p in n.parameters()]) for n in (net, other.networks[name]))
        assert (theirs - ours).norm() < 1e-9 * ours.norm(), name
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-9, atol=1e-9)


def test_compiled_networks_compute_the_same(vgg, monkeypatch):
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_(self, backend="eager"))
    models = [build(vgg, "pixcyclegan4", lambda_identity=0.0) for _ in range(2)]
    models[1].compile()
    plain, compiled = (model.training_step(make_batch()) for model in models)
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-5, atol=1e-6)
    assert models[0].state_dict()["networks"]["G_r"].keys() == models[1].state_dict()["networks"]["G_r"].keys()


class Released:
    """CycleGAN's way: both generators by L1 of bare cycles (10) and identities (5) and least squares without a half (so
    --lambda_gan 2), in which only the fakes that the other generator and the discriminators see are composited by the mask; then
    each discriminator by half of its two least squares, on real images and on fakes from a pool that hands its first fifty back.
    """

    def __init__(self, model: HGAN, lr: float) -> None:
        self.G_r, self.G_s, self.D_r, self.D_s = map(copy.deepcopy, model.networks.values())
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


@pytest.mark.parametrize("flags", ["--paper --lambda_gan 2", f"--options {ROOT / 'docs' / 'released.yaml'}"])
@pytest.mark.parametrize("netD, lr", [("pixel", 5e-5), ("patch", 2e-4), ("perceptual", 5e-5)])
def test_paper_and_released_train_as_the_released_code(netD, lr, flags):
    """Dropout, whose draws no two programs share, is turned off."""
    vgg = load_vgg16("random", calibrated=False)[0].double() if netD == "perceptual" else None
    ours = to_double(from_flags(*flags.split(), "--netD", netD, vgg=vgg, amp=Amp("off")))
    dropouts = [layer for G in (ours.G_r, ours.G_s) for layer in G.modules() if isinstance(layer, nn.Dropout)]
    assert len(dropouts) == (8 if "released" in flags else 0)
    for layer in dropouts:
        layer.p = 0.0
    theirs = Released(ours, lr)
    for seed in range(3):
        batch = {name: value.double() for name, value in make_batch(count=2, seed=seed).items()}
        mine, its = ours.training_step(batch), theirs.step(batch)
        loss_G = 2 * mine["G_gan"] + 10 * mine["G_cycle"] + 5 * mine["G_identity"]
        assert loss_G.item() == pytest.approx(its["G"], rel=1e-9)
        assert (mine["D_r"] + mine["D_s"]).item() == pytest.approx(its["D"], rel=1e-9)
