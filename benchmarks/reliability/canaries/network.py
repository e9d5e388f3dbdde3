"""Nothing is asked of the network unless a recipe names it, not even by W&B where it is offline."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.common import ROOT
from benchmarks.reliability.canaries.children import RLHF, Found, Told, process, small, written


def network(folder: Path) -> Found:
    """Nothing is asked of the network unless a recipe names it, not even by W&B where it is offline."""
    alone = shutil.which("unshare") is not None and not subprocess.run(["unshare", "-rn", "true"]).returncode
    control = "import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(('192.0.2.1', 9))"
    heard = process([sys.executable, "-c", control], folder)
    yield "a connection is noticed", "" if heard.asked else "the hook is deaf"
    if not alone:
        yield "without a network", "no namespace can be made (unshare -rn), and what is not Python's is not seen"
    if alone:
        yield (
            "a connection is noticed by the system",
            "" if _lonely([[sys.executable, "-c", control]], folder)[1] else ("its counter stands still"),
        )
    raw = small(folder, tracking={"wandb": {"project": "canaries", "mode": "offline"}})
    recipe, stages = written(raw, folder / "r.yaml"), folder / "runs" / "small" / "stages"
    (folder / "line.jsonl").write_text('{"prompt": "Is it late?", "response": "It comes today."}\n')
    tries = {
        "run": ["run", recipe, "--out", "runs"],
        "run again": ["run", recipe, "--out", "runs"],
        "check": ["check", "quickstart"],
        "chat": ["chat", str(stages / "ppo"), "--prompt", "Late?", "--max-new-tokens", "4"],
        "score": ["score", str(stages / "reward"), "line.jsonl"],
        "export": ["export", str(stages / "sft"), "--out", "exported"],
        "data inspect": ["data", "inspect", "sft.jsonl", "--model", "tiny"],
        "doctor": ["doctor"],
    }
    for name, words in tries.items():
        if alone:
            told, count = _lonely([[*RLHF, *words]], folder)
            yield f"without a network: {name}", told.done or (f"{count} packets had no way out" if count else "")
        elif wrong := process([*RLHF, *words], folder).done:  # the hook's silence alone proves nothing
            yield f"asked for: {name}", wrong
    telling = "from rlhf import cli, privacy; import sys; sys.argv = ['rlhf', 'doctor']; cli.main(); "
    telling += "from huggingface_hub import constants; from wandb import env; "
    telling += "assert constants.HF_HUB_DISABLE_TELEMETRY and not env.error_reporting_enabled()"
    yield "telemetry is off before libraries are read", process([sys.executable, "-c", telling], folder).done
    yield "what listens, listens to this machine alone", listens()


def _lonely(commands: list[list[str]], folder: Path) -> tuple[Told, int]:
    """Commands where there is no network at all; what they did, and how many packets found no way, of any process."""
    counts = folder / "snmp"
    script = 'log=$1; shift; "$@"; code=$?; cat /proc/net/snmp /proc/net/snmp6 > "$log"; exit $code'
    (words,) = commands
    told = process(["unshare", "-rn", "sh", "-c", script, "sh", str(counts), *words], folder)
    lines = [line.split() for line in counts.read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "Ip:")
    six = next((int(line[1]) for line in lines if line[0] == "Ip6OutNoRoutes"), 0)
    return told, int(values[names.index("OutNoRoutes")]) + six


def listens() -> str:
    found = []
    for package in ("rlhf", "stages"):
        for path in (ROOT / package).rglob("*.py"):
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                opens = any(word in line for word in (".bind(", "HTTPServer(", ".listen(", "create_server("))
                if opens and "127.0.0.1" not in line:
                    found.append(f"{path.relative_to(ROOT)}:{number}")
    return ", ".join(found)
