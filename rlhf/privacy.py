"""What stays on this machine: secrets in what is written down or said, and what libraries would tell or ask others.

A recipe takes a secret best by the name of an environment variable (`token_env`). One that stands in a URL is used as
it is, and masked wherever the URL is written: recipe.lock.yaml, artifact.json, messages, model cards, trackers.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, cast

MASK = "***"
_SILENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # TRL reports every trainer that is made
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",  # W&B's telemetry, which it sends even of runs that are offline
}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s'\"<>`]+")  # one slash is left where it was read as a path
_USER = re.compile(r"(:/{1,2})[^/?#]*@")
_ASKED = re.compile(r"([?&;#])([^=&;#]*=)?[^&;#]*?(?=[&;#]|[:,.)\]}]*$)")
_WORDS = (
    r"(?:PASSWORD|PASSWD|PASSPHRASE|(?:API|ACCESS)_?KEY|SECRETS?|CREDENTIALS?|WEBHOOK(?:_?URL)?|CONN(?:ECTION)?_?STR(?:ING)?"
    r"|(?<![A-Z])(?:DSN|AUTH|AUTHORIZATION)|_PWD)"
)
"""Names end so that are of secrets and of nothing else."""
_NAMED_SO = re.compile(rf"{_WORDS}$|(?:^|_)(?:TOKENS?|KEYS?|PASS|PAT)$", re.IGNORECASE)
_OF_A_SECRET = re.compile(rf"{_WORDS}$", re.IGNORECASE)
_GIVEN = re.compile(
    rf"((?<![\w.-])[\w.-]*{_WORDS}=[\"']?|[\"'][\w.-]*{_WORDS}[\"']\s*:\s*[\"']?)([^\s'\"&;,\])}}]+)", re.IGNORECASE
)
"""A name and its value, as an override, a connection string or JSON has them."""
_SHAPED = re.compile(
    r"(?<![\w-])(?:hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|AKIA|AIza)[\w-]{16,}"
    r"|(?<=hooks\.slack\.com/)\S{10,}|(?<=discord\.com/api/webhooks/)\S{10,}"
)
"""What tokens of well-known makers look like, wherever they stand, and the paths of webhooks, which are secrets."""
_SHORTEST = 12
"""Characters of a variable's value below which it may be a common word, such as `dummy`."""


def no_unasked_traffic() -> None:
    """Have libraries report nothing to their makers, unless the environment says otherwise, and fetch no code that runs
    natively from the hub. Before they are imported: most look then."""
    sys.modules["kernels"] = cast(Any, None)  # as if it were not installed: who imports it asks the hub for binaries
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)


def masked(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Plain values with `***` in place of secrets: of names, passwords and queries in URLs, of `secrets`, of what
    the environment's variables of tokens, keys and passwords hold, of values that are given such names, and of what
    looks like a token of a well-known maker."""
    hidden = sorted({*secrets, *_of_environment()} - {""}, key=len, reverse=True)
    return _masked(value, hidden)


def _masked(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: MASK if item and isinstance(item, str) and _OF_A_SECRET.search(str(key)) else _masked(item, hidden)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, hidden) for item in value]
    if not isinstance(value, str):
        return value
    text = value
    for secret in hidden:  # before what they hold is masked in part, as where one is a URL
        text = text.replace(secret, MASK)
    return _SHAPED.sub(MASK, _GIVEN.sub(rf"\1{MASK}", _URL.sub(_without_secrets, text)))


def without_folders(value: Any) -> Any:
    """Plain values with the name alone in place of every whole path: where a file lies tells who works on what."""
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if not isinstance(value, str) or not value.startswith("/") or "\n" in value:
        return value
    return PurePosixPath(value).name or value


def _without_secrets(url: re.Match[str]) -> str:
    return _ASKED.sub(rf"\1\2{MASK}", _USER.sub(rf"\1{MASK}@", url[0]))


def _of_environment() -> set[str]:
    """Values of variables whose names say that they are secret; files that hold one are named, not held."""
    values = (value.strip() for name, value in os.environ.items() if _NAMED_SO.search(name))
    return {value for value in values if len(value) >= _SHORTEST and not os.path.exists(value)}  # noqa: PTH110
