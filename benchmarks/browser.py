"""A real browser without a screen: Chromium, told what to do in W3C's WebDriver protocol, which is JSON over HTTP."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

DRIVER = "chromedriver"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--window-size=1280,860")  # fmt: skip


def found() -> str | None:
    """The browser on this machine; None where it, or its driver, is not there."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return browser if shutil.which(DRIVER) else None


class Browser:
    """One window. Use it with `with`."""

    def __init__(self) -> None:
        browser = found()
        assert browser is not None, "no Chromium with its chromedriver on this machine"
        words = [DRIVER, "--port=0"]
        self._driver = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._driver.stdout is not None
        port = next(
            m[1] for line in self._driver.stdout if (m := re.search(r"started successfully on port (\d+)", line))
        )
        self._root = f"http://127.0.0.1:{port}/session"
        asked = {
            "goog:chromeOptions": {"args": list(_FLAGS), "binary": browser},
            "goog:loggingPrefs": {"performance": "ALL"},
        }
        try:
            self._root += "/" + self._ask("", capabilities={"alwaysMatch": asked})["sessionId"]
        except BaseException:
            self._driver.kill()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._send("DELETE", "", None)
        finally:
            self._driver.terminate()
            self._driver.communicate()

    def open(self, url: str) -> None:
        self._ask("/url", url=url)

    def press(self, key: str) -> None:
        """Press a key and let it go, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._ask("/actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def ask(self, script: str) -> Any:
        """What a JavaScript function's body returns on the page."""
        return self._ask("/execute/sync", script=script, args=[])

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """The first answer that is true."""
        end = time.monotonic() + seconds
        while not (said := self.ask(script)):
            assert time.monotonic() < end, f"never came true on the page: {script}"
            time.sleep(0.01)
        return said

    def requested(self) -> list[str]:
        """Addresses of all that the page has asked for since the last look."""
        events = [json.loads(entry["message"])["message"] for entry in self._ask("/se/log", type="performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def look(self, path: Path, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        """A picture of the page, as it is with a window of that size and a wish for light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=size)
        path.write_bytes(base64.b64decode(self._send("GET", "/screenshot", None)))

    def _ask(self, command: str, **said: Any) -> Any:
        return self._send("POST", command, said)

    def _send(self, method: str, command: str, said: dict[str, Any] | None) -> Any:
        body = None if said is None else json.dumps(said).encode()
        request = urllib.request.Request(
            self._root + command, body, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{command}: {json.load(error)['value']['message']}") from None
