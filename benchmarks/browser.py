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
TAB, ENTER = "\ue004", "\ue007"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
          "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
          "--window-size=1280,860")  # fmt: skip


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
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
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
        for one in ("about:blank", url):  # anew, also where it is open
            self._ask("/url", url=one)

    def press(self, key: str) -> None:
        """Press a key and let it go, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._ask("/actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def ask(self, script: str, *words: Any) -> Any:
        """What a JavaScript function's body returns on the page; `arguments` are the words."""
        return self._ask("/execute/sync", script=script, args=list(words))

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

    def said(self) -> list[str]:
        """What the page has written to its console since the last look."""
        return [line["message"] for line in self._ask("/se/log", type="browser")]

    def become(self, width: int, height: int, dark: bool = False) -> None:
        """Take on a window's size, as a phone has it too, and a wish for light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._tell("Emulation.setDeviceMetricsOverride", **size)
        wish = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._tell("Emulation.setEmulatedMedia", features=wish)

    def offline(self) -> None:
        """Cut the page off from every network."""
        self._tell("Network.enable")
        cut = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._tell("Network.emulateNetworkConditions", **cut)

    def picture(self, path: Path) -> Path:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self._send("GET", "/screenshot", None)))
        return path

    def _tell(self, command: str, **params: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._ask("/goog/cdp/execute", cmd=command, params=params)

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
