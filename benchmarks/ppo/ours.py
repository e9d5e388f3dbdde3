"""Our side of the PPO comparison: the RL stage's own loop on the peers' model, reward model, prompts and settings.

Prints one JSON object as its last line: CPU-seconds an episode by phase, peak memory above the loaded libraries, and
the curve of the reward that the reward model was trained to prefer. Run by compare.py, in a process of its own.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder with the peers' common.py")
    parser.add_argument("--assets", type=Path, required=True, help="folder of one shape that common.py built")
    parser.add_argument("--what", choices=["ppo", "sft"], default="ppo", help="sft: its steps alone, for their memory")
    parser.add_argument("--mode", choices=["full", "lora"], default="lora")
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro", type=int, default=0)
    parser.add_argument("--resp", type=int, default=56)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--kl", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="rl or train setting, such as rl.critic=reward")
    print(json.dumps(run(parser.parse_args())))


def run(options: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(options.peers))
    import torch

    torch.set_num_threads(1)
    import common as peers  # type: ignore[import-not-found]
    import peft  # noqa: F401  (libraries are loaded before memory is counted, on both sides)
    from accelerate import Accelerator
    from transformers import AutoTokenizer, set_seed

    from benchmarks.ppo.timed import PHASES, Log, TimedLoop
    from rlhf import libraries
    from rlhf.data.chat import ChatFormat
    from rlhf.data.records import Prompt
    from rlhf.rewards import RoleReward, WeightedSum
    from rlhf.rollout import Rollout

    libraries.prepare()
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.assets / "tok", padding_side="left")
    prompts = peers.make_prompts(tokenizer, 32, 64)
    peers.good_table(tokenizer)
    never = len(tokenizer)  # no such token: nothing stops a response, as with the peers
    chat = ChatFormat(tokenizer, "", (never,), tokenizer.pad_token_id)
    base_mb, _ = peers.rss_mb()
    peers.reset_hwm()

    config = stage_config(options)
    if options.what == "sft":
        sft(options, config, chat, prompts)
        return {"peak_over_base_mb": peers.rss_mb()[1] - base_mb}
    curve: list[float] = []

    def listen(drawn: Rollout) -> None:
        true = [peers.true_reward(row, chat.pad_id, tokenizer.eos_token_id) for row in drawn.responses]
        curve.append(sum(true) / len(true))

    roles = load_roles(options, config, chat)
    reward = WeightedSum({"judge": (RoleReward(roles.rewards["judge"], config.micro_batch_size, None), 1.0)})
    loop = TimedLoop(config, roles, reward, chat, Accelerator(cpu=True))
    loop.clock, loop.listen = time.process_time, listen
    log = Log(loop)
    loop.train([Prompt([], "")] * len(prompts), prompts, log, Path())  # type: ignore[arg-type]

    skip = 1 if options.updates > 2 else 0  # the first update also proves its invariants
    each = log.each()
    per_episode = sorted(sum(one.values()) / options.batch for one in each[skip:])
    return {
        "who": "rlhf",
        "mode": options.mode,
        "cpu_s_per_episode": {k: sum(one[k] for one in each[skip:]) / len(each[skip:]) / options.batch for k in PHASES},
        "med_cpu_per_ep": per_episode[len(per_episode) // 2],
        "upd_cpu": [sum(one.values()) / options.batch for one in each],
        "peak_over_base_mb": peers.rss_mb()[1] - base_mb,
        "true_reward": curve,
        "rm": [line["score"] for line in log.lines],
        "kl": [line["kl"] for line in log.lines],
        "seed": options.seed,
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def sft(options: argparse.Namespace, config: Any, chat: Any, prompts: list[list[int]]) -> None:
    """Supervised steps on rows of the same size, by the same trunk and head, with the same layers frozen: the leanest
    SFT that there is here."""
    import torch

    from rlhf.adapters import trained as trained_by
    from rlhf.backends import backend
    from rlhf.lm_head import head_loss
    from rlhf.memory import give_back
    from rlhf.packing import Packed
    from rlhf.parts import lm_head
    from rlhf.roles import Role
    from rlhf.trunk import trunk_of

    how = backend(config.backend, config.precision, torch.device("cpu"))
    policy, _ = weights_of(options)
    model = how.load(policy, chat)
    body: Any = trunk_of(model, how.dtype)
    role, depth = Role(model, body, trained_by(model)), config.train.freeze_layers
    for parameter in body.bottom(depth) if depth else []:
        parameter.requires_grad_(False)
    trained = [p for p in role.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.lr, fused=True)
    give_back()
    for step in range(options.updates):
        some = prompts[step * options.batch : (step + 1) * options.batch]
        rows = [row + (row * 2)[: options.resp] for row in some]
        batch = Packed.of(rows, list(map(len, some)), torch.device("cpu"))
        if depth:
            batch = body.lower(batch, role.adapter, depth)
        hidden_MD = role.hidden(batch, batch.predicts_M, options.checkpointing)
        loss = head_loss(hidden_MD, lm_head(model), batch.target_M, 1.0, lambda logprob_M, _: -logprob_M.sum())
        (loss / len(batch.target_M)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def stage_config(options: argparse.Namespace) -> Any:
    from stages.ppo.config import PPOConfig

    raw: dict[str, Any] = {
        "name": "ppo",
        "model": "bench",
        "reward_model": "bench",
        "data": {"path": "bench.jsonl"},
        "backend": {"kind": "lora", "r": 16, "alpha": 32} if options.mode == "lora" else {"kind": "full"},
        "precision": options.precision,
        "seed": options.seed,
        "rollout": {"batch_size": options.batch, "max_new_tokens": options.resp},
        "rl": {"epochs": options.epochs, "kl_coef": options.kl, "lam": 0.95, "missing_stop_score": None},
        "train": {
            "episodes": options.batch * options.updates,
            "lr": options.lr,
            "schedule": "constant",
            "warmup": 0,
            "micro_batch_size": options.micro or None,
            "log_every": 1,
            "checkpoint_every": 0,
            "gradient_checkpointing": options.checkpointing,
        },
    }
    for setting in options.set:
        key, _, value = setting.partition("=")
        block, _, name = key.partition(".")
        raw[block][name] = json.loads(value) if value[:1] in "-0123456789ntf" else value
    return PPOConfig.model_validate(raw)


def load_roles(options: argparse.Namespace, config: Any, chat: Any) -> Any:
    """All four roles, as the stage loads them."""
    import torch

    from rlhf import roles
    from rlhf.backends import backend

    policy, reward = weights_of(options)
    roles.text.load = lambda *_: chat  # both read the same tokens: there is no chat template here
    how = backend(config.backend, config.precision, torch.device("cpu"))
    return roles.load(how, policy, {"judge": reward}, chat, config.rl.critic, config.train.freeze_layers)


def weights_of(options: argparse.Namespace) -> tuple[Any, Any]:
    """The peers' SFT model as base and policy, their LoRA reward model as the reward adapter and head."""
    from safetensors.torch import load_file, save_file

    from rlhf.weights import Weights, identity

    base = options.assets / "sft"
    policy = Weights(base=base, name="bench", identity=identity(base), tokenizer=options.assets / "tok")
    folder = options.assets / "reward_adapter"
    if not folder.is_dir():
        folder.mkdir()
        saved = load_file(options.assets / "rm_lora" / "adapter_model.safetensors")
        head = next(tensor for name, tensor in saved.items() if "score" in name)
        save_file({"weight": head.contiguous()}, folder / "head.safetensors")
        body = {name: tensor for name, tensor in saved.items() if "score" not in name}
        save_file(body, folder / "adapter_model.safetensors")
        described = json.loads((options.assets / "rm_lora" / "adapter_config.json").read_text())
        described |= {"task_type": None, "modules_to_save": None}
        (folder / "adapter_config.json").write_text(json.dumps(described))
    reward = Weights(
        base=base, name="bench", identity=policy.identity, tokenizer=policy.tokenizer, adapter=folder,
        head=folder / "head.safetensors",
    )  # fmt: skip
    return policy, reward


if __name__ == "__main__":
    main()
