"""External failures (a full disk, no memory, a lost GPU or process, a bad file) in one sentence each.

Errors are known by name and message, so that commands which need no PyTorch do not import it for this.
"""

import errno

GO_ON = "what was saved before is intact; go on with --continue_train"
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}


def explain(error: BaseException) -> str | None:
    """What happened, and what to do, in one sentence; None for an error that says nothing of the kind."""
    if isinstance(error, OSError):
        return _explain_os(error)
    name, text = type(error).__name__, str(error)
    first = (text.strip().splitlines() or [name])[0]
    if name == "ImageError":
        return worker_message(text)
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        told = f"a process that reads images was lost ({first}), often for want of memory"
        return f"{told}; {GO_ON}, perhaps with a lower --num_workers"
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text:
        return f"out of memory ({first[:200]}); lower --batch_size, --crop_size or --num_workers; {GO_ON}"
    if name == "AcceleratorError" or (isinstance(error, RuntimeError) and text.startswith("CUDA error")):
        return f"the GPU failed ({first[:200]}); {GO_ON}"
    if name == "DistBackendError" or (isinstance(error, RuntimeError) and "Connection closed by peer" in text):
        return f"another process of this run was lost ({first[:200]}); {GO_ON}"
    return None


def _explain_os(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        return f"{where}{FULL[error.errno]}; free some space; {GO_ON}"
    return f"{where}{error.strerror or error}"


def worker_message(text: str) -> str:
    """The message of an error that a DataLoader's worker raised, without the traceback that DataLoader adds to it."""
    if "Original Traceback" not in text:
        return text
    last = text.strip().splitlines()[-1]
    return last.partition(": ")[2] or last
