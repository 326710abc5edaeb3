"""What HGAN does beside the step's mathematics, which test_step.py compares: translation, rates, pools, optimizers."""

import copy
import math
import random

import pytest
import torch
from helpers import build, make_batch, same
from torch import nn

from models import departures
from models.hgan import composite, generate, tone_of
from models.image_pool import ImagePool
from models.optimization import WeightAverage, linear_decay, load_optimizer, load_scaler, step_if_finite


def test_compositing_leaves_the_background_to_the_last_bit():
    source, generated = torch.rand(2, 3, 16, 16) * 2 - 1, torch.full((2, 3, 16, 16), float("nan"))
    mask = (torch.rand(2, 1, 16, 16) > 0.5).float()
    out = composite(generated, source, mask)
    outside = (mask == 0).expand_as(out)
    assert torch.equal(out[outside], source[outside])
    assert out[~outside].isnan().all()
    assert composite(generated, source, None) is generated


def test_training_and_translation_give_a_hand_the_mean_colour_that_the_tones_say(vgg):
    """In the fakes that D sees, and in `generate`; a state takes the tones along."""
    model, batch = build(vgg, match_tone=True), make_batch(64, count=2)
    batch["real"] = 0.4 * batch["real"] + 0.2
    painted = []
    model.view.register_forward_pre_hook(lambda _, seen: painted.append(seen[0]))
    model.training_step(batch)
    image, mask = batch["synthetic"], batch["synthetic_mask"]
    wanted = model.tones(departures.mean_colours(image, mask), to_real=True)
    torch.testing.assert_close(departures.mean_colours(painted[0][:2], mask), wanted, atol=0.02, rtol=0)
    other = build(vgg, match_tone=True)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    how = {"mask": True, "extend_colors": False, "mean_of_views": True}
    made = generate(other.G_r, image, mask, other.amp, tone=tone_of(other.tones, "StoR"), **how)
    wanted = departures.mean_colours(model.tones.matcher(to_real=True)(torch.zeros_like(image), image, mask), mask)
    torch.testing.assert_close(departures.mean_colours(made, mask), wanted, atol=0.02, rtol=0)


def test_weights_after_step_t_count_t_times_t_plus_1_in_their_mean():
    """Of 1, 2 and 3: (2 + 12 + 36) / 20. Statistics are averaged, too; what is no float stays."""
    net = nn.BatchNorm2d(1)
    average = WeightAverage({"G": net}, torch.device("cpu"))
    for value in (1.0, 2.0, 3.0):
        net.weight.data.fill_(value)
        net.running_mean.fill_(-value)
        net.num_batches_tracked.fill_(7)
        average.update()
    mean = average.networks["G"]
    assert (mean.weight.item(), mean.running_mean.item()) == pytest.approx((2.5, -2.5))
    assert mean.num_batches_tracked == 0 and not mean.training and not mean.weight.requires_grad


def test_best_pt_holds_the_mean_of_weights_in_the_generators_place():
    model = build(None, "pixcyclegan4", average_weights=True)
    for seed in range(2):
        model.training_step(make_batch(seed=seed))
    stored = model.inference_state()["networks"]
    assert same(stored, {name: net.state_dict() for name, net in model.average.networks.items()})
    assert not same(stored["G_r"], model.G_r.state_dict())


def test_translating_in_between_changes_no_step():
    """It runs in eval mode, without dropout and on running statistics; training does not."""
    still, used = (build(None, "pixcyclegan4", norm="batch", dropout=True) for _ in range(2))
    how = {"tone": None, "mask": True, "extend_colors": False, "mean_of_views": False}
    for seed in range(2):
        batch = make_batch(count=2, seed=seed)
        seen = batch["synthetic"], batch["synthetic_mask"]
        once, again = (generate(used.G_r, *seen, used.amp, **how) for _ in range(2))
        assert torch.equal(once, again)
        for model in (still, used):
            torch.manual_seed(seed)
            model.training_step(batch)
    weights = [[v for net in model.networks.values() for v in net.state_dict().values()] for model in (still, used)]
    assert all(map(torch.equal, *weights))


def test_the_discriminators_step_spends_no_gradient_on_vgg(vgg):
    """VGG runs with gradients once, on the fakes that the generators are judged by, and once without."""
    grad_modes = []
    handle = vgg.register_forward_hook(lambda *_: grad_modes.append(torch.is_grad_enabled()))
    build(vgg).training_step(make_batch())
    handle.remove()
    assert grad_modes == [True, False]
    assert all(p.grad is None for p in vgg.parameters())


@pytest.mark.parametrize(("at", "total"), [(10, 80), (60, 200), (100, 200), (100, 1000), (60, None)])
def test_another_length_lets_no_rate_rise_suddenly(at, total):
    """Continued at that step with another length, the rate rises by a thousandth a step at most, follows the new length's plan
    as soon as it can, and the run still ends at zero."""
    linear = {"lr": 1.0, "lr_decay": "linear"}
    old, new = (build(None, "pixcyclegan4", total_steps=length, **linear) for length in (100, total))
    for _ in range(at):
        old.begin_step(make_batch())
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    path = [old.learning_rate]
    for step in range(at, (total or at + 50) + 1):
        new.begin_step(make_batch())
        path.append(new.learning_rate)
        assert path[-1] == pytest.approx(min(linear_decay(step, total), path[-2] + 1e-3))
    if total and total > at:
        assert path[-1] == 0


def trade(pool: ImagePool, images: torch.Tensor, chance: random.Random) -> torch.Tensor:
    return pool.query(images, pool.plan(len(images), chance))


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_batch_trades_as_its_images_one_by_one(size):
    """The same choices, made image by image on a plain list: what is answered, and what is held."""
    pool, held = ImagePool(size), []
    for number in range(60):
        images = torch.arange(number * 4.0, number * 4.0 + 4).view(4, 1, 1, 1)
        answers = trade(pool, images, random.Random(number))
        chance, wanted = random.Random(number), []
        for image in images.flatten().tolist():
            if len(held) < size:
                held.append(image)
            elif chance.random() < 0.5:
                slot = chance.randrange(size)
                image, held[slot] = held[slot], image
            wanted.append(image)
        assert answers.flatten().tolist() == wanted
        assert pool.images[: pool.count].flatten().tolist() == held


def test_a_pool_keeps_no_graph_and_no_batch():
    pool, images = ImagePool(5), torch.rand(3, 3, 8, 8, requires_grad=True) * 2
    assert not trade(pool, images, random.Random(0)).requires_grad and not pool.images.requires_grad
    assert pool.images.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()
    assert torch.equal(trade(ImagePool(0), images, random.Random(0)), images)


def test_exchanges_depend_on_seed_rank_and_step(monkeypatch):
    """The same for the same three, others for any other."""
    model, batch = build(None, "pixcyclegan4"), make_batch(count=40)

    def draw(seed: int, rank: int, step: int):
        monkeypatch.setattr("util.distributed.rank", lambda: rank)
        model.seed, model.steps = seed, step
        model.pool_r.count = model.pool_s.count = model.pool_r.size  # full, so that images are exchanged
        return model.begin_step(batch)[:, 0].flatten()

    first = draw(1, 2, 3)
    assert torch.equal(first, draw(1, 2, 3)) and not torch.equal(*first.chunk(2))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (0, 3, 3)):
        assert not torch.equal(first, draw(*other))


def scaler(enabled: bool) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=enabled, init_scale=8.0)


def test_a_broken_update_changes_nothing_and_a_good_one_is_adams():
    start = torch.randn(6)
    guarded, plain = (nn.Parameter(start.clone()) for _ in range(2))
    ours, theirs = (torch.optim.Adam([p], lr=0.1, fused=True) for p in (guarded, plain))
    for step in range(6):
        if step in (2, 3):  # moments and their count stay, too
            guarded.grad = torch.full((6,), [math.nan, 3e38][step - 2])
            assert step_if_finite(ours, scaler(False), torch.tensor(1.0)).item() == 1
        guarded.grad = torch.arange(6.0) - step
        assert step_if_finite(ours, scaler(False), torch.tensor(math.inf)).item() == 1
        assert step_if_finite(ours, scaler(False), torch.tensor(1.0)).item() == 0
        plain.grad = torch.arange(6.0) - step
        theirs.step()
    assert torch.equal(guarded, plain)


@pytest.mark.parametrize(
    ("gradient", "loss", "skipped"), [(1.0, 1.0, 0), (math.inf, 1.0, 1), (3e38, 1.0, 1), (1.0, math.inf, 1)]
)
def test_the_scaler_skips_what_is_said_to_be_skipped(gradient, loss, skipped):
    """Gradients whose norm overflows, or a broken loss with good gradients, too."""
    parameter = nn.Parameter(torch.zeros(6))
    adam, scale = torch.optim.Adam([parameter], lr=0.1, fused=True), scaler(True)
    scale.scale(parameter.sum()).backward()
    parameter.grad.fill_(gradient)
    assert step_if_finite(adam, scale, torch.tensor(loss)).item() == skipped
    scale.update()
    assert scale.get_scale() == (4.0 if skipped else 8.0)
    assert parameter.any().item() != skipped and parameter.isfinite().all()


FORMATS = (torch.channels_last, torch.contiguous_format)


@pytest.mark.parametrize("formats", [FORMATS, FORMATS[::-1]])
def test_moments_belong_to_the_same_weights_in_another_memory_format(formats):
    """CUDA keeps some networks channels-last, a CPU does not: the next update must be the one that was due."""
    there, here = (nn.Parameter(torch.zeros(6, 8, 3, 3).to(memory_format=each)) for each in formats)
    theirs, ours = (torch.optim.Adam([each], lr=0.1, fused=True) for each in (there, here))
    gradients = torch.randn(6, *there.shape)
    for gradient in gradients[:5]:
        there.grad = torch.empty_like(there).copy_(gradient)
        theirs.step()
    here.data.copy_(there)
    load_optimizer(ours, copy.deepcopy(theirs.state_dict()))
    for parameter, adam in ((there, theirs), (here, ours)):
        parameter.grad = torch.empty_like(parameter).copy_(gradients[5])
        adam.step()
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)
    assert ours.state[here]["exp_avg"].stride() == here.stride()


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
def test_a_run_goes_on_in_another_precision(before, after):
    again = scaler(after)
    load_scaler(again, scaler(before).state_dict())
    assert again.is_enabled() == after
