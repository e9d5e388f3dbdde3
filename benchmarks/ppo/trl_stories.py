"""The peer's side of stories.py: the PPO trainer that TRL 1.12 shipped. Prints one JSON object as its last line."""

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from statistics import fmean
from typing import Any

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RATES = {"lora": 1e-3, "full": 1e-4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--mode", choices=RATES, required=True)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--lr", type=float)
    print(json.dumps(run(parser.parse_args())))


def run(options: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import trl.experimental.ppo.ppo_trainer as module  # type: ignore[import-not-found]
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed
    from vader import score

    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.judge, padding_side="left")
    rows = [json.loads(line)["prompt"] for line in options.prompts.read_text("utf-8").split("\n") if line]
    prompts = [tokenizer(row).input_ids for row in rows]
    judge, value = (AutoModelForSequenceClassification.from_pretrained(options.judge, num_labels=1) for _ in range(2))
    policy = AutoModelForCausalLM.from_pretrained(options.model, dtype="float32")
    policy.generation_config.pad_token_id = tokenizer.pad_token_id
    whole = options.mode == "full"
    vader: list[float] = []
    kl: list[float] = []
    reward: list[float] = []
    generate = module.batch_generation

    def listened(model: Any, queries: Any, *rest: Any, **named: Any) -> Any:
        out = generate(model, queries, *rest, **named)
        texts = tokenizer.batch_decode(out[0][:, queries.shape[1] :], skip_special_tokens=True)
        vader.append(fmean(score([], text) for text in texts))
        return out

    module.batch_generation = listened
    config = module.PPOConfig(
        output_dir="trl", seed=options.seed, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
        per_device_train_batch_size=16, gradient_accumulation_steps=4, num_mini_batches=1, num_ppo_epochs=4,
        total_episodes=64 * options.updates, response_length=40, temperature=1.0, kl_coef=0.05,
        learning_rate=options.lr or RATES[options.mode], lr_scheduler_type="constant", gradient_checkpointing=False,
        bf16=False, num_sample_generations=0, stop_token="eos", missing_eos_penalty=None, lam=1.0, logging_steps=1,
    )  # fmt: skip
    trainer = module.PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=AutoModelForCausalLM.from_pretrained(options.model, dtype="float32") if whole else None,
        reward_model=judge,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        peft_config=None if whole else LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS, task_type="CAUSAL_LM"),
    )

    def log(metrics: dict[str, float], *_: Any, **__: Any) -> None:
        kl.append(round(metrics["objective/kl"], 3))
        reward.append(round(metrics["objective/scores"], 3))

    trainer.log = log
    start = time.monotonic()
    trainer.train()
    seconds = round(time.monotonic() - start)
    return {"vader": [round(v, 4) for v in vader], "kl": kl, "reward": reward, "seconds": seconds}


if __name__ == "__main__":
    main()
