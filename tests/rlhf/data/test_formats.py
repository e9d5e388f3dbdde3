"""Each format by hand: a row as its data set writes it, and the record expected."""

from typing import Any

import pytest

from rlhf.data.formats.reader import FORMATS, Reader, format_of, recognise
from rlhf.data.formats.refusals import REFUSED
from rlhf.data.formats.steps import STEPS
from rlhf.data.messages import UnusableError
from rlhf.data.records import Demonstration, Kind, Message, Preference, Prompt, Rated
from rlhf.errors import DataError


def sys(content: str) -> Message:
    return {"role": "system", "content": content}


def ask(content: str) -> Message:
    return {"role": "user", "content": content}


def say(content: str) -> Message:
    return {"role": "assistant", "content": content}


def human(content: str) -> Message:
    return {"from": "human", "value": content}


def gpt(content: str) -> Message:
    return {"from": "gpt", "value": content}


TREE: dict[str, Any] = {
    "role": "prompter",
    "text": "a",
    "replies": [
        {"role": "assistant", "text": text, "rank": rank, "replies": []}
        for text, rank in (("c", 1), ("b", 0), ("d", 2))
    ],
}
"""OpenAssistant's: rank 0 is the best."""

DEMONSTRATIONS: list[tuple[str, dict[str, Any], list[Message]]] = [
    ("messages", {"messages": [sys("s"), ask("a"), say("b")]}, [sys("s"), ask("a"), say("b")]),
    ("messages", {"messages": [ask("a"), say("b")], "label": True}, [ask("a"), say("b")]),
    ("prompt_completion", {"prompt": "a", "completion": " b"}, [ask("a"), say(" b")]),
    ("prompt_completion", {"prompt": [sys("s"), ask("a")], "completion": [say("b")]}, [sys("s"), ask("a"), say("b")]),
    ("alpaca", {"instruction": "a", "input": "", "output": "b"}, [ask("a"), say("b")]),
    ("alpaca", {"instruction": "a", "input": "<noinput>", "output": "b"}, [ask("a"), say("b")]),
    ("alpaca", {"instruction": "a", "input": "x", "response": "b"}, [ask("a\n\nx"), say("b")]),
    (
        "alpaca",
        {"instruction": "a", "output": "b", "system": "s", "history": [["q", "r"]]},
        [sys("s"), ask("q"), say("r"), ask("a"), say("b")],
    ),
    ("self_instruct", {"instruction": "a", "instances": [{"input": "x", "output": "b"}]}, [ask("a\n\nx"), say("b")]),
    (
        "sharegpt",
        {"conversations": [human("a"), gpt("b"), human("c"), gpt("d")]},
        [ask("a"), say("b"), ask("c"), say("d")],
    ),
    ("sharegpt", {"system": "s", "conversations": [human("a"), gpt("b")]}, [sys("s"), ask("a"), say("b")]),
    ("question_answer", {"question": "1+1?", "answer": "#### 2"}, [ask("1+1?"), say("#### 2")]),
    ("text", {"text": "Once upon a time."}, [say("Once upon a time.")]),
    ("dolly", {"instruction": "a", "context": "x", "response": "b"}, [ask("a\n\nx"), say("b")]),
    ("prompt_response", {"system_prompt": "s", "query": "a", "response": "b"}, [sys("s"), ask("a"), say("b")]),
    ("prompt_response", {"article": "a", "summary": "b"}, [ask("a"), say("b")]),
    ("dialogue", {"data": ["a", "b", "c", "d"]}, [ask("a"), say("b"), ask("c"), say("d")]),
    ("dialogue", {"conversation": [{"human": "a", "assistant": "b"}]}, [ask("a"), say("b")]),
    ("guanaco", {"text": "### Human: a### Assistant: b"}, [ask("a"), say("b")]),
    ("tree_path", {"message_tree_id": "1", "prompt": TREE}, [ask("a"), say("b")]),
    ("squad", {"context": "x", "question": "a", "answers": {"text": ["b"]}}, [ask("x\n\na"), say("b")]),
    ("text_response", {"text": "a", "summary": "b"}, [ask("a"), say("b")]),
    ("exchanged", {"message_1": "a", "message_2": "b"}, [ask("a"), say("b")]),
    ("chatml", {"text": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>"}, [ask("a"), say("b")]),
    ("llama2", {"text": "<s>[INST] a [/INST] b </s>"}, [ask("a"), say("b")]),
    ("llama2", {"text": "<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]a[/INST]b</s>"}, [sys("s"), ask("a"), say("b")]),
    ("llama3", {"chat": "<|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>"}, [say("b")]),
    ("gemma", {"text": "<start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb"}, [ask("a"), say("b")]),
    ("zephyr", {"text": "<|user|>\na</s>\n<|assistant|>\nb<|end|>"}, [ask("a"), say("b")]),
    (
        "zephyr",
        {"text": "<|user|>a<|end|><|assistant|>b<|end|><|tool|>c<|end|><|assistant|>d<|end|>"},
        [ask("a"), say("b"), {"role": "tool", "content": "c"}, say("d")],
    ),
    (
        "llama4",
        {
            "text": "<|begin_of_text|><|header_start|>user<|header_end|>\n\na<|eot|><|header_start|>assistant"
            "<|header_end|>\n\nb<|eot|>"
        },
        [ask("a"), say("b")],
    ),
    (
        "granite",
        {
            "text": "<|start_of_role|>user<|end_of_role|>a<|end_of_text|>\n<|start_of_role|>assistant"
            "<|end_of_role|>b<|end_of_text|>"
        },
        [ask("a"), say("b")],
    ),
    (
        "command_r",
        {
            "text": "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>a<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|>"
            "<|CHATBOT_TOKEN|>b<|END_OF_TURN_TOKEN|>"
        },
        [ask("a"), say("b")],
    ),
    (
        "harmony",
        {"text": "<|start|>user<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>"},
        [ask("a"), say("b")],
    ),
    (
        "exaone",
        {"text": "[|system|]s[|endofturn|]\n[|user|]a\n[|assistant|]b[|endofturn|]"},
        [sys("s"), ask("a"), say("b")],
    ),
    (
        "kimi",
        {"text": "<|im_user|>user<|im_middle|>a<|im_end|><|im_assistant|>assistant<|im_middle|>b<|im_end|>"},
        [ask("a"), say("b")],
    ),
    ("alpaca_text", {"text": "s\n### Instruction:\na\n### Response:\nb</s>"}, [sys("s"), ask("a"), say("b")]),
    (
        "deepseek",
        {"text": "<｜begin▁of▁sentence｜>s<｜User｜>a<｜Assistant｜>b<｜end▁of▁sentence｜>"},
        [sys("s"), ask("a"), say("b")],
    ),
    (
        "nemo",
        {"text": "<extra_id_0>System\ns\n<extra_id_1>User\na\n<extra_id_1>Assistant\nb\n<extra_id_1>"},
        [sys("s"), ask("a"), say("b")],
    ),
    ("nemo", {"text": "a\n<extra_id_1>Assistant\nb"}, [ask("a"), say("b")]),
    ("dialogue_text", {"text": "Human: a Assistant: b"}, [ask("a"), say("b")]),
    ("dialogue_text", {"text": "prompter: a assistant: b"}, [ask("a"), say("b")]),
    ("speakers", {"text": "s USER: a ASSISTANT: b</s>"}, [sys("s"), ask("a"), say("b")]),
    ("transcript", {"text": "\n\nHuman: a\n\nAssistant: b"}, [ask("a"), say("b")]),
    ("prompted_text", {"prompt": "a", "text": "b"}, [ask("a"), say("b")]),
]

HH = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
PREFERENCES: list[tuple[str, dict[str, Any], tuple[list[Message], list[Message], list[Message], float | None]]] = [
    ("pair", {"prompt": "a", "chosen": "b", "rejected": "c"}, ([ask("a")], [say("b")], [say("c")], None)),
    (
        "pair",
        {"prompt": [sys("s"), ask("a")], "chosen": [say("b")], "rejected": [say("c")]},
        ([sys("s"), ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "pair",
        {"prompt": "a", "original_response": "c", "edited_response": "b"},
        ([ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "pair",  # UltraFeedback's answers repeat the prompt
        {"prompt": "a", "chosen": [ask("a"), say("b")], "rejected": [ask("a"), say("c")]},
        ([ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "implicit_prompt",
        {"chosen": [ask("a"), say("b"), ask("c"), say("d")], "rejected": [ask("a"), say("b"), ask("c"), say("e")]},
        ([ask("a"), say("b"), ask("c")], [say("d")], [say("e")], None),
    ),
    (
        "hh",
        {"chosen": HH + " d", "rejected": HH + " e"},
        ([ask("a"), say("b"), ask("c")], [say("d")], [say("e")], None),
    ),
    (
        "llamafactory",
        {"conversations": [human("a")], "chosen": gpt("b"), "rejected": gpt("c"), "system": "s"},
        ([sys("s"), ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "beside",  # ms-swift
        {"messages": [sys("s"), ask("a"), say("b")], "rejected_response": "c"},
        ([sys("s"), ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "next_step",  # Step-DPO
        {"prompt": "a", "initial_reason_steps": "1. ", "chosen": "b", "rejected": "c"},
        ([ask("a")], [say("1. b")], [say("1. c")], None),
    ),
    (
        "stack_exchange",
        {"question": "a", "response_j": "b", "response_k": "c"},
        ([ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "alpaca_eval",
        {"instruction": "a", "output_1": "b", "output_2": "c", "preference": 2},
        ([ask("a")], [say("c")], [say("b")], None),
    ),
    (
        "alpaca_eval",
        {"instruction": "a", "output_1": "b", "output_2": "c", "preference": "1.0"},
        ([ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "scored",
        {"prompt": "a", "completions": [{"text": t, "score": s} for t, s in (("b", 1), ("c", 3.5), ("d", -1))]},
        ([ask("a")], [say("c")], [say("d")], 4.5),
    ),
    (
        "scored",  # Nectar: a transcript, and ranks
        {
            "prompt": "\n\nHuman: a\n\nAssistant: ",
            "answers": [{"answer": t, "rank": r} for t, r in (("b", 2), ("c", 1))],
        },
        ([ask("a")], [say("c")], [say("b")], 1.0),
    ),
    (
        "scored",  # UltraFeedback as it was published
        {
            "instruction": "a",
            "completions": [
                {
                    "response": t,
                    "overall_score": s,
                    "annotations": {"honesty": {"Rating": str(s)}, "truth": {"Rating": "N/A"}},
                }
                for t, s in (("b", 2), ("c", 5))
            ],
        },
        ([ask("a")], [say("c")], [say("b")], 3.0),
    ),
    (
        "pair",
        {"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 5, "score_rejected": "3.5"},
        ([ask("a")], [say("b")], [say("c")], 1.5),
    ),
    (
        "pair",  # as distilabel and axolotl's users write it
        {"system": "s", "question": "a", "chosen_response": "b", "rejected_response": "c"},
        ([sys("s"), ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "pair",
        {"prompt": "\n\nHuman: a\n\nAssistant:", "chosen": " b", "rejected": " c", "margin": 2},
        ([ask("a")], [say(" b")], [say(" c")], 2.0),
    ),
    (
        "common_beginning",
        {"chosen": "Where is it? It comes today.", "rejected": "Where is it? It is lost."},
        ([ask("Where is it? It")], [say("comes today.")], [say("is lost.")], None),
    ),
    (
        "comparison",
        {"instruction": "a", "input": "x", "output": ["b", "c"]},
        ([ask("a\n\nx")], [say("b")], [say("c")], None),
    ),
    (
        "tldr",
        {"info": {"post": "p", "title": "t"}, "summaries": [{"text": "b"}, {"text": "c"}], "choice": 1},
        ([ask("Title: t\n\np\n\nTL;DR:")], [say("c")], [say("b")], None),
    ),
    (
        "one_hot",
        {
            "prompt": '["a"]',
            "response_a": '["b"]',
            "response_b": '["c"]',
            "winner_model_a": 0,
            "winner_model_b": 1,
            "winner_tie": 0,
        },
        ([ask("a")], [say("c")], [say("b")], None),
    ),
    (
        "preference_strength",
        {"context": [ask("a")], "response1": "b", "response2": "c", "overall_preference": -2},
        ([ask("a")], [say("b")], [say("c")], 2.0),
    ),
    (
        "shp",
        {"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": 0, "score_A": 1, "score_B": 3},
        ([ask("a")], [say("c")], [say("b")], None),
    ),
    (
        "auto_j",
        {"prompt": "a", "response 1": "b", "response 2": "c", "label": 1},
        ([ask("a")], [say("c")], [say("b")], None),
    ),
    (
        "pandalm",
        {"instruction": "a", "input": "", "response1": "b", "response2": "c", "annotator1": 1},
        ([ask("a")], [say("b")], [say("c")], None),
    ),
    (
        "verdict",  # PKU-SafeRLHF
        {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1, "safer_response_id": 0},
        ([ask("a")], [say("c")], [say("b")], None),
    ),
    (
        "verdict",  # MT-Bench, of whose two turns the first is judged
        {
            "winner": "model_b",
            "turn": 1,
            "conversation_a": [ask("a"), say("b"), ask("d"), say("e")],
            "conversation_b": [ask("a"), say("c"), ask("d"), say("f")],
        },
        ([ask("a")], [say("c")], [say("b")], None),
    ),
    (
        "scored_sides",  # WebGPT
        {"question": {"full_text": "a", "id": "1"}, "answer_0": "b", "answer_1": "c", "score_0": -0.5, "score_1": 0.5},
        ([ask("a")], [say("c")], [say("b")], 1.0),
    ),
    (
        "rm_bench",
        {"prompt": "a", "chosen": ["b", "d"], "rejected": ["c", "e"]},
        ([ask("a")], [say("b")], [say("c")], 1.0),
    ),
    (
        "ranked",
        {"input": "a", "generations": ["b", "c", "d"], "ratings": [1, 5, 3]},
        ([ask("a")], [say("c")], [say("b")], 4.0),
    ),
    ("ranked", {"prompt": "a", "responses": ["b", "c"], "ranks": [2, 1]}, ([ask("a")], [say("c")], [say("b")], 1.0)),
    ("best_first", {"prompt": "a", "responses": ["b", "c"], "ranked": True}, ([ask("a")], [say("b")], [say("c")], 1.0)),
    (
        "judged_choices",
        {"input": "a", "targets": {"choices": ["b", "c"], "labels": [0, 1]}},
        ([ask("a")], [say("c")], [say("b")], 1.0),
    ),
    ("tree", {"message_tree_id": "1", "prompt": TREE}, ([ask("a")], [say("b")], [say("d")], 2.0)),
    (
        "steps",  # PRM800K
        {
            "question": {"problem": "a", "ground_truth_answer": "2"},
            "label": {
                "steps": [
                    {"completions": [{"text": "b", "rating": 1}, {"text": "c", "rating": -1}], "chosen_completion": 0}
                ]
            },
        },
        ([ask("a")], [say("b")], [say("c")], 2.0),
    ),
    (
        "step_labels",
        {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]},
        ([ask("a")], [say("b")], [say("b\nc")], 1.0),
    ),
    (
        "math_shepherd",
        {"input": "a Step 1: b ки\nStep 2: c ки", "label": "a Step 1: b +\nStep 2: c -", "task": "GSM8K"},
        ([ask("a")], [say("Step 1: b")], [say("Step 1: b\nStep 2: c")], 1.0),
    ),
]

PARTIAL = {"tree", *STEPS}

PROMPTS: list[tuple[str, dict[str, Any], list[Message]]] = [
    ("messages", {"messages": [ask("a"), say("b"), ask("c"), say("d")]}, [ask("a"), say("b"), ask("c")]),
    ("prompt", {"prompt": "a", "completion": "b"}, [ask("a")]),
    ("prompt", {"prompt": [sys("s"), ask("a")]}, [sys("s"), ask("a")]),
    ("instruction", {"instruction": "a", "input": "x", "output": "b"}, [ask("a\n\nx")]),
    ("question", {"question": "a", "answer": "b"}, [ask("a")]),
    ("text", {"text": "Once"}, [ask("Once")]),
    ("hh", {"chosen": HH + " d", "rejected": HH + " e"}, [ask("a"), say("b"), ask("c")]),
    ("implicit_prompt", {"chosen": [ask("a"), say("b")], "rejected": [ask("a"), say("c")]}, [ask("a")]),
    ("llamafactory", {"conversations": [human("a")], "chosen": gpt("b"), "rejected": gpt("c")}, [ask("a")]),
    ("sharegpt", {"conversations": [human("a"), gpt("b")]}, [ask("a")]),
    ("self_instruct", {"instruction": "a", "instances": [{"input": "x", "output": "b"}]}, [ask("a\n\nx")]),
]


def auto(kind: Kind, row: dict[str, Any], **settings: Any) -> tuple[str, Any]:
    name = recognise(row, kind)
    reader = Reader(kind, **settings)
    made = reader.read(row, "f:1")
    assert reader.seen == {name: 1}
    return name, one(made)


def one(records: list[Any]) -> Any:
    (record,) = records
    return record


@pytest.mark.parametrize(("name", "row", "messages"), DEMONSTRATIONS)
def test_demonstrations(name: str, row: dict[str, Any], messages: list[Message]) -> None:
    assert auto("demonstrations", row) == (name, Demonstration(messages, "f:1"))


@pytest.mark.parametrize(
    "text",
    [
        "Human: a Assistant: b Human: c",
        "USER: a ASSISTANT: b</s>USER: c",
        "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]",
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>",
    ],
)
def test_a_turn_that_nobody_answers_is_told(text: str) -> None:
    found, reason = Reader("demonstrations").read({"text": text}, "f:1")
    assert found == Demonstration([ask("a"), say("b")], "f:1") and str(reason) == "turn without an answer"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<s> You are a pirate. [INST] a [/INST] b </s>", "has words before its first turn, 'You are a pirate.'"),
        ("<s>[AVAILABLE_TOOLS][][/AVAILABLE_TOOLS][INST] a [/INST] b", r"holds \[AVAILABLE_TOOLS\]; tool calls"),
        (
            "<|im_start|>user\na<|im_end|>x\n<|im_start|>assistant\nb<|im_end|>",
            "has words after the end of a turn, 'x'",
        ),
        ("<｜User｜>a<｜Assistant｜>b<｜end▁of▁sentence｜>c", "has words after the end of a turn, 'c'"),
        (
            "<|start|>user<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>x<|end|>"
            "<|start|>assistant<|channel|>final<|message|>b",
            "has words after the end of a turn",
        ),
    ],
)
def test_words_outside_of_turns_are_a_fault(text: str, says: str) -> None:
    with pytest.raises(DataError, match=f"^text: {says}"):
        Reader("demonstrations").read({"text": text}, "f:1")


@pytest.mark.parametrize(("name", "row", "parts"), PREFERENCES)
def test_preferences(name: str, row: dict[str, Any], parts: tuple[Any, Any, Any, float | None]) -> None:
    prompt, chosen, rejected, margin = parts
    assert auto("preferences", row) == (name, Preference(prompt, chosen, rejected, "f:1", margin))


@pytest.mark.parametrize(("name", "row", "parts"), [case for case in PREFERENCES if case[0] not in PARTIAL])
def test_preferred_side_as_demonstration(name: str, row: dict[str, Any], parts: tuple[Any, Any, Any, Any]) -> None:
    prompt, chosen, _, _ = parts
    assert auto("demonstrations", row) == (name, Demonstration(prompt + chosen, "f:1"))


def test_every_pair_of_a_ranked_list() -> None:
    row = {"prompt": "a", "responses": ["b", "c", "d", "c "], "scores": [1, 3, 2, 2]}
    made = Reader("preferences", pairs="all").read(row, "f:1")
    told = [
        str(r) if isinstance(r, UnusableError) else (r.chosen[0]["content"], r.rejected[0]["content"], r.margin)
        for r in made
    ]  # type: ignore[union-attr]
    assert told == [("c", "d", 1.0), "identical", ("c", "b", 2.0), ("d", "b", 1.0), ("c ", "b", 1.0)]


def test_what_ranks_answers_is_named_where_it_is_not_clear() -> None:
    row = {"prompt": "a", "completions": [{"text": t, "wit": w, "truth": 3 - w} for t, w in (("b", 1), ("c", 2))]}
    with pytest.raises(
        DataError, match=r"score: is it wit or truth that says how good an answer is\? name it: data.rank_by"
    ):
        auto("preferences", row)
    assert auto("preferences", row, rank_by="truth")[1].chosen == [say("b")]
    with pytest.raises(DataError, match=r"data.rank_by: no number 'w' \(numbers found: wit, truth\)"):
        auto("preferences", row, rank_by="w")


def test_scores_against_the_choice_are_a_fault() -> None:
    with pytest.raises(DataError, match="margin: is -1; how much better the chosen answer is, 0 or more"):
        auto("preferences", {"prompt": "a", "chosen": "b", "rejected": "c", "margin": -1})
    with pytest.raises(DataError, match="score_rejected: is 4, above score_chosen's 2; swap the two answers"):
        auto("preferences", {"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 2, "score_rejected": 4})


@pytest.mark.parametrize(("name", "row", "messages"), PROMPTS)
def test_prompts(name: str, row: dict[str, Any], messages: list[Message]) -> None:
    assert auto("prompts", row) == (name, Prompt(messages, "f:1", row.get("answer")))


def test_a_prompt_keeps_the_right_answer_for_rules() -> None:
    pair = {"chosen": [ask("2 + 2?"), say("4")], "rejected": [ask("2 + 2?"), say("5")], "answer": 4}
    blank = {"prompt": "2 + 2?", "answer": " ", "ground_truth": "4"}
    for row in (blank, {"prompt": "2 + 2?", "answer": 4}, {"text": "2 + 2?", "answer": "4"}, pair):
        assert auto("prompts", row)[1].answer == "4"


def test_every_format_has_an_example() -> None:
    pairs = {name for name, *_ in PREFERENCES}
    assert pairs == FORMATS["preferences"].keys() - REFUSED
    assert (pairs - PARTIAL) | {name for name, *_ in DEMONSTRATIONS} == FORMATS["demonstrations"].keys() - REFUSED
    assert {name for name, *_ in PROMPTS} >= {"messages", "prompt", "instruction", "question", "text"}


@pytest.mark.parametrize(
    ("kind", "row", "reason"),
    [
        ("demonstrations", {"instruction": "a", "output_1": "b", "output_2": "c", "preference": 1.5}, "tie"),
        ("labels", {"instruction": "a", "output_1": "b", "output_2": "c", "preference": 1.5}, "tie"),
        ("preferences", {"instruction": "a", "output_1": "b", "output_2": "c", "preference": None}, "no judgement"),
        ("preferences", {"chosen": HH, "rejected": HH + " e"}, "empty answer"),
        ("preferences", {"chosen": HH + "b\n\nHuman: d", "rejected": HH + " e"}, "no answer at the end"),
        ("demonstrations", {"prompt": "a", "completion": "b", "label": False}, "labelled bad"),
        ("demonstrations", {"instruction": "a", "output": ""}, "empty answer"),
        ("prompts", {"text": " "}, "empty prompt"),
        ("preferences", {"prompt": "a", "completions": [{"text": "b", "score": 1}]}, "fewer than two answers"),
        ("scores", {"prompt": "a", "completions": []}, "no answers"),
        ("scores", {"prompt": "a", "responses": ["b"], "scores": [None]}, "answer without a number"),
    ],
)
def test_unusable_rows(kind: Kind, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableError, match=f"^{reason}$"):
        auto(kind, row)


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("demonstrations", {"messages": "a"}, "^messages: is a string; a list is needed"),
        (
            "demonstrations",
            {"query": None, "response": "b"},
            "^query: is missing or null; a string or a list is needed$",
        ),
        ("demonstrations", {"messages": [ask("a")]}, "^messages: ends with the user's turn; end with the assistant's"),
        ("demonstrations", {"instruction": "a", "output": None}, "^output: is missing or null; a string is needed$"),
        (
            "demonstrations",
            {"instruction": "a", "instances": []},
            "^instances: is an empty list; a list of {input, output}",
        ),
        (
            "preferences",
            {"prompt": "a", "chosen": 3, "rejected": "b"},
            "^chosen: is a number; a string or a list or an object is needed",
        ),
        (
            "preferences",
            {"instruction": "a", "output_1": "b", "output_2": "c", "preference": 3},
            "^preference: is 3; 1 ",
        ),
        (
            "preferences",
            {"instruction": "a", "output_1": "b", "output_2": "c", "preference": "x"},
            "^preference: is 'x'; a number",
        ),
        (
            "preferences",
            {"prompt": "a", "completions": [{"text": "b", "score": 1}, {"text": "c"}]},
            r"^completions\[1\]\.score: is None; a number",
        ),
        (
            "preferences",
            {"prompt": "a", "chosen": "b"},
            r"found prompt \(a string\), chosen \(a string\), which no format of preferences reads; "
            r"'pair' needs prompt and chosen and rejected \(rejected is missing\);",
        ),
        ("demonstrations", {}, "found none, which no format of demonstrations reads"),
    ],
)
def test_wrong_rows(kind: Kind, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        auto(kind, row)


def test_named_format() -> None:
    row = {"text": "x", "question": "a", "answer": "b"}
    assert Reader("demonstrations", "text").read(row, "f:1") == [Demonstration([say("x")], "f:1")]
    with pytest.raises(DataError, match=r"output or response: is missing \(fields found: instruction\)"):
        Reader("demonstrations", "alpaca").read({"instruction": "a"}, "f:1")
    with pytest.raises(DataError, match="no format 'aplaca' makes demonstrations; did you mean 'alpaca'"):
        format_of("demonstrations", "aplaca")
    with pytest.raises(DataError, match="no format 'alpaca' makes preferences; 'alpaca' makes demonstrations"):
        format_of("preferences", "alpaca")


RATED: list[tuple[Kind, str, dict[str, Any], list[tuple[str, dict[str, float]]]]] = [
    ("labels", "labelled", {"prompt": "a", "completion": "b", "label": True}, [("b", {"label": 1.0})]),
    ("labels", "labelled", {"prompt": "a", "completion": "b", "label": "0"}, [("b", {"label": 0.0})]),
    ("labels", "labelled_messages", {"messages": [ask("a"), say("b")], "label": False}, [("b", {"label": 0.0})]),
    (
        "labels",
        "pair",
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        [("b", {"label": 1.0}), ("c", {"label": 0.0})],
    ),
    (
        "scores",
        "scored_answer",
        {"prompt": "a", "response": "b", "helpfulness": 3, "verbosity": "1.5", "source": "x", "ok": True},
        [("b", {"helpfulness": 3.0, "verbosity": 1.5})],
    ),
    ("scores", "scored_answer", {"prompt": "a", "completion": "b", "score": 0.5}, [("b", {"score": 0.5})]),
    (
        "scores",
        "scored",
        {"prompt": "a", "completions": [{"text": "b", "score": 1}, {"text": "c", "score": 2, "tokens": 9}]},
        [("b", {"score": 1.0}), ("c", {"score": 2.0, "tokens": 9.0})],
    ),
]


@pytest.mark.parametrize(("kind", "name", "row", "expected"), RATED)
def test_rated_answers(kind: Kind, name: str, row: dict[str, Any], expected: list[tuple[str, dict]]) -> None:
    found, record = auto(kind, row)
    assert found == name and isinstance(record, Rated) and record.prompt == [ask("a")]
    assert [(answer[0]["content"], numbers) for answer, numbers in record.answers] == expected


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        ("labels", {"prompt": "a", "completion": "b", "label": "maybe"}, "label: is 'maybe'; true"),
        ("labels", {"messages": [say("b")], "label": True}, "no turn of the user's comes before"),
        ("scores", {"prompt": "a", "response": "b", "score": "good"}, "score: is 'good'; a field that holds a number"),
        ("scores", {"prompt": "a", "completions": [{"text": "b"}, 1]}, r"completions\[1\]: is a number; a list of"),
    ],
)
def test_ratings_that_someone_must_mend(kind: Kind, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        auto(kind, row)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "output_1": "b", "output_2": "c", "preference": 1.5},
        {"prompt": "a", "completions": [{"text": "b", "score": 1}, {"text": "c", "score": 1}]},
        {
            "prompt": "a",
            "completions": [{"text": "b", "score": 1}, {"text": "b", "score": 1}, {"text": "c", "score": 1}],
        },
    ],
)
def test_a_tie_says_so(row: dict[str, Any]) -> None:
    _, record = auto("preferences", row)
    assert isinstance(record, Preference) and record.tie
    assert {record.chosen[0]["content"], record.rejected[0]["content"]} == {"b", "c"}


@pytest.mark.parametrize(
    ("kind", "row", "unread"),
    [
        ("demonstrations", {"messages": [{**ask("a"), "id": 1}, {**say("b"), "name": None}]}, ["messages[].id"]),
        (
            "demonstrations",
            {"instruction": "a", "instances": [{"input": "x", "output": "b", "id": 1}]},
            ["instances[].id"],
        ),
        (
            "scores",
            {"prompt": "a", "completions": [{"text": "b", "annotations": {"wit": {"Rating": 1, "Why": "c"}}}]},
            ["completions[].annotations.wit.Why"],
        ),
        ("preferences", {"prompt": TREE | {"id": 1}}, []),
    ],
)
def test_fields_inside_others_that_are_not_read_are_told(kind: Kind, row: dict[str, Any], unread: list[str]) -> None:
    reader = Reader(kind)
    reader.read(row, "f:1")
    assert list(reader.unread) == unread
