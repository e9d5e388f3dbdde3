"""What each side answers, and what every judge says of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlhf import checkpoint, evaluate, text
from rlhf.data.inspect.preferences import refuses
from rlhf.data.records import Prompt
from rlhf.endpoint import Endpoint
from rlhf.finite import check_finite
from rlhf.llm_judge import PROMPT, LLMJudge
from rlhf.measures.policies import SIDES
from rlhf.measures.texts import copied
from rlhf.reward_model import RewardModel
from rlhf.rewards import Reward, RuleReward, TextReward
from rlhf.roles import Role
from rlhf.rollout import Sampling, decode, sample
from rlhf.rules import Rule
from stages.evaluate.config import EvaluateConfig, LLMJudgeConfig
from stages.evaluate.sides import Side

Row = dict[str, Any]


@dataclass(frozen=True)
class Judges:
    """Everything that scores an answer, by the names of `measures.policies.SCORES`."""

    models: Mapping[str, RewardModel]
    rule: Rule | None

    def of(self, side: Side) -> dict[str, Reward]:
        """As they judge what a side writes."""
        rewards: dict[str, Reward] = {name: TextReward(model, side.chat) for name, model in self.models.items()}
        return rewards | ({"gold": RuleReward(self.rule, side.chat)} if self.rule else {})


def answered(
    config: EvaluateConfig,
    prompts: Sequence[Prompt],
    name: str,
    side: Side,
    judges: Judges | None,
    reference: Role | None,
) -> list[Row]:
    """A side's answers with their scores, judged as in training: by the prompt alone, whatever stood before it. Each
    name has random numbers of its own, so that its answers are the same whoever else is asked. Raises GuardError for a
    score that is not finite, which no comparison would tell from a loss."""
    with checkpoint.aside(config.seed + SIDES.index(name)):
        return _answered(config, prompts, side, judges.of(side) if judges else {}, reference)


def _answered(
    config: EvaluateConfig,
    prompts: Sequence[Prompt],
    side: Side,
    rewards: Mapping[str, Reward],
    reference: Role | None,
) -> list[Row]:
    rows = [side.reads(prompt, config.max_new_tokens) for prompt in prompts]
    plain = [side.chat.prompt_ids(prompt.messages) for prompt in prompts]
    sampling = Sampling(config.max_new_tokens, config.temperature)
    answers: list[Row] = [{} for _ in rows]
    for index in evaluate.batches([len(row) for row in rows], config.batch_size):
        rollout = sample(side.role, [rows[i] for i in index], side.chat, sampling)
        said: dict[str, Sequence[float]] = {}
        if reference is not None:
            gap_B = evaluate.kl_per_response(side.role, reference, rollout, config.temperature, config.batch_size)
            said["kl"] = gap_B.tolist()
        judged, asked = replace(rollout, prompts=[plain[i] for i in index]), [prompts[i] for i in index]
        said |= {name: reward.score(asked, judged).tolist() for name, reward in rewards.items()}
        for place, i in enumerate(index):
            response, numbers = rollout.responses[place], {name: values[place] for name, values in said.items()}
            check_finite(numbers, prompts[i].where)
            answers[i] = {
                "text": decode(side.chat, response),
                "tokens": len(response),
                "finished": bool(rollout.finished_B[place]),
                **numbers,
            }
    return answers


def reference_of(config: EvaluateConfig, sides: Mapping[str, Side]) -> Role | None:
    """What the policy's KL is to: it needs samples, and both to read the same tokens."""
    baseline = sides.get("baseline")
    if baseline is None or config.temperature == 0 or not text.same(sides["policy"].chat, baseline.chat):
        return None
    return baseline.role


def compared(
    config: EvaluateConfig, prompts: Sequence[Prompt], answers: Mapping[str, Sequence[Row]], training: Sequence[str]
) -> list[Row]:
    """A row for each prompt, as `measures.policies` reads it."""
    if training:
        for given in answers.values():
            found = copied([answer["text"] for answer in given], training, config.copied_words)
            for answer, words in zip(given, found, strict=True):
                answer["copied"] = words
    return [
        {"where": prompt.where, "prompt": prompt.messages, **{name: given[i] for name, given in answers.items()}}
        for i, prompt in enumerate(prompts)
    ]


def ask_llm(config: LLMJudgeConfig, prompts: Sequence[Prompt], rows: Sequence[Row], say: Callable[[str], None]) -> None:
    """Add what an LLM calls better to each row, and say how much of it is missing."""
    server = Endpoint(_completions(config.url), config.timeout_s, config.token())
    judge = LLMJudge(server, config.model, config.prompt or PROMPT, config.at_once)
    for other in (name for name in ("baseline", "prompted") if name in rows[0]):
        pairs = [(row["policy"]["text"], row[other]["text"]) for row in rows]
        said = judge.compare([prompt.messages for prompt in prompts], pairs, ("policy", other))
        for row, verdicts in zip(rows, said, strict=True):
            row.setdefault("llm", {})[other] = verdicts
        if missing := sum(verdict is None for verdicts in said for verdict in verdicts):
            say(f"  note: {missing} of {2 * len(said)} verdicts of the LLM were not given or not read: no win, no loss")


def _completions(url: str) -> str:
    """Where a server with OpenAI's API answers conversations, its query kept."""
    before, mark, query = url.partition("?")
    return f"{before.rstrip('/').removesuffix('/chat/completions')}/chat/completions{mark}{query}"


# ------------------------------------------------------------------------------------------------ refusals

_LABELS = {"safe": True, "unsafe": False}


def is_safe(said: Mapping[str, str]) -> bool | None:
    """Whether a prompt may be answered, by its row's `label`, or as XSTest has it in its `type`; None where neither
    says so."""
    if "label" in said:
        return _LABELS.get(said["label"].strip().lower())
    return not said["type"].startswith("contrast") if "type" in said else None


def refused(
    config: EvaluateConfig, prompts: Sequence[Prompt], safe: Sequence[bool], sides: Mapping[str, Side]
) -> list[Row]:
    """A row for each prompt with what every side answers, as `measures.policies.refusals` reads it."""
    answers = {name: answered(config, prompts, name, side, None, None) for name, side in sides.items()}
    return [
        {
            "where": prompt.where,
            "prompt": prompt.messages,
            "safe": safe[i],
            **{name: {**given[i], "refuses": refuses(given[i]["text"])} for name, given in answers.items()},
        }
        for i, prompt in enumerate(prompts)
    ]
