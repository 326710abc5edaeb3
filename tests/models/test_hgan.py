"""The training step: what it updates, what it leaves alone, and that every model of the registry takes it."""

import copy
import random

import pytest
import torch
from helpers import build, make_batch

from models import MODELS
from models.departures import SHORT, edge_share, linear_decay
from models.hgan import HGAN, composite, translate
from models.image_pool import ImagePool


def weights(model: HGAN) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v.clone() for n, net in model.networks.items() for k, v in net.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_steps(vgg, name):
    model = build(vgg, name)
    before = weights(model)
    for seed in range(2):
        losses = model.training_step(make_batch(64, seed=seed))
    assert all(torch.isfinite(value) for value in losses.values())
    after = weights(model)
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "none", "init_type": "orthogonal"},
        {"dropout": True, "lambda_identity": 0.0},
        {"extend_colors": True, "mask": False},
        {"extend_colors": True, "lambda_edges": 40.0, "amp": "bf16"},
        {"lambda_edges": 40.0, "model": "geocongan", "norm": "batch"},
    ],
    ids=str,
)
def test_every_choice_takes_steps(vgg, changes):
    model = build(vgg, **changes)
    for seed in range(2):
        losses = model.training_step(make_batch(count=2, seed=seed))
    assert all(torch.isfinite(value) for value in losses.values())
    assert (losses["G_identity"] > 0) == (changes.get("lambda_identity") != 0.0)


def test_compositing_leaves_the_background_to_the_last_bit():
    source, generated = torch.rand(2, 3, 16, 16) * 2 - 1, torch.full((2, 3, 16, 16), float("nan"))
    mask = (torch.rand(2, 1, 16, 16) > 0.5).float()
    out = composite(generated, source, mask)
    outside = (mask == 0).expand_as(out)
    assert torch.equal(out[outside], source[outside])
    assert out[~outside].isnan().all()
    assert composite(generated, source, None) is generated


def translated(model: HGAN, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    trained = model.objective
    return translate(model.G_r, images, masks, model.amp, extend_colors=trained.extend_colors, masked=trained.mask)


def test_translation_changes_the_hand_alone(vgg):
    model, batch = build(vgg), make_batch(48)
    out = translated(model, batch["synthetic"], batch["synthetic_mask"])
    outside = (batch["synthetic_mask"] == 0).expand_as(out)
    assert torch.equal(out[outside], batch["synthetic"][outside])
    assert not torch.equal(out[~outside], batch["synthetic"][~outside])


def test_translating_in_between_changes_no_step(vgg):
    """It runs in eval mode, without dropout and on running statistics; training does not."""
    still, used = (build(None, "pixcyclegan4", norm="batch", dropout=True) for _ in range(2))
    for seed in range(2):
        batch = make_batch(count=2, seed=seed)
        once, again = (translated(used, batch["synthetic"], batch["synthetic_mask"]) for _ in range(2))
        assert torch.equal(once, again)
        for model in (still, used):
            torch.manual_seed(seed)
            model.training_step(batch)
    assert all(torch.equal(a, b) for a, b in zip(weights(still).values(), weights(used).values()))


def test_the_discriminators_step_spends_no_gradient_on_vgg(vgg):
    """VGG runs with gradients once, on the fakes that the generators are judged by, and once without."""
    model = build(vgg)
    grad_modes = []
    handle = vgg.register_forward_hook(lambda *_: grad_modes.append(torch.is_grad_enabled()))
    model.training_step(make_batch())
    handle.remove()
    assert grad_modes == [True, False]
    assert all(p.grad is None for p in vgg.parameters())


def test_generators_are_not_moved_by_the_discriminators_loss(vgg):
    """With every weight of the generators' objective at zero, only the discriminators learn."""
    model = build(vgg, lambda_gan=0.0, lambda_cycle=0.0)
    before = weights(model)
    model.training_step(make_batch())
    after = weights(model)
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("G_"))
    assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith("D_"))


def test_filled_generators_do_not_see_the_background_near_the_hand(vgg):
    """Within the band, whatever the ground shows, the translation is the same."""
    model, b = build(vgg, extend_colors=True), make_batch(64, seed=4)
    image, mask = b["synthetic"], b["synthetic_mask"]
    near = torch.nn.functional.max_pool2d(mask, 5, stride=1, padding=2)
    other = torch.where((near > 0) & (mask == 0), -image, image)
    first, second = (translated(model, x, mask)[mask.expand_as(x) > 0] for x in (image, other))
    torch.testing.assert_close(first, second)
    plain = build(vgg)
    first, second = (translated(plain, x, mask)[mask.expand_as(x) > 0] for x in (image, other))
    assert (first - second).abs().max() > 1e-3


def rates(model: HGAN, step: int) -> list[float]:
    """Learning rates of G and D in a step, numbered from 0."""
    model.steps = step
    model.begin_step(make_batch())
    return [optimizer.param_groups[0]["lr"].item() for optimizer in (model.optimizer_G, model.optimizer_D)]


def test_linear_decay_holds_for_half_the_run_and_ends_at_zero(vgg):
    model = build(vgg, lr=1.0, lr_decay="linear", total_steps=8)
    seen = [rates(model, step) for step in range(9)]
    assert sum(seen, []) == pytest.approx([1, 1] * 5 + [0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0, 0])


@pytest.mark.parametrize(("at", "total"), [(10, 80), (60, 200), (100, 200), (100, 1000), (60, None)])
def test_another_length_lets_no_rate_rise_suddenly(vgg, at, total):
    """Continued at that step with another length, the rate rises by a thousandth a step at most, follows the new length's plan
    as soon as it can, and the run still ends at zero."""
    old, new = (build(vgg, "pixcyclegan4", lr=1.0, lr_decay="linear", total_steps=length) for length in (100, total))
    for _ in range(at):
        old.begin_step(make_batch())
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    path = [old.learning_rate]
    for step in range(at, (total or at + 50) + 1):
        new.begin_step(make_batch())
        planned = linear_decay(step, total)
        path.append(new.learning_rate)
        assert path[-1] == pytest.approx(min(planned, path[-2] + 1e-3))
    if total and total > at:
        assert path[-1] == 0


def test_longer_runs_keep_edges_in_the_place_of_detail():
    """Runs of SHORT steps keep all detail, runs of 1.5 times that half of it, of twice that none."""
    lengths = (100, SHORT, SHORT * 3 // 2, SHORT * 2, SHORT * 20, None)
    assert [edge_share(total) for total in lengths] == [0, 0, 0.5, 1, 1, 1]


@pytest.mark.parametrize("common", [False, True])
def test_discriminators_see_what_both_hands_cover(vgg, common):
    """With common_mask, what lies off either hand is white for D, real or fake, and what the pool keeps is so, too."""
    model = build(vgg, common_mask=common)
    b = make_batch(seed=4)
    b["synthetic_mask"][..., :16, :] = 0
    b["synthetic"] = torch.where(b["synthetic_mask"] > 0, b["synthetic"], 1.0)
    seen = []
    handle = vgg.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model.training_step(b)
    handle.remove()
    both = (b["synthetic_mask"] * b["real_mask"] > 0).expand(1, 3, -1, -1)
    images = [*torch.cat(seen), *model.pool_r.images[:1], *model.pool_s.images[:1]]
    assert len(images) == 8  # two fakes; again, beside two real ones; and the fakes in the pools
    for image in images:
        assert not (image[both[0]] == 1).all()
    beside = [(image[~both[0]] == 1).all().item() for image in images]
    assert all(beside) if common else not all(beside)


def test_state_dict_restores_everything(vgg):
    """A model that loads another's state takes the same next step, bit for bit."""
    first, second = build(vgg), build(vgg)
    for seed in range(4):
        first.training_step(make_batch(seed=seed))
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # as through a file
    for model in (first, second):
        model.training_step(make_batch(seed=9))
    assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values()))


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


def test_pool_keeps_no_graph_and_no_batch():
    pool = ImagePool(5)
    images = torch.rand(3, 3, 8, 8, requires_grad=True) * 2
    assert not trade(pool, images, random.Random(0)).requires_grad
    assert not pool.images.requires_grad
    assert pool.images.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()
    assert torch.equal(trade(ImagePool(0), images, random.Random(0)), images)


def test_exchanges_depend_on_seed_rank_and_step(vgg, monkeypatch):
    """The same for the same three, others for any other."""
    model, batch = build(vgg), make_batch(count=40)

    def draw(seed: int, rank: int, step: int):
        monkeypatch.setattr("util.distributed.rank", lambda: rank)
        model.seed, model.steps = seed, step
        model.pool_r.count = model.pool_s.count = model.pool_r.size  # full, so that images are exchanged
        return model.begin_step(batch)[:, 0].flatten()

    first = draw(1, 2, 3)
    assert torch.equal(first, draw(1, 2, 3)) and not torch.equal(*first.chunk(2))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (0, 3, 3)):
        assert not torch.equal(first, draw(*other))
