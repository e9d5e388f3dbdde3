"""The peer of ppo.py: PPO with LoRA by the trainer that TRL 1.12 shipped, at the same shape, on the same device.

Needs trl==1.12.0 beside this Python's other libraries. Its value model is a second whole model, its reward model a
third. Prints one JSON object as its last line.
"""

import argparse
import json
import os
import time
from typing import Any

import torch

from benchmarks.gpu.ppo import SHAPES, build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--response", type=int, default=512)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--updates", type=int, default=2)
    options = parser.parse_args()
    if options.shape == "tiny":
        options.prompt = options.response = 16
        options.rollouts, options.micro = 4, 2
    print(json.dumps(run(options)))


def run(options: argparse.Namespace) -> dict[str, Any]:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast
    from trl.experimental.ppo import PPOConfig, PPOTrainer  # type: ignore[import-not-found]

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    shape = SHAPES[options.shape]
    words = {str(i): i for i in range(shape.vocabulary)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")), pad_token="0", eos_token="1"
    )
    tokenizer.padding_side = "left"
    policy = build(shape, quantised=False, device=device)
    scorers = []
    for _ in range(2):
        policy.config.num_labels = 1
        with torch.device("meta"):
            scorer = LlamaForSequenceClassification(policy.config).to(torch.bfloat16)
        scorer.model = build(shape, quantised=False, device=device).model
        scorer.score = torch.nn.Linear(shape.hidden, 1, bias=False, device=device, dtype=torch.bfloat16)
        scorers.append(scorer)
    value, judge = scorers
    value.requires_grad_(True)
    config = PPOConfig(
        output_dir="trl", report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        per_device_train_batch_size=options.micro, gradient_accumulation_steps=options.rollouts // options.micro,
        num_mini_batches=1, num_ppo_epochs=4, total_episodes=options.rollouts * options.updates,
        response_length=options.response, local_rollout_forward_batch_size=options.micro, stop_token=None,
        missing_eos_penalty=None, num_sample_generations=0, logging_steps=1, gradient_checkpointing=True,
    )  # fmt: skip
    prompts = torch.randint(2, shape.vocabulary, (options.rollouts * 2, options.prompt)).tolist()
    trainer = PPOTrainer(
        args=config, processing_class=tokenizer, model=policy, ref_model=None, reward_model=judge, value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    times = [time.perf_counter()]

    def log(*_: Any, **__: Any) -> None:
        if gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    trainer.log = log  # type: ignore[method-assign]
    trainer.train()
    return {
        "trl": trl.__version__,
        "options": vars(options),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if gpu else None,
        "episodes_per_s": round(options.rollouts / (times[-1] - times[-2]), 3),
    }


if __name__ == "__main__":
    main()
