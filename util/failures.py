"""External failures (a full disk, no memory, a lost GPU or process, a bad file) in one sentence each.

Errors are recognised by name and message, so that commands which need no PyTorch do not import it for this.
"""

import errno
import re
import sys
from pathlib import Path

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}
LESS_MEMORY = {  # by command
    "train": "lower --batch_size, --crop_size or --num_workers, or pass --accumulate 2 (of a batch) or --checkpoint_activations",
    "test": "lower --batch_size or --num_workers, or keep --crop",
    "classify": "lower --batch_size, --img_size or --num_workers, or choose a smaller --vit",
    "preprocess_masks": "lower --num_workers",
}
GPU_FAILURES = ("CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "cuda runtime error")
LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL error")
NO_ENGINE = "unable to find an engine"  # cuDNN has no kernel that fits: often for want of memory
NO_SHARED_MEMORY = ("insufficient shared memory", "shared memory (shm)", "unable to open shared memory")


def command() -> str:
    """The command that runs: train, test, classify ..."""
    return Path(sys.argv[0]).stem if sys.argv else ""


def go_on() -> str:
    """How to go on after a failure of this command."""
    if command() in ("train", "classify", "script"):
        return "what was saved before is intact; go on with --continue_train"
    return "what was done is kept, run it again to go on" if command() == "preprocess_masks" else "run it again"


def less_memory() -> str:
    """What makes this command need less memory."""
    return LESS_MEMORY.get(command(), "lower --batch_size or --num_workers")


def explain(error: BaseException) -> str | None:
    """What happened and what to do, in one sentence; None for an error that is no external failure."""
    if isinstance(error, OSError):
        return _explain_os(error)
    name, text = type(error).__name__, str(error)
    first = (text.strip().splitlines() or [name])[0][:200]
    runtime = isinstance(error, RuntimeError)
    if name == "ImageError":
        return worker_message(text)
    if name == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"out of memory ({first}); {less_memory()}; {go_on()}"
    if runtime and any(sign in text for sign in NO_SHARED_MEMORY):
        return f"too little shared memory ({first}); give the container more (docker run --shm-size 1g), or pass --num_workers 0"
    lost_server = isinstance(error, EOFError) and text == "unexpected EOF"  # multiprocessing's, which starts workers
    if lost_server or runtime and ("DataLoader worker" in text or "Pin memory thread exited" in text):
        return f"a process that reads images was lost ({first}), often for want of memory; {go_on()}, perhaps with a lower --num_workers"
    if runtime and NO_ENGINE in text.lower():
        return f"cuDNN found no way to compute this ({first}), often for want of memory; {less_memory()}; {go_on()}"
    if runtime and "does not have a deterministic implementation" in text:
        operator = re.split(r"\s", text.strip())[0]
        return f"--deterministic: PyTorch cannot repeat {operator} bit for bit on this device; drop --deterministic, or use --device cpu"
    if name == "AcceleratorError" or (runtime and any(sign in text for sign in GPU_FAILURES)):
        return f"the GPU failed ({first}); {go_on()}"
    if name in ("DistBackendError", "DistNetworkError", "DistStoreError") or (
        runtime and any(sign in text for sign in LOST_PEER)
    ):
        return f"another process of this run was lost ({first}); {go_on()}"
    return None


def _explain_os(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        return f"{where}{FULL[error.errno]}; free some space; {go_on()}"
    if "AF_UNIX path too long" in str(error):
        return "the folder for temporary files has too long a name for worker processes; set TMPDIR to a shorter one, or pass --num_workers 0"
    return f"{where}{error.strerror or error}"


def worker_message(text: str) -> str:
    """The message of an error that a DataLoader's worker raised, without the traceback that DataLoader adds to it."""
    if "Original Traceback" not in text:
        return text
    last = text.strip().splitlines()[-1]
    return last.partition(": ")[2] or last
