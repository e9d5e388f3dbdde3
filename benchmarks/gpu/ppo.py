"""PPO with all four roles at the shape of a real model, with random weights: memory and speed do not depend on them.

Prints one JSON object as its last line. Run by run.py, in a process of its own, or by hand:

python -m benchmarks.gpu.ppo --shape 8b --backend qlora
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.ppo.timed import PHASES, Log, TimedLoop
from rlhf import libraries
from rlhf.adapters import lora_targets
from rlhf.backends import POLICY
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.loading import keep_nf4_layout
from rlhf.rewards import RoleReward, WeightedSum
from rlhf.roles import Role, Roles
from rlhf.trunk import trunk_of
from stages.ppo.config import PPOConfig


class Shape(NamedTuple):
    vocabulary: int
    hidden: int
    layers: int
    inner: int
    heads: int
    groups: int

    @property
    def kv(self) -> int:
        return self.hidden // self.heads * self.groups

    @property
    def body(self) -> int:
        """Weights of the linear layers."""
        return self.layers * (2 * self.hidden**2 + 2 * self.hidden * self.kv + 3 * self.hidden * self.inner)


SHAPES = {
    "tiny": Shape(512, 128, 4, 256, 4, 2),
    "8b": Shape(128256, 4096, 32, 14336, 32, 8),  # Llama 3 8B
    "70b": Shape(128256, 8192, 80, 28672, 64, 8),  # Llama 3 70B
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--backend", choices=["lora", "qlora"], default="lora")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--response", type=int, default=512)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--micro-tokens", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--freeze-layers", type=int, default=0)
    parser.add_argument(
        "--critic", choices=["shared", "policy"], default="shared", help="policy: an adapter of its own"
    )
    parser.add_argument("--cap-gb", type=float, help="cap of the allocator")
    print(json.dumps(run(parser.parse_args())))


# ------------------------------------------------------------------------------------------------ the model


def build(shape: Shape, quantised: bool, device: torch.device) -> Any:
    """A Llama with random bf16 weights made on the device, layer by layer quantised to NF4 when asked."""
    keep_nf4_layout()
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        pad_token_id=0,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    for name, module in list(model.named_modules()):
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        module.to_empty(device=device, recurse=False)
        for parameter in own.values():
            made = module.get_parameter("weight")
            if parameter.dim() == 1:
                nn.init.ones_(made)
            else:
                nn.init.normal_(made, std=0.02)
        if quantised and isinstance(module, nn.Linear) and name != "lm_head":
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, in_nf4(module))
            module.to("meta")  # the list above still holds it
    return model.eval().requires_grad_(False)


def in_nf4(layer: nn.Linear) -> nn.Module:
    """The layer in 4 bit, with quantised constants."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    small = Linear4bit(
        layer.in_features, layer.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta"
    )
    small.weight = Params4bit(
        layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True, module=small
    )
    return small.to(layer.weight.device)


def roles_on(model: Any, depth: int, shared: bool) -> tuple[Any, Roles]:
    """Policy, reference, reward and critic, the last on the policy's states or its own, as the RL stage has them."""
    import peft

    def config() -> Any:
        return peft.LoraConfig(r=16, lora_alpha=32, target_modules=lora_targets(model))

    device = model.get_input_embeddings().weight.device
    whole: Any = peft.get_peft_model(model, config(), adapter_name=POLICY, autocast_adapter_dtype=True)
    for name in ("reference", "reward_judge") if shared else ("reference", "reward_judge", "value"):
        whole.add_adapter(name, config())
    whole.to(device)
    trunk = trunk_of(whole, torch.bfloat16)

    def head() -> nn.Linear:
        return nn.Linear(model.config.hidden_size, 1, device=device)

    judge = Role(whole, trunk, ("reward_judge",), head())
    value = Role(whole, trunk, (POLICY if shared else "value",), head(), owns_body=not shared)
    roles = Roles(Role(whole, trunk, (POLICY,)), Role(whole, trunk, ("reference",)), {"judge": judge}, value)
    roles.freeze(depth)
    return trunk, roles


# ------------------------------------------------------------------------------------------------ the measurement


def run(options: argparse.Namespace) -> dict[str, Any]:
    from accelerate import Accelerator

    libraries.prepare()
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    if gpu and options.cap_gb:
        torch.cuda.set_per_process_memory_fraction(
            options.cap_gb * 1e9 / torch.cuda.get_device_properties(0).total_memory
        )
    shape = SHAPES[options.shape]
    limits = machine_limits(device)
    model = build(shape, options.backend == "qlora", device)
    trunk, roles = roles_on(model, options.freeze_layers, options.critic == "shared")
    never = shape.vocabulary  # no such token: every response has its full length
    chat = ChatFormat(PreTrainedTokenizerFast, "", (never,), 0)
    loop = TimedLoop(
        config_of(options),
        roles,
        WeightedSum({"judge": (RoleReward(roles.rewards["judge"], micro(options), None), 1.0)}),
        chat,
        Accelerator(cpu=not gpu),
    )

    def clock() -> float:
        if gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    loop.clock = clock
    base = torch.cuda.memory_allocated() if gpu else 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    prompts = torch.randint(shape.vocabulary, (options.rollouts * 2, options.prompt)).tolist()
    log = Log(loop)
    loop.train([Prompt([], "random")] * len(prompts), prompts, log, Path())  # type: ignore[arg-type]
    last = log.each()[-1]  # the first update also proves its invariants
    drawn = options.rollouts * options.response
    flops = update_flops(shape, options)
    return {
        "trunk": type(trunk).__name__,
        "options": vars(options),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if gpu else None,
        "reserved_gb": round(torch.cuda.max_memory_reserved() / 1e9, 2) if gpu else None,
        "weights_gb": round(base / 1e9, 2) if gpu else None,
        "episodes_per_s": round(options.rollouts / sum(last.values()), 3),
        "seconds": {phase: round(last[phase], 3) for phase in PHASES},
        "rollout_tokens_per_s": round(drawn / last["rollout"], 1),
        "decode_bound_tokens_per_s": round(decode_bound(shape, options, limits["copy_tb_s"] * 1e12), 1),
        "update_tflops": round(flops / last["update"] / 1e12, 3),
        "update_mfu": round(flops / last["update"] / 1e12 / limits["matrix_tflops"], 3),
        **limits,
    }


def micro(options: argparse.Namespace) -> int:
    """Episodes a micro-batch."""
    return max(1, min(options.micro_tokens // (options.prompt + options.response), options.rollouts))


def config_of(options: argparse.Namespace) -> PPOConfig:
    return PPOConfig.model_validate(
        {
            "name": "ppo",
            "model": "random",
            "reward_model": "random",
            "data": {"path": "random.jsonl"},
            "backend": {"kind": options.backend},
            "precision": "bf16",
            "rollout": {"batch_size": options.rollouts, "max_new_tokens": options.response},
            "rl": {"epochs": options.epochs, "critic": options.critic, "missing_stop_score": None},
            "train": {
                "episodes": options.rollouts * options.updates,
                "lr": 1e-5,
                "micro_batch_size": micro(options),
                "gradient_checkpointing": not options.no_checkpointing,
                "freeze_layers": options.freeze_layers,
                "log_every": 1,
            },
        }
    )


def machine_limits(device: torch.device) -> dict[str, float]:
    """What the device does at best in this very call: bf16 matrix TFLOP/s, and TB/s of a copy (read and written)."""
    size, count = (8192, 256 << 20) if device.type == "cuda" else (1024, 16 << 20)
    left = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    source = torch.zeros(count, dtype=torch.bfloat16, device=device)

    def best(action: Any) -> float:
        found = []
        for _ in range(6):
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            action()
            if device.type == "cuda":
                torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return min(found)

    matrix, copy = best(lambda: left @ left), best(lambda: source.clone())
    return {"matrix_tflops": round(2 * size**3 / matrix / 1e12, 3), "copy_tb_s": round(4 * count / copy / 1e12, 4)}


def update_flops(shape: Shape, options: argparse.Namespace) -> float:
    """Model FLOPs of one update with LoRA: forward, and backward to the inputs, of every epoch; recomputing does not
    count, and frozen bottom layers are not passed. The head is read at response tokens only; causal attention sees half
    of the sequence on average. A critic of its own passes the body once more."""
    length, layers = options.prompt + options.response, shape.layers - options.freeze_layers
    attention = 2 * layers * shape.hidden * length**2
    body = 2 * shape.body * layers / shape.layers * length + attention
    head = 2 * shape.vocabulary * shape.hidden * options.response
    critic = 0 if options.critic == "shared" else 2 * body + attention
    once = 2 * (body + head) + attention + critic  # attention's backward pass is twice
    return options.rollouts * options.epochs * once


def decode_bound(shape: Shape, options: argparse.Namespace, bytes_per_s: float) -> float:
    """Tokens/s when each step reads all weights and the keys and values so far, and nothing else takes time."""
    weight = 0.516 if options.backend == "qlora" else 2.0
    cache = 2 * shape.layers * shape.kv * 2 * (options.prompt + options.response / 2)
    read = shape.body * weight + 2 * shape.vocabulary * shape.hidden + options.rollouts * cache
    return options.rollouts * bytes_per_s / read


if __name__ == "__main__":
    main()
