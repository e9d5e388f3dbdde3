"""The page in a real browser, with the keyboard alone; and the command around it."""

import json
from pathlib import Path

import pytest

from benchmarks.browser import Browser, found
from benchmarks.iteration import READY, label
from rlhf.labels import book

pytestmark = pytest.mark.skipif(found() is None, reason="no Chromium with its chromedriver on this machine")


def test_keys_undo_resume_and_agreement(tmp_path: Path) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": f"Question {i}?"}],
         "completions": [{"text": f"<b>good</b> {i} & <script>state = null</script>"}, {"text": f"bad {i}"}]}
        for i in range(3)
    ]  # fmt: skip
    asked, out = tmp_path / "asked.jsonl", tmp_path / "labels.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "guide.txt").write_text("Be <i>fair</i>.")

    with Browser() as page:

        def press(key: str, done: int) -> None:
            page.press(key)
            page.wait(f"return !busy && state.done === {done}")

        def press_the_good(done: int) -> None:
            texts = page.ask("return [...document.querySelectorAll('.answer .text')].map((one) => one.textContent)")
            press("1" if "good" in texts[0] else "2", done)

        going, address = label("asked.jsonl", "--annotator", "ada", "--guide", "guide.txt", cwd=tmp_path)
        page.open(address)
        page.wait(READY)
        assert page.ask("return document.querySelector('#guide p').textContent") == "Be <i>fair</i>."
        press_the_good(1)
        press("t", 2)
        press("u", 1)
        assert len(book.read(out)) == 1
        page.press("s")
        page.wait("return !busy && state.pair.prompt[0].content === 'Question 2?'")
        page.press("q")
        page.wait("return !document.getElementById('gone').hidden")
        told, _ = going.communicate(timeout=20)
        assert going.returncode == 0 and "ada: 1 pairs" in told

        going, address = label("asked.jsonl", "--annotator", "ada", cwd=tmp_path)  # goes on with what is left
        page.open(address)
        page.wait(READY)
        assert page.ask("return state.pair.prompt[0].content") == "Question 1?"
        press_the_good(2)
        press("0", 3)
        page.wait("return !document.getElementById('over').hidden")
        page.press("q")
        going.communicate(timeout=20)
        assert going.returncode == 0

        going, address = label("asked.jsonl", "--annotator", "bob", "--json", cwd=tmp_path)
        page.open(address)
        page.wait(READY)
        for done in (1, 2, 3):
            press_the_good(done)
        page.press("q")
        told, _ = going.communicate(timeout=20)
        seen = page.requested()
    assert seen and all(url.startswith(("http://127.0.0.1:", "data:")) for url in seen)  # nothing from outside
    assert [row["tie"] for row in book.read(out)] == [False, False, True, False, False, False]
    assert all("good" in row["chosen"] for row in book.read(out) if not row["tie"])
    (agreed,) = json.loads(told.splitlines()[-1])["agreement"]
    assert agreed["questions"] == 3 and agreed["raw"] == pytest.approx(2 / 3)
