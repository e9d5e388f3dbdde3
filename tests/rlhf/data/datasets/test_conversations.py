"""Answers to imitate, and prompts."""

from typing import Any

import pytest

from rlhf.data.formats.reader import Reader, kind_of_row
from rlhf.data.records import Kind
from rlhf.errors import DataError
from tests.rlhf.data.datasets.rows import (
    ASK,
    BAD,
    GOOD,
    GPT,
    HUMAN,
    NO,
    SAY,
    SYS,
    D,
    P,
    Q,
    Rows,
    S,
    each,
    laid_out,
    read,
    share,
)

TIMES = "2024-01-01T00:00:05", "2024-01-01T00:00:01"

LATER = "u:a; follows an answer that is not there"
READ: Rows = [
    # ------------------------------------------------------------ demonstrations
    ("sharegpt with system", D, {"id": "1", "conversations": [share("system", "s"), HUMAN, GPT]}, "s:s u:a a:b"),
    ("two systems", D, {"system": "x", "conversations": [share("system", "s"), HUMAN, GPT]}, "s:s u:a a:b"),
    (
        "llama-factory tools",
        D,
        {"tools": "[]", "conversations": [HUMAN, share("function_call", "f"), share("observation", "o"), GPT]},
        "u:a a:f t:o a:b",
    ),
    (
        "nemo chat",
        D,
        {"system": "s", "mask": "User", "conversations": [share("User", "a"), share("Assistant", "b")], "type": "T"},
        "s:s u:a a:b",
    ),
    ("capybara", D, {"source": "s", "conversation": [{"input": "a", "output": "b"}]}, "u:a a:b"),
    ("lima", D, {"conversations": ["a", "b"], "source": "se"}, "u:a a:b"),
    ("no_robots", D, {"prompt": "a", "prompt_id": "i", "messages": GOOD, "category": "c"}, "u:a a:b"),
    (
        "magpie",
        D,
        {"uuid": "u", "instruction": "a", "response": "b", "conversations": [HUMAN, GPT], "instruct_reward": -1.0},
        "u:a a:b",
    ),
    ("dolly", D, {"instruction": "a", "context": "x", "response": "b", "category": "qa"}, "u:a\n\nx a:b"),
    ("flan", D, {"inputs": "a", "targets": "b", "task": "t"}, "u:a a:b"),
    ("natural-instructions", D, {"definition": "d", "inputs": "a", "targets": "b"}, "u:d\n\na a:b"),
    ("gsm8k", D, {"question": "a", "answer": "b #### 2"}, "u:a a:b #### 2"),
    ("math", D, {"problem": "a", "level": "Level 1", "type": "Algebra", "solution": "b"}, "u:a a:b"),
    ("math-500", D, {"problem": "a", "solution": "b", "answer": "2", "level": 1, "unique_id": "u"}, "u:a a:b"),
    ("aime", D, {"ID": "1", "Problem": "a", "Solution": "b", "Answer": 2}, "u:a a:b"),
    ("openmathinstruct-2", D, {"problem": "a", "generated_solution": "b", "expected_answer": "2"}, "u:a a:b"),
    ("openr1-math", D, {"problem": "a", "solution": "x", "generations": ["b"], "messages": GOOD}, "u:a a:b"),
    ("humaneval", D, {"task_id": "0", "prompt": "a", "canonical_solution": "b", "test": "t"}, "u:a a:b"),
    ("mbpp", D, {"task_id": 1, "text": "a", "code": "b", "test_list": ["t"]}, "u:a a:b"),
    ("squad", D, {"context": "x", "question": "a", "answers": {"text": ["b"], "answer_start": [1]}}, "u:x\n\na a:b"),
    ("axolotl context_qa", D, {"article": "x", "question": "a", "answer": "b"}, "u:x\n\na a:b"),
    ("samsum", D, {"id": "1", "dialogue": "a", "summary": "b"}, "u:a a:b"),
    ("cnn_dailymail", D, {"article": "a", "highlights": "b", "id": "1"}, "u:a a:b"),
    ("camel-ai", D, {"role_1": "x", "message_1": "a", "message_2": "b"}, "u:a a:b"),
    (
        "oasst_top1",
        D,
        {"text": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
        "u:a a:b",
    ),
    ("guanaco-llama2", D, {"text": "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\na [/INST] b </s>"}, "s:s u:a a:b"),
    ("hh as text", D, {"text": "\n\nHuman: a\n\nAssistant: b"}, "u:a a:b"),
    # ------------------------------------------------------------ prompts
    (
        "verl",
        Q,
        {"data_source": "gsm8k", "prompt": [ASK], "ability": "math", "extra_info": {"split": "train", "index": 0}}
        | {"reward_model": {"style": "rule", "ground_truth": "2"}},
        "u:a = 2",
    ),
    ("openrlhf", Q, {"input": "a", "answer": "2"}, "u:a = 2"),
    ("openrlhf/prompt-collection", Q, {"dataset": "d", "context": "x", "context_messages": [ASK], "id": "1"}, "u:a"),
    ("deepmath", Q, {"question": "a", "final_answer": "2", "difficulty": 5.0}, "u:a = 2"),
    ("trl deepmath", Q, {"prompt": [ASK], "solution": "2"}, "u:a = 2"),
    ("flan", Q, {"inputs": "a", "targets": "b", "task": "t"}, "u:a"),
    ("sharegpt prompts", Q, {"conversations": [HUMAN]}, "u:a"),
    ("wildchat", Q, {"conversation_hash": "h", "model": "m", "conversation": [ASK], "turn": 1}, "u:a"),
    # ------------------------------------------------------------ texts
    (
        "glaive v2",
        D,
        {"system": "SYSTEM: s", "chat": "USER: a\n\n\nASSISTANT: b <|endoftext|>\n\n\n"},
        "s:s u:a a:b",
    ),
    ("vicuna text", D, {"text": "A chat between x. USER: a ASSISTANT: b</s>"}, "s:A chat between x. u:a a:b"),
    (
        "llama3 text",
        D,
        {
            "text": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>"
        },
        "s:s u:a a:b",
    ),
    (
        "gemma text",
        D,
        {"text": "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"},
        "u:a a:b",
    ),
    ("zephyr text", D, {"text": "<|system|>\ns</s>\n<|user|>\na</s>\n<|assistant|>\nb</s>\n"}, "s:s u:a a:b"),
    ("phi3 text", D, {"text": "<|user|>\na<|end|>\n<|assistant|>\nb<|end|>\n<|endoftext|>"}, "u:a a:b"),
    (
        "alpaca text",
        D,
        {"text": "Below is an instruction.\n\n### Instruction:\na\n\n### Response:\nb"},
        "s:Below is an instruction. u:a a:b",
    ),
    (
        "alpaca text inp",
        D,
        {"text": "Below is an instruction.\n\n### Instruction:\na\n\n### Input:\nx\n\n### Response:\nb"},
        "s:Below is an instruction. u:a\n\nx a:b",
    ),
    ("chatml prompt col", Q, {"prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"}, "u:a"),
    (
        "chatml pair",
        P,
        {
            "prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n",
            "chosen": "b<|im_end|>",
            "rejected": "c<|im_end|>",
        },
        "u:a | b > c",
    ),
    (
        "chatml chosen",
        P,
        {
            "chosen": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>",
            "rejected": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nc<|im_end|>",
        },
        "u:a | b > c",
    ),
    (
        "red team",
        D,
        {
            "min_harmlessness_score_transcript": -1.0,
            "num_params": "52B",
            "model_type": "rlhf",
            "transcript": "\n\nHuman: a\n\nAssistant: b",
            "rating": 4.0,
            "task_description": "d",
            "tags": None,
        },
        "u:a a:b",
    ),
    (
        "r1 distill zh",
        D,
        {"input": "a", "content": "b", "reasoning_content": "r", "repo_name": "x", "score": 10},
        "u:a a:b",
    ),
    ("cosmopedia", D, {"prompt": "a", "text_token_length": 3, "text": "b", "format": "f"}, "u:a a:b"),
    ("text and answer", D, {"text": "a", "response": "b"}, "u:a a:b"),
    ("text that holds its answer", D, {"text": "a b", "response": "b"}, "a:a b"),
    ("text of turns", D, {"text": "### Human: a ### Assistant: b", "output": "c"}, "u:a a:b"),
    ("text and two answers", P, {"text": "a", "response_a": "b", "response_b": "c", "label": "a"}, "u:a | b > c"),
    ("text and a pair", P, {"text": "a", "chosen": "x b", "rejected": "x c"}, "u:a | x b > x c"),
    ("text and scores", P, {"text": "a", "responses": ["b", "c"], "scores": [2, 1]}, "u:a | b > c @1"),
    ("deepseek's prompt", Q, {"prompt": "s<｜User｜>a<｜Assistant｜>"}, "s:s u:a"),
    ("number", D, {"prompt": "a", "completion": 4.5}, "u:a a:4.5"),
    ("number to compare with", Q, {"question": "a", "answer": 4}, "u:a = 4"),
    ("bytes", D, {"prompt": b"a", "completion": "\u00e9".encode(), "picture": b"\xff"}, "u:a a:\u00e9"),
    ("tweet", D, {"user": "john", "text": "b"}, "a:b"),
    # ------------------------------------------------------------ other conversations
    ("mt-bench questions", Q, {"question_id": 81, "category": "w", "turns": ["a", "b"]}, LATER),
    (
        "arena-hard questions",
        Q,
        {"question_id": 1, "category": "w", "cluster": "c", "turns": [{"content": "a"}]},
        "u:a",
    ),
    ("vicuna bench", Q, {"question_id": 1, "text": "a", "category": "generic"}, "u:a"),
    ("sharegpt items", D, {"id": "1", "items": [HUMAN, GPT]}, "u:a a:b"),
    (
        "openchat",
        D,
        {
            "items": [
                {"role": "user", "content": "a", "weight": 0.0},
                {"role": "assistant", "content": "b", "weight": 1.0},
            ],
            "system": "s",
        },
        "s:s u:a a:b",
    ),
    ("openorca", D, {"id": "1", "system_prompt": "s", "question": "a", "response": "b"}, "s:s u:a a:b"),
    (
        "firefly",
        D,
        {"conversation_id": 1, "category": "c", "conversation": [{"human": "a", "assistant": "b"}], "dataset": "m"},
        "u:a a:b",
    ),
    ("firefly 1", D, {"kind": "k", "input": "a", "target": "b"}, "u:a a:b"),
    (
        "nemotron post",
        D,
        {
            "input": [SYS, ASK],
            "output": "b",
            "category": "math",
            "license": "l",
            "reasoning": "on",
            "generator": "g",
            "used_in_training": "y",
            "version": "1",
            "system_prompt": "s",
        },
        "s:s u:a a:b",
    ),
    ("system user assistant", D, {"system": "s", "user": "a", "assistant": "b"}, "s:s u:a a:b"),
    ("human assistant", D, {"human": "a", "assistant": "b"}, "u:a a:b"),
    ("user_message", D, {"user_message": "a", "assistant_message": "b"}, "u:a a:b"),
    (
        "self_instruct",
        D,
        {"id": "1", "instruction": "a", "instances": [{"input": "x", "output": "b"}, {"input": "y", "output": "c"}]},
        "u:a\n\nx a:b; u:a\n\ny a:c",
    ),
    ("messages+completion", D, {"messages": [ASK], "completion": "b"}, "u:a a:b"),
    ("prompt dict", Q, {"prompt": {"role": "user", "content": "a"}}, "u:a"),
    ("response dict", D, {"prompt": "a", "response": {"role": "assistant", "content": "b"}}, "u:a a:b"),
    (
        "flat messages",
        D,
        [
            {"conversation_id": "1", **ASK},
            {"conversation_id": "1", **SAY},
            {"conversation_id": "2", **ASK},
            {"conversation_id": "2", **NO},
        ],
        "u:a a:b; u:a a:c",
    ),
    (
        "flat messages among each other",
        D,
        [{"conversation_id": i, "turn": n, **say} for n, say in enumerate((ASK, SAY)) for i in (1, 2)],
        "u:a a:b; u:a a:b",
    ),
    *[
        (
            f"flat messages by {name}",
            D,
            [{"chat_id": 1, name: late, **SAY}, {"chat_id": 1, name: early, **ASK}],
            "u:a a:b",
        )
        for name, late, early in (("message_index", 10, 9), ("turn_id", "10", "9"), ("created_at", *TIMES))
    ],
    (
        "flat messages by turn, then by time",
        D,
        [
            {"chat_id": 1, "turn": turn, "time": time, **say}
            for turn, time, say in ((1, TIMES[0], NO), (0, TIMES[0], SAY), (0, TIMES[1], ASK))
        ],
        "u:a a:b a:c",
    ),
    (
        "flat messages of turns that are exchanges",
        D,
        [{"chat_id": 1, "turn": i // 2, "timestamp": 5, **say} for i, say in enumerate((*GOOD, *BAD))],
        "u:a a:b u:a a:c",
    ),
    ("flat messages with a system", D, [{"chat_id": 1, "system": "s", **say} for say in GOOD], "s:s u:a a:b"),
    ("prompts in one line", P, {"prompt": "Human: a Assistant: ", "chosen": "b", "rejected": "c"}, "u:a | b > c"),
    ("rm_oa_hh", P, {"prompt": "prompter: a", "chosen": "b", "rejected": "c", "lang": "en"}, "u:a | b > c"),
    ("a dialogue to write", D, {"prompt": "a", "completion": "Human: x\nAssistant: y"}, "u:a a:Human: x\nAssistant: y"),
    ("a dialogue to go on", D, {"prompt": "Human: x\nAssistant: y", "completion": "b"}, "u:Human: x\nAssistant: y a:b"),
    (
        "a dialogue in two ways",
        P,
        {"chosen": "Human: a Assistant: It is b", "rejected": "Human: a Assistant: It is c"},
        "u:a | It is b > It is c",
    ),
    (
        "a dialogue that ends in two ways",
        P,
        {"chosen": "User: a\nAssistant:\nb", "rejected": "User: a\nAssistant:\nc"},
        "u:a | b > c",
    ),
    ("vicuna prompt", D, {"prompt": "A chat. USER: a ASSISTANT:", "completion": "b"}, "s:A chat. u:a a:b"),
    ("openassistant-guanaco pairs", Q, {"prompt": "prompter: a assistant: b prompter: c"}, "u:a a:b u:c"),
    (
        "helpsteer2 turns",
        S,
        {"prompt": "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "response": "d", "helpfulness": 4},
        "u:a a:b u:c | d helpfulness:4",
    ),
    ("flat messages of odd times", D, [{"chat_id": 1, "date": "a while ago", **say} for say in (ASK, SAY)], "u:a a:b"),
    (
        "toxic chat",
        Q,
        {"conv_id": "1", "user_input": "a", "model_output": "b", "human_annotation": True, "toxicity": 0},
        "u:a",
    ),
    # ------------------------------------------------------------ a choice of answers
    ("mmlu", D, {"question": "a", "subject": "s", "choices": ["b", "c"], "answer": 1}, "u:a\n\nA. b\nB. c a:B"),
    ("mmlu", Q, {"question": "a", "subject": "s", "choices": ["b", "c"], "answer": 1}, "u:a\n\nA. b\nB. c = B"),
    (
        "mmlu-pro",
        D,
        {"question": "a", "options": ["b", "c"], "answer": "B", "answer_index": 1},
        "u:a\n\nA. b\nB. c a:B",
    ),
    (
        "mmlu-pro",
        Q,
        {"question": "a", "options": ["b", "c"], "answer": "B", "answer_index": 1, "cot_content": "", "category": "c"},
        "u:a\n\nA. b\nB. c = B",
    ),
    (
        "arc",
        Q,
        {"id": "1", "question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "B"},
        "u:a\n\nA. b\nB. c = B",
    ),
    (
        "ceval",
        Q,
        {"id": 0, "question": "a", "A": "b", "B": "c", "C": "d", "D": "e", "answer": "C", "explanation": ""},
        "u:a\n\nA. b\nB. c\nC. d\nD. e = C",
    ),
    (
        "medqa",
        Q,
        {"question": "a", "options": {"A": "b", "B": "c"}, "answer_idx": "B", "answer": "c", "meta_info": "m"},
        "u:a\n\nA. b\nB. c = c",
    ),
]


@each(READ)
def test_read(kind: Kind, rows: Any, expected: str) -> None:
    assert read(kind, *rows) == expected


def test_conversations_without_names_are_read() -> None:
    assert read(D, GOOD, BAD) == "u:a a:b; u:a a:c"


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ({"chat_id": 1, "turn": None}, "turn: is None in a message of the conversation; all numbers or all times"),
        ({"chat_id": 1, "turn": -1, "time": 3}, "time: is None in a message of the conversation"),
        ({"chat_id": [1], "turn": 1}, "conversation_id: is missing or null; the number of its conversation is needed"),
    ],
    ids=["order", "second order", "number"],
)
def test_messages_of_which_nobody_knows_when_they_come(odd: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(D, {"chat_id": 1, "turn": 0, **ASK}, {**odd, **SAY})


@pytest.mark.parametrize(("answer", "kind"), [("answer", Q), ("completion", D)])
def test_what_a_number_beside_a_prompt_is(answer: str, kind: Kind) -> None:
    ((_, row),) = laid_out(None, {"prompt": "a", answer: 4})
    assert kind_of_row(row) == kind


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(DataError, match=r"^prompt: is bytes; a string or a list is needed"):
        read(D, {"prompt": b"\xff", "completion": "b"})


def test_messages_of_one_number_must_be_in_order() -> None:
    rows = [{"chat_id": 7, "turn": turn, **say} for turn, say in ((1, ASK), (0, SAY), (0, ASK))]
    with pytest.raises(
        DataError, match=r"^turn: is the same for messages of conversation 7; give each of them its own$"
    ):
        read(D, *rows)


def test_what_flat_messages_have_besides_is_told() -> None:
    rows = [{"chat_id": 1, "turn": i, "model": "m", "note": None, **say} for i, say in enumerate(GOOD)]
    ((_, row),) = laid_out(D, *rows)
    reader = Reader(D)
    reader.read(row, "f:1")
    assert reader.unread == {"messages[].model": 1}
