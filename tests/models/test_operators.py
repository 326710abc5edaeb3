"""The operators of a training step: few enough for a GPU that waits for launches."""

from helpers import CPU, as_on_gpus, make_batch
from torch.utils._python_dispatch import TorchDispatchMode

from models.config import network_config, objective
from models.hgan import HGAN
from options.train_options import parse_train
from util.runtime import Amp

BEFORE = 2415  # at commit 50e99b5, mshgan4, batch 1, default flags, bfloat16
# Operators that launch no kernel.
FREE = [
    "_unsafe_view",
    "detach",
    "alias",
    "empty",
    "new_empty",
    "empty_like",
    "empty_strided",
    "promote_types",
    "lift_fresh",
]


class OperatorLog(TorchDispatchMode):
    """A context that counts the operators that launch a kernel."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        namespace, name = func.name().split("::")
        self.calls += namespace != "profiler" and not func.is_view and name.split(".")[0] not in FREE
        return func(*args, **(kwargs or {}))


def test_a_step_takes_few_operators(vgg):
    opt = parse_train(["--name", "x", "--ngf", "4", "--ndf", "4"])
    model = HGAN(network_config(opt), objective(opt), vgg=vgg, amp=Amp("bf16"), device=CPU, total_steps=14)
    for seed in range(2):
        model.training_step(make_batch(64, seed=seed))
    with as_on_gpus(), OperatorLog() as log:
        model.training_step(make_batch(64, seed=2))
    assert 10 * log.calls <= 6 * BEFORE
