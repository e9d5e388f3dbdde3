"""The page on which an annotator judges: served to this machine alone, and to who knows its address."""

import json
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, cast

from rlhf.errors import RLHFError, SaveError
from rlhf.labels.book import Verdict
from rlhf.labels.session import Session

LOOPBACK = "127.0.0.1"
_FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
)
_POLICY += "form-action 'none'; frame-ancestors 'none'"
_VERDICTS: dict[str, Verdict] = {"1": "first", "2": "second", "tie": "tie"}
_LONGEST = 4096
"""Bytes of a request's body."""


class Server(ThreadingHTTPServer):
    """Serves one session under an address that nobody can guess: a web page open in the same browser, or another user
    of this machine, reaches the port but not the session."""

    daemon_threads = True

    def __init__(self, session: Session, port: int, guide: str = "") -> None:
        """`port` 0 takes a free one. Raises SaveError where the port is taken."""
        self.session, self.guide = session, guide
        self.lock = threading.Lock()
        self._secret = secrets.token_urlsafe(16)
        self.failure: RLHFError | None = None
        """What ended the session, if it was not the annotator."""
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise SaveError(f"port {port}: {error.strerror}; leave --port out to take a free one") from None

    @property
    def root(self) -> str:
        return f"/{self._secret}/"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}{self.root}"

    def state(self) -> dict[str, Any]:
        """What the page shows. It does not say whose answers they are."""
        session = self.session
        pair = session.pair
        question = pair and {
            "key": pair.key,
            "prompt": pair.prompt,
            "answers": [answer.text for answer in session.shown()],
        }
        return {
            "pair": question,
            "done": session.done,
            "total": session.total,
            "annotator": session.annotator,
            "can_undo": session.can_undo,
            "guide": self.guide,
        }

    def act(self, what: str, key: str | None) -> HTTPStatus:
        """Do what the annotator asks, if it is of the question that is being asked: a key pressed twice, or on a second
        page, is not taken for an answer to the next one."""
        session = self.session
        if key != (session.pair.key if session.pair else None):
            return HTTPStatus.CONFLICT
        actions: dict[str, Callable[[], None]] = {"undo": session.undo}
        if session.pair is not None:
            actions["skip"] = session.skip
            actions |= {name: lambda said=said: session.judge(said) for name, said in _VERDICTS.items()}
        if what not in actions:
            return HTTPStatus.BAD_REQUEST
        actions[what]()
        return HTTPStatus.OK


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "rlhf", ""

    @property
    def _server(self) -> Server:
        return cast(Server, self.server)

    def do_GET(self) -> None:
        name = self._asked()
        if name == "now":
            with self._server.lock:
                self._answer_json(HTTPStatus.OK)
        elif name in _FILES:
            file, kind = _FILES[name]
            self._answer(HTTPStatus.OK, files("rlhf.labels").joinpath(file).read_bytes(), kind)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self._asked() != "act" or not length.isdecimal() or int(length) > _LONGEST:
            self.close_connection = True
            self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")
            return
        try:
            said = json.loads(self.rfile.read(int(length)))
            what, key = said["do"], said["key"]
        except (ValueError, KeyError, TypeError):
            self._answer(HTTPStatus.BAD_REQUEST, b"", "text/plain")
            return
        with self._server.lock:
            status = HTTPStatus.OK if what == "finish" else self._acted(what, key)
            self._answer_json(status)
        if what == "finish" or self._server.failure:
            threading.Thread(target=self._server.shutdown).start()

    def _acted(self, what: str, key: str | None) -> HTTPStatus:
        try:
            return self._server.act(what, key)
        except OSError as error:  # the disk's: what cannot be written is not to be asked
            self._server.failure = SaveError(f"{self._server.session.book.path}: cannot be written: {error.strerror}")
            return HTTPStatus.INSUFFICIENT_STORAGE

    def _asked(self) -> str | None:
        """The name under the secret address; None for any other."""
        root, path = self._server.root, self.path.partition("?")[0]
        return path.removeprefix(root) if secrets.compare_digest(path[: len(root)].encode(), root.encode()) else None

    def _answer_json(self, status: HTTPStatus) -> None:
        self._answer(status, json.dumps(self._server.state()).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", _POLICY),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: Any) -> None:
        """Nothing: a terminal is for what the user asked for."""
