"""A reward model on TRL's RewardTrainer: the head trains, is saved, and scores the same when loaded again.

Scores come from the trunk that evaluation and the RL stage read them from. Several heads, an ensemble or one for each
attribute, train side by side; being linear on one state, they end as the one head that their mean or weighted sum is.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trl.trainer.reward_config import RewardConfig as TRLConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.utils import pad

from rlhf import evaluate, training
from rlhf.artifact import Artifact
from rlhf.data.chat import Ledger, encode_demonstrations, encode_preferences, encode_rated
from rlhf.data.load import load
from rlhf.errors import DataError
from rlhf.finite import check_finite
from rlhf.forwards import scores_from_trunk
from rlhf.job import Job, check_some_left
from rlhf.measures import pairs
from rlhf.parts import score_head
from rlhf.rl import preferences
from rlhf.roles import Role
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.reward import heads
from stages.reward.config import RewardConfig
from stages.reward.heads import Scale, numbers_of

# B pairs or answers, K heads

Row = dict[str, Any]
_CENTRED = 1000
"""Most answers that scores are centred on."""


def run(config: RewardConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs or scores; write adapter or model, and head, to `out/model`. What held-out rows say of it is in
    the metrics."""
    job = Job.start(config, inputs, "preferences" if config.loss == "pairs" else "scores", out)
    train, ledger = _encode(config, job, job.split.train)
    held_out, held_out_ledger = _encode(config, job, job.split.held_out)
    check_some_left(len(train), ledger)
    _check_read(config, train, tracker)
    scale = Scale.of(train, config.predicted) if config.loss == "scores" else None
    model = job.how.load(job.weights, job.chat, "score")
    heads.widen(model, config.heads if scale is None else len(scale.names))
    with training.trainable_kept(model):
        trainer = _Trainer(
            model=model,
            args=TRLConfig(**training.arguments(config, out), max_length=None, remove_unused_columns=False),
            train_dataset=training.training_set([_tokens(row, scale, config) for row in train], ledger),
            data_collator=_Collator(job.chat.pad_id),
            processing_class=job.chat.tokenizer,
        )
    trainer.settings = config
    judge = job.role(model)
    scores_from_trunk(judge, config.train.gradient_checkpointing, in_pairs=scale is None)
    metrics = training.run(trainer, tracker, out, partial(job.live, model))

    model.eval()
    size = config.train.micro_batch
    centred = _demonstrations(config, job, out) or [ids for row in train for ids in _answers(row)[:1]]
    some = random.Random(config.seed).sample(centred, min(len(centred), _CENTRED))
    state_ND = evaluate.read_rows(judge, some, size, lambda hidden: hidden.float()).to(judge.device)
    trained = score_head(model)
    assert trained is not None
    if scale is None:
        found = heads.ensemble(trained.weight, state_ND, config.center)
    else:
        found = heads.attributes(trained.weight, state_ND, scale, config.center)
    judge.head = found.put(model)
    if scale is not None and held_out:
        metrics |= _score_metrics(judge, held_out, scale, found, size)
    elif decided := [row for row in held_out if not row["tie"]]:
        rows = evaluate.pair_rows(judge, decided, size)
        metrics |= pairs.metrics(rows)
        _show_calibration(rows, tracker)
    found.save(out / "model")
    check_finite({"score_shift": found.shift, "head": float(found.weight_D.norm())}, "after training")
    ledgers = {"train": ledger, "held_out": held_out_ledger}
    return job.finish(model, out, ledgers, metrics, found.shift, found.tensors)


def _show_calibration(rows: Sequence[Row], tracker: Tracker) -> None:
    """Scores, margins and the reliability diagram of held-out pairs, for those who follow a run."""
    for name in ("chosen_score", "rejected_score", "margin"):
        tracker.histogram(f"heldout/{name}", [row[name] for row in rows])
    points = [(one.confidence, one.accuracy) for one in pairs.reliability(rows)]
    tracker.curve("heldout/reliability", ("confidence", "accuracy"), points)


def _check_read(config: RewardConfig, rows: Sequence[Row], tracker: Tracker) -> None:
    """Raise DataError where no row says what margins are to be; tell where none is a tie."""
    if config.margin_coef and not any(row["margin"] for row in rows):
        raise DataError(
            "margin_coef: no pair to train on says how much better one answer is; a field `margin` is needed, or the "
            "scores of both answers"
        )
    if config.ties in ("half", "rao_kupper") and config.loss == "pairs" and not any(row["tie"] for row in rows):
        tracker.screen.say(f"  note: ties is '{config.ties}', but no pair to train on is a tie")


# ------------------------------------------------------------------------------------------------ rows


def _encode(config: RewardConfig, job: Job, records: Sequence[Any]) -> tuple[list[Row], Ledger]:
    if config.loss == "pairs":
        return encode_preferences(records, job.chat, job.max_length, ties=config.ties != "drop")
    return encode_rated(records, job.chat, job.max_length, needs=tuple(config.predicted))


def _answers(row: Row) -> list[list[int]]:
    """The conversations of a row, the chosen one first."""
    sides = ("completion_ids",) if "completion_ids" in row else ("chosen_ids", "rejected_ids")
    return [row["prompt_ids"] + row[side] for side in sides]


def _tokens(row: Row, scale: Scale | None, config: RewardConfig) -> Row:
    """What the trainer is given of a row."""
    if scale is not None:
        said = scale.standard(numbers_of(row, config.predicted))
        return {"texts": _answers(row), "said": said, "where": row["where"]}
    return {
        "texts": _answers(row),
        "where": row["where"],
        "margin": config.margin_coef * row["margin"],
        "tie": row["tie"],
    }


def _demonstrations(config: RewardConfig, job: Job, out: Path) -> list[list[int]]:
    """The answers that average 0, where the recipe names them."""
    if config.demonstrations is None:
        return []
    records = load(config.demonstrations, "demonstrations", out).train
    most = min(config.demonstrations.max_length, job.max_length)
    rows, ledger = encode_demonstrations(records, job.chat, most)
    check_some_left(len(rows), ledger, "demonstration to centre on")
    return [list(row.ids) for row in rows]


@dataclass
class _Collator:
    """Rows to tensors: first every row's first conversation, then every row's second."""

    pad_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        texts = [torch.tensor(ids) for side in zip(*(row["texts"] for row in rows), strict=True) for ids in side]
        found = {
            "input_ids": pad(texts, padding_value=self.pad_id, padding_side="right"),
            "attention_mask": pad([torch.ones_like(ids) for ids in texts], padding_value=0, padding_side="right"),
        }
        numbers = [name for name in ("said", "margin", "tie") if name in rows[0]]
        return found | {name: torch.tensor([row[name] for row in rows]) for name in numbers}


# ------------------------------------------------------------------------------------------------ the loss


class _Trainer(training.OnTokens, RewardTrainer):
    """RewardTrainer with ties, margins, scores and several heads."""

    settings: RewardConfig

    def weight_of(self, inputs: Mapping[str, Any]) -> int:
        return int((~inputs["said"].isnan()).sum()) if "said" in inputs else super().weight_of(inputs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        assert not return_outputs, "nothing here asks for outputs"
        self.count_tokens(inputs)
        words = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        said_BK = model(**words, use_cache=False).logits.float()
        if "said" in inputs:
            loss = preferences.regression(said_BK, inputs["said"])
            self._note({"mean_reward": said_BK.mean()})
            return loss
        config = self.settings
        chosen_BK, rejected_BK = said_BK.chunk(2)
        threshold = config.tie_threshold if config.ties == "rao_kupper" else 0.0
        margin_B, tie_B = inputs["margin"][:, None], inputs["tie"][:, None]
        loss = preferences.bradley_terry(chosen_BK - rejected_BK, margin_B, tie_B, threshold)
        difference_B, decided_B = (chosen_BK - rejected_BK).mean(1), ~inputs["tie"]
        if bool(decided_B.any()):
            right_B = (difference_B > 0)[decided_B]
            self._note({"accuracy": right_B.float().mean(), "margin": difference_B[decided_B].mean()})
        self._note({"min_reward": said_BK.min(), "mean_reward": said_BK.mean(), "max_reward": said_BK.max()})
        return loss + config.center_coefficient * preferences.centred(chosen_BK, rejected_BK)

    def _note(self, found: Mapping[str, Tensor]) -> None:
        for name, value in found.items():
            self._metrics["train"][name].append(float(value.detach()))


# ------------------------------------------------------------------------------------------------ measures


def _score_metrics(
    judge: Role, rows: Sequence[Row], scale: Scale, found: heads.Combined, size: int
) -> dict[str, float]:
    """On held-out answers: of each attribute, root mean square error and correlation of what is predicted and what was
    said; and how far the score follows length."""
    state_ND = evaluate.read_rows(judge, [_answers(row)[0] for row in rows], size, lambda hidden: hidden.float())
    predicted_NK = state_ND @ found.weight_KD.cpu().t() + found.bias_K.cpu()
    said_NK = torch.tensor([numbers_of(row, dict.fromkeys(scale.names, 0.0)) for row in rows])
    metrics: dict[str, float] = {"answers": len(rows)}
    for k, name in enumerate(scale.names):
        known = ~said_NK[:, k].isnan()
        if bool(known.any()):
            predicted, said = predicted_NK[known, k], said_NK[known, k]
            metrics[f"rmse/{name}"] = float((predicted - said).square().mean().sqrt())
            metrics[f"correlation/{name}"] = pairs.correlation(predicted.tolist(), said.tolist())
    lengths = [len(row["completion_ids"]) for row in rows]
    return metrics | {"length_correlation": pairs.correlation((state_ND @ found.weight_D.cpu()).tolist(), lengths)}
