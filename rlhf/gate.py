"""Is this reward worth maximising? Looked at before the first rollout, since a gamed reward costs the whole run.

Two kinds of signs: what its own training measured on held-out pairs (`measures.trust`), and degenerate answers (empty,
one word over and over, the question itself) that it should not prefer to the policy's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.rewards import Reward
from rlhf.rollout import Rollout

PREFERRED = 0.5
"""Share of prompts on which a degenerate answer may outscore the policy's own."""


def probe_signs(
    reward: Reward, prompts: Sequence[Prompt], rollout: Rollout, chat: ChatFormat
) -> tuple[list[str], dict[str, float]]:
    """Degenerate answers that score above the policy's own answers in `rollout`; and as metrics, how often each does
    and the spread of the scores of the policy's own."""

    def scores_of(answers: list[list[int]]) -> Tensor:  # as finished: a set score of others says nothing of the reward
        return reward.score(prompts, Rollout(rollout.prompts, answers, torch.ones_like(rollout.finished_B)))

    own_B = scores_of(rollout.ended(chat.stop_ids[0]).responses)
    signs, found = [], {"gate/score_std": float(own_B.std(unbiased=False))}
    for name, answers in degenerate(prompts, rollout, chat).items():
        share = float((scores_of(answers) > own_B).float().mean())
        found[f"gate/{name}"] = share
        if share > PREFERRED:
            signs.append(f"{_WORDS[name]} scores above the policy's own answer on {share:.0%} of prompts")
    return signs, found


_WORDS = {"empty": "an empty answer", "repeated": "one word over and over", "echo": "the question said back"}


def degenerate(prompts: Sequence[Prompt], rollout: Rollout, chat: ChatFormat) -> dict[str, list[list[int]]]:
    """Answers that are worth nothing, each ended by a stop token and no longer than the policy's own."""
    stop = chat.stop_ids[0]
    word = chat.text_ids(" good")
    empty, repeated, echo = [], [], []
    for prompt, own in zip(prompts, rollout.responses, strict=True):
        room = max(len(own) - 1, 1)
        empty.append([stop])
        repeated.append([*(word * room)[:room], stop])
        echo.append([*chat.text_ids(prompt.messages[-1]["content"])[:room], stop])
    return {"empty": empty, "repeated": repeated, "echo": echo}
