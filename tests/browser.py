"""Chromium without a window, by the WebDriver protocol (https://www.w3.org/TR/webdriver2), as much as pages need."""

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
KEY = {"tab": "\ue004", "enter": "\ue007", "end": "\ue010"}


class Browser:
    """One window of a browser."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/session"
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"],
        }
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        self._url += "/" + self._post("", {"capabilities": wanted})["sessionId"]

    def _post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].partition("\n")[0]) from None

    def open(self, page: Path) -> None:
        for url in ("about:blank", page.resolve().as_uri()):  # anew, also where it is open
            self._post("/url", {"url": url})

    def run(self, script: str, *words: Any) -> Any:
        """What a script returns; `arguments` are its words."""
        return self._post("/execute/sync", {"script": script, "args": list(words)})

    def press(self, *keys: str) -> None:
        acts = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": acts}]})

    def look(self, width: int, height: int, dark: bool = False, scale: float = 1.0) -> None:
        """Take on a window's size, as a phone has it too, and a wish for dark pages."""
        sized = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.tell("Emulation.setDeviceMetricsOverride", sized)
        wish = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", {"features": wish})

    def offline(self) -> None:
        """Cut the page off from every network."""
        self.tell("Network.enable", {})
        cut = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.tell("Network.emulateNetworkConditions", cut)

    def tell(self, command: str, params: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._post("/goog/cdp/execute", {"cmd": command, "params": params})

    def screenshot(self, path: Path) -> Path:
        """What the window shows, as PNG."""
        shot = self.tell("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def said(self) -> list[str]:
        """What the page has written to its console since it was asked last."""
        return [line["message"] for line in self._post("/se/log", {"type": "browser"})]

    def close(self) -> None:
        urllib.request.urlopen(urllib.request.Request(self._url, method="DELETE"), timeout=30).close()


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser for as long as the block lasts; its driver takes a port that is free."""
    assert DRIVER and CHROMIUM, "no chromium, or no chromedriver, on this machine"
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert driver.stdout is not None
        port = next(int(found[1]) for line in driver.stdout if (found := re.search(r"on port (\d+)\.$", line.strip())))
        window = Browser(port)
        yield window
        window.close()
    finally:
        driver.terminate()
        driver.wait(timeout=10)
        if driver.stdout:
            driver.stdout.close()
