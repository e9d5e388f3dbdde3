"""A server that is asked over HTTP: patiently but not for ever, and no secret of it is told to anyone else."""

import base64
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from rlhf.errors import RewardError
from rlhf.privacy import masked


@dataclass(frozen=True)
class Endpoint:
    """Takes JSON and answers JSON."""

    url: str
    timeout_s: float = 60.0
    token: str | None = None
    """Sent as `Authorization: Bearer`."""
    tries: int = 3
    pause_s: float = 1.0
    """Before the second try; twice as long before each later one."""

    def ask(self, question: Any) -> bytes:
        """What the server answers. Raises RewardError where it does not, or refuses."""
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        request = urllib.request.Request(
            parts._replace(netloc=host).geturl(), json.dumps(question).encode(), {"Content-Type": "application/json"}
        )
        if said := f"Bearer {self.token}" if self.token else _basic(user) if user else None:
            request.add_unredirected_header("Authorization", said)  # no other server is told
        for tried in range(self.tries):
            if tried:
                time.sleep(self.pause_s * 2 ** (tried - 1))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                    return answer.read()
            except (OSError, HTTPException) as error:  # urllib's own are among them
                code = 503
                if isinstance(error, urllib.error.HTTPError):
                    code = error.code
                    error.close()  # who is told of it may keep it
                refused = code < 500 and code not in (408, 429)  # asking again would be of no use
                if refused or tried + 1 == self.tries:
                    raise self.wrong(f"no answer in {tried + 1} tries ({error})") from None
        raise AssertionError("unreachable")

    def wrong(self, what: str) -> RewardError:
        """An error that tells no secret, even where the server's answer does."""
        parts = urlsplit(self.url)
        secrets = [self.token or "", *(value for _, value in parse_qsl(parts.query))]
        secrets += [parts.password or "", unquote(parts.password or "")]
        return RewardError(masked(f"{self.url}: {what}", [secret for secret in secrets if len(secret) > 3]))


def _basic(user: str) -> str:
    """HTTP's basic authentication of `name:password` as it stands in a URL."""
    return "Basic " + base64.b64encode(unquote(user).encode()).decode()
