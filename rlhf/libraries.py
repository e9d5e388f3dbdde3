"""The libraries beneath: their versions, and how they are made ready."""

import logging
import os
import platform
import sys
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from rlhf import __version__
from rlhf.memory import keep_few_kernels
from rlhf.privacy import no_unasked_traffic

NAMES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "wandb")


def versions() -> dict[str, str]:
    """Of this package, of Python, and of each library that is installed."""
    found = {"rlhf": __version__, "python": platform.python_version()}
    for name in NAMES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def prepare() -> None:
    """Libraries' notices about what we do on purpose stay off the user's screen, and what they keep within bounds."""
    no_unasked_traffic()
    keep_few_kernels()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # heard at its import, half a second long
    if (datasets := sys.modules.get("datasets")) is not None:
        datasets.disable_progress_bars()
    from transformers.utils import logging as notices

    notices.set_verbosity_error()
    notices.disable_progress_bar()
    for name in ("trl", "accelerate", "bitsandbytes", "peft", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl|peft|accelerate")
