"""What tests share: the shipped samples, tiny recipes, and a run of the whole chain made once a session."""

import fcntl
import gc
import importlib.util
import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlhf.artifact import ACCOUNTS
from rlhf.privacy import no_unasked_traffic

no_unasked_traffic()  # before what tests import
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has ignored for what it runs in the background
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the network
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # bits are compared on a CPU; `make matrix` and benchmarks/gpu use the GPU
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # side by side, each has its share of the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
_CACHE = tempfile.TemporaryDirectory(prefix="rlhf-cache-")
os.environ["RLHF_CACHE"] = _CACHE.name  # goes with the process

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "data_samples" / "corner_shop"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker is left with it at the end: whole stages, and whole suites."""
    items.sort(key=lambda item: item.path.parent.name not in ("stages", "tests"))


def pytest_collection_finish() -> None:
    """Stages collect garbage when they end; what test files have imported need not be walked each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shop() -> Path:
    """Folder of the corner shop's files."""
    return SHOP


@pytest.fixture
def write_recipe(tmp_path: Path) -> Any:
    """Write a recipe's text to a file and return its path; the data it may name lies beside it, empty."""

    def write(text: str) -> Path:
        for name in ("sft.jsonl", "pairs.jsonl", "prompts.jsonl"):
            (tmp_path / name).touch()
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def load_shop(name: str) -> ModuleType:
    """One of the corner shop's modules, loaded from its path without being registered, as a recipe's rule is."""
    spec = importlib.util.spec_from_file_location(f"corner_shop_test_{name}", SHOP / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def head(source: Path, rows: int, target: Path) -> Path:
    """The first rows of a JSON-lines file."""
    target.write_text("\n".join(source.read_text().split("\n")[:rows]) + "\n")
    return target


def small_recipe(folder: Path, kind: str, **top: Any) -> dict[str, Any]:
    """SFT, reward, DPO, PPO and evaluation on the tiny base, a few steps each."""
    sft = head(SHOP / "sft.jsonl", 48, folder / "sft.jsonl")
    pairs = head(SHOP / "preferences.jsonl", 48, folder / "pairs.jsonl")
    prompts = head(SHOP / "prompts.jsonl", 24, folder / "prompts.jsonl")
    train = {"batch_size": 8, "max_steps": 3, "lr": 1e-3, "log_every": 1}
    data = {"max_length": 160, "eval_fraction": 0.2}
    return {
        "name": kind,
        "model": "tiny",
        "backend": {"kind": kind},
        **top,
        "stages": {
            "sft": {"data": {"path": str(sft), **data}, "train": {**train}},
            "reward": {"model": {"stage": "sft"}, "data": {"path": str(pairs), **data}, "train": {**train}},
            "dpo": {"model": {"stage": "sft"}, "data": {"path": str(pairs), **data}, "train": {**train}},
            "ppo": {
                "model": {"stage": "sft"},
                "reward_model": {"stage": "reward"},
                "gate": "off",  # a reward model of three steps would not pass
                "data": {"path": str(prompts), "max_length": 96, "eval_fraction": 0.3},
                "rollout": {"batch_size": 8, "max_new_tokens": 12},
                "rl": {"epochs": 2, "missing_stop_score": None},  # so short an answer never finishes
                "train": {"episodes": 16, "lr": 1e-3, "log_every": 1},
            },
            "evaluate": {
                "policy": {"stage": "ppo"},
                "baseline": {"stage": "sft"},
                "reward_model": {"stage": "reward"},
                "rule": {"file": str(SHOP / "rule.py"), "function": "gold_score"},
                "prompts": {"path": str(prompts), "eval_fraction": 0.3},
                "preferences": {"path": str(pairs), **data},
                "demonstrations": {"path": str(sft), **data},
                "max_prompts": 6,
                "max_new_tokens": 12,
            },
        },
    }


@pytest.fixture(scope="session", params=["full", "lora", "qlora", "lora-bf16"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`(recipe, folder, artifacts)` of a whole run, once for each backend, and once in bf16. All processes and files of
    tests share it, since what is unchanged is skipped."""
    from rlhf.console import Screen
    from rlhf.recipe import parse
    from rlhf.runner import run

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"finished-{request.param}"
    folder.mkdir(exist_ok=True)
    kind, _, precision = request.param.partition("-")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        recipe = parse(small_recipe(folder, kind, precision=precision or "fp32"))
        made = run(recipe, folder, Screen(quiet=True))
    return recipe, folder, made


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a stage's metrics.jsonl, but the last, which accounts for it."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if ACCOUNTS not in line]


class ChatServer:
    """Answers `/v1/chat/completions` by what `reply` makes of the last message, and keeps what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.reply: Callable[[str], Any] = lambda said: "[[C]]"
        self.asked: list[dict[str, Any]] = []
        self.authorization: str | None = None
        self.fails = 0
        """Questions that are yet to be refused."""


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    """A server with OpenAI's API on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.authorization = self.headers.get("Authorization")
            if found.fails or self.path != "/v1/chat/completions":
                found.fails -= 1
                self.send_error(503)
                return
            found.asked.append(question)
            self.send_response(200)
            self.end_headers()
            said = {"message": {"role": "assistant", "content": found.reply(question["messages"][-1]["content"])}}
            self.wfile.write(json.dumps({"choices": [said]}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = ChatServer(httpd.server_port)
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    httpd.shutdown()
    httpd.server_close()
