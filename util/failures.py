"""External failures (a full disk, no memory, a lost GPU or process, a bad file) in one sentence each.

Errors are recognised by name and message, so that commands which need no PyTorch do not import it for this.
"""

import errno
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
# (kinds of error, signs in the message of a RuntimeError, the sentence)
EXPLAINED = (
    (
        ("OutOfMemoryError", "MemoryError"),
        ("can't allocate memory",),
        "out of memory ({first}); {less_memory}; {go_on}",
    ),
    (
        (),
        ("insufficient shared memory", "shared memory (shm)", "unable to open shared memory"),
        "too little shared memory ({first}); give the container more (docker run --shm-size 1g), or pass --num_workers 0",
    ),
    (
        ("LostServer",),
        ("DataLoader worker", "Pin memory thread exited"),
        "a process that reads images was lost ({first}), often for want of memory; {go_on}, perhaps with a lower --num_workers",
    ),
    (
        (),
        ("nable to find an engine",),  # cuDNN has no kernel that fits
        "cuDNN found no way to compute this ({first}), often for want of memory; {less_memory}; {go_on}",
    ),
    (
        (),
        ("does not have a deterministic implementation",),
        "--deterministic: PyTorch cannot repeat {word} bit for bit on this device; drop --deterministic, or use --device cpu",
    ),
    (
        ("AcceleratorError",),
        ("CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "cuda runtime error"),
        "the GPU failed ({first}); {go_on}",
    ),
    (
        ("DistBackendError", "DistNetworkError", "DistStoreError"),
        ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL error"),
        "another process of this run was lost ({first}); {go_on}",
    ),
)


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
    text, kinds = str(error).strip(), {kind.__name__ for kind in type(error).__mro__}
    if "ImageError" in kinds:
        return worker_message(text)
    if "EOFError" in kinds and text == "unexpected EOF":  # of the server that starts multiprocessing's workers
        kinds = {"LostServer"}
    words = {"first": (text.splitlines() or [type(error).__name__])[0][:200], "word": (text.split() or [""])[0]}
    for names, signs, sentence in EXPLAINED:
        if kinds & set(names) or "RuntimeError" in kinds and any(sign in text for sign in signs):
            return sentence.format(**words, less_memory=less_memory(), go_on=go_on())
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
