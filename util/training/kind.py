"""What train.py trains: a translator (util/training/translator_run.py) or SilNet (util/training/silnet_run.py)."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

from data.frames import Domains
from data.unpaired import Crop
from util.training.loop import Display, Validate
from util.training.saving import Trainable


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of model, as train.py sees it.

    picture: the file of the picture that training shows; columns: what it shows from left to right. least_validated: images a
    domain below which there is no validation.

    create_model: (opt, *, amp, device) -> the model, and {flag: what options.yaml records} of the frozen networks that it was
    built with.
    random_crop: (opt, frames) -> how training crops are cut; UsageError for frames that cannot be trained on.
    create_validator: (opt, model, frames, *, folder) -> the validation, and what options.yaml records of the network behind it.
    create_display: (opt, model, frames) -> what makes the pictures that training shows.
    describe: (opt, resolved) -> what is about to be trained. next_command: (opt) -> what to do with the run then.
    """

    picture: str
    columns: str
    least_validated: int
    create_model: Callable[..., tuple[Trainable, dict]]
    random_crop: Callable[[Namespace, Domains], Crop]
    create_validator: Callable[..., tuple[Validate, dict]]
    create_display: Callable[[Namespace, Trainable, Domains], Display]
    describe: Callable[[Namespace, dict], str]
    next_command: Callable[[Namespace], str]
