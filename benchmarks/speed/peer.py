"""TRL's side of the comparison: its trainers as their documentation uses them, on our token ids.

python -m benchmarks.speed.peer WORK {trl,trl_matched}        run by __main__.py, in a process of its own

`trl` leaves every setting at its default but those that say what the work is; `trl_matched` computes in float32 and
keeps activations, as our side does.
"""

import json
import sys
from typing import Any

from benchmarks.speed.work import RANK, TARGETS, Meter, Work, fresh


def main() -> None:
    work, matched = Work.told(), sys.argv[2] == "trl_matched"
    import bitsandbytes  # noqa: F401  (libraries are loaded before memory is counted, on both sides)
    import peft  # noqa: F401
    import torch
    from safetensors.torch import load_file
    from transformers import TrainerCallback
    from trl import DPOTrainer, RewardTrainer, SFTTrainer  # noqa: F401

    torch.set_num_threads(1)
    meter = Meter()
    trainer = trainer_of(work, matched)
    if matched and work.backend == "qlora":  # TRL rounds adapters on a quantised base to bf16
        for parameter in trainer.model.parameters():
            parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    begun = load_file(work.start)
    with torch.no_grad():
        for name, parameter in fresh(trainer.model).items():
            parameter.copy_(begun[name])

    class Listens(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            meter.mark(logs)

    trainer.add_callback(Listens())
    trainer.train()
    meter.tell()


def trainer_of(work: Work, matched: bool) -> Any:
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, BitsAndBytesConfig

    class DPOTrainer(trl.DPOTrainer):
        """The others take token ids as they are."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    trainer, config = {
        "sft": (trl.SFTTrainer, trl.SFTConfig),
        "reward": (trl.RewardTrainer, trl.RewardConfig),
        "dpo": (DPOTrainer, trl.DPOConfig),
    }[work.stage]
    arguments: dict[str, Any] = {
        "output_dir": work.folder,
        "use_cpu": True,
        "seed": work.seed,
        "max_steps": work.steps,
        "per_device_train_batch_size": work.batch,
        "learning_rate": work.lr,
        "lr_scheduler_type": "constant",
        "max_length": work.max_length,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if matched:
        arguments |= {"bf16": False, "gradient_checkpointing": False}
    if work.backend == "qlora":
        arithmetic = torch.float32 if matched else torch.bfloat16
        arguments["model_init_kwargs"] = {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=arithmetic,
            )
        }
    task = "SEQ_CLS" if work.stage == "reward" else "CAUSAL_LM"
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS, task_type=task)
    rows = [json.loads(line) for line in work.tokens.read_text("utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(work.model)
    return trainer(
        model=work.model,
        args=config(**arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=None if work.backend == "full" else lora,
    )


if __name__ == "__main__":
    main()
