"""Secrets: where they may be given, they are used; nowhere are they written or said."""

import base64
import binascii
import contextlib
import gzip
import json
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote

from benchmarks.reliability.canaries.children import (
    RLHF,
    Found,
    command,
    one_stage,
    process,
    small,
    written,
)


class Server:
    """A judge on this machine that takes requests of who knows its secrets, and tells strangers what they said."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = self.headers.get("Authorization", "")
                seen.append(f"{self.path} {said}")
                if "refuse" in self.path:
                    body, code = f"{self.path} {said}: not known here".encode(), 200
                else:
                    body, code = json.dumps({"scores": [len(t[-1]["content"]) for t in asked["conversations"]]}), 200
                    body = body.encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def word(name: str) -> str:
    """A secret that is nowhere else."""
    return f"CANARY{name}{token_hex(12)}"


def secrets(folder: Path) -> Found:
    """Secrets of a run: where they may be given, they are used; nowhere are they written or said."""
    yield "what leaks is found", found_again(folder / "control")
    server = Server()
    env = {
        "HF_TOKEN": f"hf_{word('HF')}",
        "WANDB_API_KEY": word("WB") + token_hex(8),
        "OPENAI_API_KEY": f"sk-{word('OA')}+/=x",
        "AWS_SECRET_ACCESS_KEY": f"{word('AWS')}/a+b",
        "QUUX": word("QUUX"),
        "JUDGE_TOKEN": word("JUDGE"),
    }
    words = {"password in a URL": word("PASS"), "query of a URL": word("ASKED"), "query in an override": word("ARGV")}
    everything = {f"{name} of the environment": value for name, value in env.items()} | words
    password, asked, argv = words.values()
    mark = word("TOLD")  # no secret: what the command said, which W&B need not know
    raw = small(folder, tracking={"wandb": {"project": "canaries", "mode": "offline"}})
    raw["stages"]["ppo"]["rewards"] = {
        "basic": {"url": f"http://judge:{password}@{server.address}/basic?key={asked}", "weight": 0.1},
        "token": {"url": "http://127.0.0.1:1/", "token_env": "JUDGE_TOKEN", "weight": 0.1},
    }
    recipe, run = written(raw, folder / "r.yaml"), folder / "runs" / "small"
    again = [f"ppo.rewards.token.url=http://{server.address}/token?key={argv}", f"description={mark}"]
    command_words = [*RLHF, "run", recipe, *again, "--out", "runs", "--json"]
    told = process(command_words, folder, env=env)
    yield "a recipe with secrets runs", told.done
    yield "secrets reach the servers they are for", _unsaid(server.seen, password, asked, argv, env["JUDGE_TOKEN"])
    checked = process([*RLHF, "check", recipe, *again, "--json"], folder, env=env)
    exported = process([*RLHF, "export", str(run / "stages" / "ppo"), "--out", "card"], folder, env=env)
    yield "check and export work beside it", checked.done or exported.done
    said = "\n".join([told.text, checked.text, exported.text])
    for name, secret in everything.items():
        yield f"{name}: run folder", ", ".join(leaks(run, secret))
        yield (
            f"{name}: export and what is printed",
            ", ".join([*leaks(folder / "card", secret), *_in_text(said, secret)]),
        )
    kept = [path for path in run.rglob("*") if "wandb" in path.parts and path.suffix == ".wandb"]
    yield "W&B is told something", "" if kept else "no run was kept"
    beside = [where for path in run.rglob("wandb") for where in leaks(path, mark)]
    yield "W&B is not told how the command was called", ", ".join(beside)
    names = [where for path in run.rglob("wandb") for where in leaks(path, sys.prefix) + leaks(path, "JUDGE_TOKEN=")]
    yield "W&B is not told the environment", ", ".join(names)
    second = process(command_words, folder, env=env)
    skipped = second.text.count("unchanged, skipped") == 3 or "▶" not in second.text
    yield "masks do not keep finished stages from being skipped", second.done or ("" if skipped else "stages ran again")
    locked = process([*RLHF, "check", str(run / "recipe.lock.yaml")], folder, env=env)
    yield "a mask is no secret", locked.refused or ("" if "token_env" in locked.text else "nothing says what to do")
    yield from _of_many_names(folder)
    yield from _in_messages(folder, raw, server)


_NAMES = [
    "PGPASSWORD",
    "SENTRY_DSN",
    "SOME_APIKEY",
    "SLACK_WEBHOOK",
    "SLACK_WEBHOOK_URL",
    "REGISTRY_AUTH",
    "MYSQL_PWD",
    "DB_CONN_STRING",
    "AZURE_CONNECTION_STRING",
    "CLOUD_CREDENTIALS",
]
"""Variables as others call theirs."""


def _of_many_names(folder: Path) -> Found:
    """Secrets of the environment under many names, and values that an override or a recipe gives such names."""
    env = {name: word("NAMED") for name in _NAMES} | {"SLACK_WEBHOOK_URL": f"https://host/services/{word('HOOK')}?x=1"}
    given = {name: word("GIVEN") for name in _NAMES}
    user = word("USER")
    told = {
        "of the environment": " ".join(env.values()),
        "given to a name": " ".join(f"{name}={value}" for name, value in given.items()),
        "in JSON": json.dumps(given),
        "of a database's address": f"postgresql+psycopg://me:{user}@host:5432/db",
    }
    for how, description in told.items():
        recipe = written({**one_stage(folder), "description": description}, folder / "names.yaml")
        said = [process([*RLHF, "check", recipe, "--json"], folder, env=env).text]
        said += [process([*RLHF, "check", "quickstart", f"no.such={description}"], folder, env=env).text]
        found = [secret for secret in (*env.values(), *given.values(), user) if _in_text("\n".join(said), secret)]
        works = "small" in said[0] and "no.such" in said[1]
        yield f"many names, {how}", f"{len(found)} are told" if found else "" if works else "the commands do not run"


def found_again(folder: Path) -> str:
    """Ways to pack and to encode a secret in which it would not be found."""
    folder.mkdir()
    secret = word("CONTROL") + "+/="
    raw, beside = secret.encode(), b"x" * 200
    files = {
        "plain": raw,
        "url": quote(secret, safe="").encode(),
        "hex": binascii.hexlify(raw),
        "base64": base64.b64encode(b"ab" + raw + b"cd"),
        "zlib": beside + zlib.compress(beside + raw),
        "x.gz": gzip.compress(raw),
        "x.wandb": b":W&B" + bytes(3) + _record(1, beside + raw[:20]) + _record(4, raw[20:]),
    }
    for name, data in files.items():
        (folder / name).write_bytes(beside + data if name in ("plain", "url", "hex") else data)
    found = {Path(where).name for where in leaks(folder, secret)}
    return ", ".join(files.keys() - found)


def _record(kind: int, data: bytes) -> bytes:
    return bytes(4) + len(data).to_bytes(2, "little") + bytes([kind]) + data


def _unsaid(seen: list[str], password: str, asked: str, argv: str, token: str) -> str:
    basic = base64.b64encode(f"judge:{password}".encode()).decode()
    wanted = (f"/basic?key={asked} Basic {basic}", f"/token?key={argv} Bearer {token}")
    return ", ".join(f"never asked as {one.split()[0][:12]}" for one in wanted if one not in seen)


def _in_messages(folder: Path, raw: dict[str, Any], server: Server) -> Found:
    """Recipes that are refused, or fail: what is said of them holds no secret either."""
    secret = word("MSG")
    basic = raw["stages"]["ppo"]["rewards"]["basic"]
    del raw["stages"]["ppo"]["rewards"]["token"], raw["tracking"]

    def judged(**source: Any) -> str:
        raw["stages"]["ppo"]["rewards"]["basic"] = {**basic, **source}
        return written(raw, folder / f"{token_hex(4)}.yaml")

    url = f"https://me:{secret}@huggingface.co/org/name?token={secret}"
    tries: dict[str, tuple[Any, ...]] = {
        "another scheme": ("check", judged(url=f"ftp://me:{secret}@host/?key={secret}")),
        "a token in the place of its name": ("check", judged(token_env=f"hf_{secret}")),
        "a token in capitals in the place of its name": ("run", judged(token_env=f"HF_{secret}".upper()), "--out", "m"),
        "a token under another key": ("check", judged(token=secret)),
        "headers": ("check", judged(headers={"Authorization": f"Bearer {secret}"})),
        "an address as the model": ("check", written({**one_stage(folder), "model": url}, folder / "m1.yaml")),
        "an address as the hub's dataset": ("data", "check", f"hub={url}"),
        "an address as the path": ("data", "check", url),
        "an address to inspect": ("data", "inspect", url),
        "an override that fits nowhere": ("check", judged(), f"ppo.rewards.basic.ulr={url}"),
        "an address as a reward model": ("score", url, str(folder / "sft.jsonl")),
        "an address to export": ("export", url, "--out", "nowhere"),
    }
    for name, words in tries.items():
        told = command(*words, cwd=folder)
        yield f"refused, and not told: {name}", told.refused or ", ".join(_in_text(told.text, secret))
    wrong = {
        "nobody listens": f"http://me:{secret}@127.0.0.1:1/?key={secret}",
        "the server repeats them": f"http://me:{secret}@{server.address}/refuse?key={secret}",
    }
    for name, where in wrong.items():
        told = command("run", judged(url=where), "--out", "runs", cwd=folder)
        found = [*_in_text(told.text, secret), *leaks(folder / "runs", secret)]
        yield f"fails, and does not tell: {name}", told.refused or ", ".join(found)


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written: as it is, in URLs, in JSON, in 16 bit, in hexadecimals, in base 64."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), secret.encode("utf-16-le")}
    found |= {binascii.hexlify(raw), binascii.hexlify(raw).upper()}
    for shift in range(3):  # the first and the last characters depend on what stands beside
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(b"\0" * shift + raw)[4 * bool(shift) : -4])
    return {form for form in found if form == raw or len(form) >= 8}  # a shorter one is anywhere


def _in_text(text: str, secret: str) -> list[str]:
    return ["what is printed"] if any(form in text.encode() for form in forms(secret)) else []


def leaks(folder: Path, secret: str) -> list[str]:
    """Files under a folder that hold a secret, as bytes or in what they have packed, and names that do."""
    wanted = forms(secret)
    found = [str(path.name) for path in folder.rglob("*") if secret in path.name]
    for path in (path for path in folder.rglob("*") if path.is_file()):
        if any(form in data for data in _contents(path) for form in wanted):
            found.append(str(path.relative_to(folder.parent)))
    return found


def _contents(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if path.suffix == ".wandb":
        yield b"".join(_records(data))
    if path.suffix == ".gz":
        yield gzip.decompress(data)
    for magic in (b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
        at = data.find(magic)
        while at >= 0:
            with contextlib.suppress(zlib.error):
                yield zlib.decompressobj().decompress(data[at:], 1 << 20)
            at = data.find(magic, at + 1)


def _records(data: bytes) -> Iterator[bytes]:
    """What LevelDB's log holds, as W&B writes it: pieces in blocks of 32 KiB, each with 7 bytes before it."""
    block, at = 1 << 15, 7
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        yield data[at + 7 : at + 7 + length]
        at += 7 + length
