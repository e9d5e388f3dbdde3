"""What tables, annotation tools, interfaces of model providers and other trainers write."""

import json
from typing import Any

import pytest

from rlhf.data.formats.reader import Reader, kind_of_row
from rlhf.data.records import Kind
from rlhf.errors import DataError
from tests.rlhf.data.datasets.rows import (
    ASK,
    BAD,
    GOOD,
    NO,
    SAY,
    SYS,
    D,
    L,
    P,
    Q,
    Rows,
    S,
    each,
    laid_out,
    parts,
    read,
    told,
)


def gemini(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": parts(text)}


def said_in_chatgpt(role: str, text: str) -> dict[str, Any]:
    return {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, "metadata": {}}


SIDE = {"type": "pairwise", "from_name": "pw", "to_name": "p,q", "value": {"selected": "right"}}


RATINGS = ((4, "submitted"), (1, "draft"))


BY_NUMBER = {
    "text": "a",
    "options": [{"id": i, "text": text} for i, text in enumerate("bcd", 1)],
    "accept": [2],
    "answer": "accept",
}
CHATGPT = {
    "title": "t",
    "create_time": 1.5,
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["1"]},
        "1": {"message": said_in_chatgpt("system", ""), "parent": "root", "children": ["2"]},
        "2": {"message": said_in_chatgpt("user", "a"), "parent": "1", "children": ["3", "4"]},
        "3": {"message": said_in_chatgpt("assistant", "c"), "parent": "2", "children": []},
        "4": {"message": said_in_chatgpt("assistant", "b"), "parent": "2", "children": []},
    },
    "current_node": "4",
}
CLAUDE = {
    "uuid": "u",
    "name": "n",
    "chat_messages": [
        {"uuid": "1", "text": "a", "sender": "human", "attachments": [], "files": []},
        {"uuid": "2", "text": "b", "sender": "assistant", "attachments": [], "files": []},
    ],
}
CHOICE = {
    "prompt": "a",
    "options": [{"id": 1, "text": "b"}, {"id": 2, "text": "c"}],
    "accept": [2],
    "answer": "accept",
    "_input_hash": 1,
    "_task_hash": 2,
    "_timestamp": 1,
}
"""Of Prodigy."""

TABLE = {"id": "1", "prompt": "a", "response_1": "b", "response_2": "c"}
READ: Rows = [
    (
        "argilla 2 table",
        P,
        {
            **TABLE,
            "preference.responses": ["response_2", "response_1"],
            "preference.responses.users": ["x", "y"],
            "preference.responses.status": ["submitted", "draft"],
        },
        "u:a | c > b",
    ),
    (
        "argilla 2 table, suggested",
        P,
        {
            **TABLE,
            "preference.responses": None,
            "preference.responses.status": None,
            "preference.suggestion": "response_1",
            "preference.suggestion.agent": "m",
        },
        "u:a | b > c",
    ),
    (
        "argilla 1 table",
        P,
        {
            **TABLE,
            "preference": [{"user_id": "x", "value": "response_2", "status": "submitted"}],
            "preference-suggestion": "response_1",
        },
        "u:a | c > b",
    ),
    (
        "argilla table that nobody answered",
        P,
        {**TABLE, "preference.responses": [], "preference.responses.status": []},
        "no judgement",
    ),
    ("langfuse", D, {"input": {"messages": [ASK]}, "output": SAY}, "u:a a:b"),
    ("corrections", D, {"prompt": "a", "response": "c", "corrected_response": "b"}, "u:a a:b"),
    (
        "a template in an answer",
        D,
        {"prompt": "a", "response": "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\nc"},
        "u:a a:<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\nc",
    ),
    ("chatgpt", D, CHATGPT, "u:a a:b"),
    ("chatgpt", Q, CHATGPT, "u:a"),
    ("claude", D, CLAUDE, "u:a a:b"),
    # ------------------------------------------------------------ tables and exports
    ("names in capitals", P, {"Prompt": "a", "CHOSEN": "b", " Rejected ": "c"}, "u:a | b > c"),
    ("messages in cells", P, {"prompt": "a", "chosen": json.dumps(GOOD), "rejected": json.dumps(BAD)}, "u:a | b > c"),
    ("messages as Python prints them", P, {"chosen": str(GOOD), "rejected": str(BAD)}, "u:a | b > c"),
    (
        "messages as NumPy prints them",
        P,
        {"chosen": str(GOOD).replace("}, {", "}\n {"), "rejected": str(BAD).replace("}, {", "}\n {")},
        "u:a | b > c",
    ),
    ("lists in cells", P, {"prompt": "a", "responses": '["b", "c"]', "scores": "[2, 1]"}, "u:a | b > c @1"),
    (
        "argilla 1: a rating",
        S,
        {"fields": {"prompt": "a", "response": "b"}, "metadata": {}, "external_id": None}
        | {"responses": [{"values": {"rating": {"value": n}}, "status": s} for n, s in RATINGS]}
        | {"suggestions": [{"question_name": "rating", "value": 3, "type": "model"}]},
        "u:a | b rating:4",
    ),
    (
        "argilla 1: a ranking that was suggested",
        P,
        {"fields": {"prompt": "a", "reply-1": "c", "reply-2": "b"}, "responses": []}
        | {"suggestions": [{"question_name": "r", "value": [{"rank": 3 - i, "value": f"reply-{i}"} for i in (1, 2)]}]},
        "u:a | b > c @1",
    ),
    (
        "argilla 2: most say",
        P,
        {"fields": {"prompt": "a", "response_1": "b", "response_2": "c"}, "suggestions": {}}
        | {"responses": {"preference": [{"value": f"response_{i}", "user_id": "u"} for i in (2, 1, 2)]}},
        "u:a | c > b",
    ),
    (
        "argilla: not judged",
        P,
        {"fields": {"prompt": "a", "response_1": "b", "response_2": "c"}, "responses": [], "suggestions": []},
        "no judgement",
    ),
    ("argilla: a prompt", Q, {"fields": {"prompt": "a"}, "responses": []}, "u:a"),
    (
        "transcripts beside their prompt",
        P,
        {"prompt": "\n\nHuman: a\n\nAssistant:", "chosen": "\n\nHuman: a\n\nAssistant: b"}
        | {"rejected": "\n\nHuman: a\n\nAssistant: c"},
        "u:a | b > c",
    ),
    ("a transcript to complete", D, {"prompt": "\n\nHuman: a\n\nAssistant:", "completion": " b"}, "u:a a: b"),
    ("an empty instruction", D, {"instruction": "", "input": "a", "output": "b"}, "u:a a:b"),
    ("passages", D, {"question": "a", "contexts": ["x", "y"], "answer": "b"}, "u:x\n\ny\n\na a:b"),
    ("dolly", Q, {"instruction": "a", "context": "x", "response": "b", "category": "qa"}, "u:a\n\nx"),
    ("good and bad", P, {"prompt": "a", "good_response": "b", "bad_response": "c"}, "u:a | b > c"),
    # ------------------------------------------------------------ annotation tools
    (
        "label studio pairwise",
        P,
        {
            "id": 1,
            "data": {"prompt": "a", "answer1": "b", "answer2": "c"},
            "annotations": [{"id": 1, "result": [SIDE], "was_cancelled": False}],
            "predictions": [],
        },
        "u:a | c > b",
    ),
    (
        "label studio min",
        P,
        {
            "id": 1,
            "prompt": "a",
            "answer1": "b",
            "answer2": "c",
            "comparison": "left",
            "annotator": 1,
            "annotation_id": 1,
            "created_at": "d",
            "lead_time": 1.0,
        },
        "u:a | b > c",
    ),
    (
        "label studio rating",
        S,
        {
            "id": 1,
            "data": {"prompt": "a", "response": "b"},
            "annotations": [
                {"result": [{"type": "rating", "from_name": "quality", "to_name": "r", "value": {"rating": 4}}]}
            ],
        },
        "u:a | b quality:4",
    ),
    (
        "label studio textarea",
        D,
        {
            "id": 1,
            "data": {"prompt": "a"},
            "annotations": [
                {
                    "result": [
                        {"type": "textarea", "from_name": "response", "to_name": "prompt", "value": {"text": ["b"]}}
                    ]
                }
            ],
        },
        "u:a a:b",
    ),
    (
        "label studio none",
        P,
        {"id": 1, "data": {"prompt": "a", "answer1": "b", "answer2": "c"}, "annotations": []},
        "no judgement",
    ),
    (
        "prodigy choice",
        P,
        CHOICE,
        "u:a | c > b @1",
    ),
    (
        "prodigy choice Q",
        Q,
        CHOICE,
        "u:a",
    ),
    *[
        (f"prodigy choice of {picked}", P, {**BY_NUMBER, "accept": picked}, told)
        for picked, told in (([2], "u:a | c > b @1"), ([2, 3], "u:a | c > b @1"), ([], "none picked by the annotator"))
    ],
    ("prodigy ignored", P, {**BY_NUMBER, "answer": "ignore"}, "ignored by the annotator"),
    (
        "prodigy binary",
        L,
        {"prompt": "a", "response": "b", "answer": "reject", "_input_hash": 1, "_task_hash": 2},
        "u:a | b label:0",
    ),
    (
        "prodigy binary D",
        D,
        {"prompt": "a", "response": "b", "answer": "reject", "_input_hash": 1, "_task_hash": 2},
        "labelled bad",
    ),
    # ------------------------------------------------------------ providers' interfaces and logs
    (
        "openai dpo",
        P,
        {
            "input": {"messages": [SYS, ASK], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [SAY],
            "non_preferred_output": [NO],
        },
        "s:s u:a | b > c",
    ),
    (
        "flat openai dpo",
        P,
        {"input": [SYS, ASK], "preferred_output": [SAY], "non_preferred_output": [NO]},
        "s:s u:a | b > c",
    ),
    (
        "fireworks/lmflow paired",
        P,
        {"chosen": {"messages": GOOD, "system": "s"}, "rejected": {"messages": BAD, "system": "s"}},
        "s:s u:a | b > c",
    ),
    (
        "vertex sft",
        D,
        {
            "systemInstruction": {"role": "system", "parts": parts("s")},
            "contents": [gemini("user", "a"), gemini("model", "b")],
        },
        "s:s u:a a:b",
    ),
    (
        "vertex pref",
        P,
        {
            "system_instruction": {"parts": parts("s")},
            "contents": [gemini("user", "a")],
            "completions": [
                {"score": 0, "completion": gemini("model", "c")},
                {"score": 1, "completion": gemini("model", "b")},
            ],
        },
        "s:s u:a | b > c @1",
    ),
    ("palm sft", D, {"input_text": "a", "output_text": "b"}, "u:a a:b"),
    ("palm rlhf", P, {"input_text": "a", "candidate_0": "b", "candidate_1": "c", "choice": 1}, "u:a | c > b"),
    (
        "bedrock",
        D,
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": parts("s"),
            "messages": [{"role": "user", "content": parts("a")}, {"role": "assistant", "content": parts("b")}],
        },
        "s:s u:a a:b",
    ),
    (
        "cohere",
        D,
        {
            "messages": [
                {"role": "System", "content": "s"},
                {"role": "User", "content": "a"},
                {"role": "Chatbot", "content": "b"},
            ]
        },
        "s:s u:a a:b",
    ),
    (
        "anthropic",
        D,
        {"system": "s", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, SAY]},
        "s:s u:a a:b",
    ),
    ("anthropic system blocks", D, {"system": [{"type": "text", "text": "s"}], "messages": GOOD}, "s:s u:a a:b"),
    (
        "openai responses",
        D,
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
            "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]}],
        },
        "u:a a:b",
    ),
    (
        "openai batch",
        Q,
        {
            "custom_id": "1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [SYS, ASK]},
        },
        "s:s u:a",
    ),
    ("openai evals", D, {"input": [SYS, ASK], "ideal": "b"}, "s:s u:a a:b"),
    ("openai evals", Q, {"input": [SYS, ASK], "ideal": "b"}, "s:s u:a = b"),
    (
        "langsmith",
        D,
        {"id": "1", "inputs": {"question": "a"}, "outputs": {"answer": "b"}, "metadata": {"x": 1}},
        "u:a a:b",
    ),
    ("langfuse", D, {"id": "1", "input": "a", "expectedOutput": "b", "metadata": None}, "u:a a:b"),
    ("braintrust", D, {"input": "a", "expected": "b", "output": "c", "scores": {"x": 1}}, "u:a a:b"),
    ("nemo gym", Q, {"responses_create_params": {"input": [ASK]}, "expected_answer": "2"}, "u:a = 2"),
    # ------------------------------------------------------------ other trainers' files
    ("ms-swift dpo", P, {"messages": [SYS, *GOOD], "rejected_response": "c"}, "s:s u:a | b > c"),
    ("ms-swift rejected_messages", P, {"messages": [SYS, *GOOD], "rejected_messages": [SYS, *BAD]}, "s:s u:a | b > c"),
    (
        "ms-swift query dpo",
        P,
        {"system": "s", "query": "a", "response": "b", "rejected_response": "c", "history": [["x", "y"]]},
        "s:s u:x a:y u:a | b > c",
    ),
    (
        "ms-swift query",
        D,
        {"system": "s", "query": "a", "response": "b", "history": [["x", "y"]]},
        "s:s u:x a:y u:a a:b",
    ),
    (
        "ms-swift query Q",
        Q,
        {"system": "s", "query": "a", "history": [["x", "y"]], "solution": "2"},
        "s:s u:x a:y u:a = 2",
    ),
    ("ms-swift sharegpt", D, {"system": "s", "conversation": [{"human": "a", "assistant": "b"}]}, "s:s u:a a:b"),
    (
        "xtuner",
        D,
        {"conversation": [{"system": "s", "input": "a", "output": "b"}, {"input": "c", "output": "d"}]},
        "s:s u:a a:b u:c a:d",
    ),
    (
        "verl rlhf D",
        D,
        {
            "data_source": "d",
            "prompt": [ASK],
            "extra_info": {"question": "a", "answer": "b"},
            "reward_model": {"ground_truth": "2"},
        },
        "u:a a:b",
    ),
    (
        "openrlhf prm",
        L,
        {"input": "a Step 1: b ки\nStep 2: c ки", "label": ["+", "-"]},
        "u:a | Step 1: b score:1 label:1 | Step 1: b\nStep 2: c score:0 label:0",
    ),
    (
        "openrlhf prm value",
        L,
        {"input": "a Step 1: b ки\nStep 2: c ки", "value": ["+", "-"]},
        "u:a | Step 1: b score:1 label:1 | Step 1: b\nStep 2: c score:0 label:0",
    ),
    ("slime", Q, {"prompt": [ASK], "label": "34"}, "u:a = 34"),
    ("kto as prompts", Q, {"prompt": "a", "completion": "b", "label": True}, "u:a"),
    ("torchtune pref", P, {"chosen_conversations": GOOD, "rejected_conversations": BAD}, "u:a | b > c"),
    (
        "colossal pref",
        P,
        {
            "context": [{"from": "user", "content": "a"}],
            "chosen": [{"from": "assistant", "content": "b"}],
            "rejected": [{"from": "assistant", "content": "c"}],
        },
        "u:a | b > c",
    ),
    (
        "colossal kto",
        L,
        {
            "prompt": [{"from": "user", "content": "a"}],
            "completion": {"from": "assistant", "content": "b"},
            "label": True,
        },
        "u:a | b label:1",
    ),
    ("colossal grpo", Q, {"messages": [ASK], "gt_answer": "2"}, "u:a = 2"),
    (
        "turbo-alignment",
        P,
        {
            "id": 0,
            "source": "x",
            "context": [ASK],
            "answer_winning": {"role": "bot", "content": "b"},
            "answer_losing": {"role": "bot", "content": "c"},
        },
        "u:a | b > c",
    ),
    (
        "turbo-alignment kto",
        L,
        {"id": 0, "context": [ASK], "answer": {"role": "bot", "content": "b"}, "is_desirable": True},
        "u:a | b label:1",
    ),
    ("pos neg", P, {"prompt": "a", "pos": "b", "neg": "c"}, "u:a | b > c"),
    ("lmflow conv", D, {"conversation_id": "1", "system": "s", "tools": [], "messages": GOOD}, "s:s u:a a:b"),
    (
        "nemo aligner steerlm",
        D,
        {
            "system": "s",
            "mask": "User",
            "conversations": [
                {"from": "User", "value": "a", "label": None},
                {"from": "Assistant", "value": "b", "label": "quality:4,toxicity:0"},
            ],
        },
        "s:s u:a a:b",
    ),
    (
        "deepspeed-chat rm-static",
        P,
        {"prompt": "\n\nHuman: a\n\nAssistant:", "response": " b", "chosen": " b", "rejected": " c"},
        "u:a |  b >  c",
    ),
    ("dpo history", P, {"prompt": "a", "chosen": "b", "rejected": "c", "history": [["q", "r"]]}, "u:q a:r u:a | b > c"),
    ("kto thumbs_up", L, {"prompt": "a", "response": "b", "thumbs_up": True}, "u:a | b label:1"),
    ("kto liked", L, {"query": "a", "response": "b", "liked": 0}, "u:a | b label:0"),
    ("kto text", L, {"prompt": "a", "response": "b", "label": "rejected"}, "u:a | b label:0"),
    ("kto thumbs D", D, {"prompt": "a", "response": "b", "label": "thumbs_down"}, "labelled bad"),
    ("kto_tag 0 D", D, {"prompt": "a", "response": "b", "kto_tag": 0}, "labelled bad"),
    ("label 0 D", D, {"prompt": "a", "completion": "b", "label": 0}, "labelled bad"),
    # ------------------------------------------------------------ laid out by some rows
    (
        "a template in some rows",
        P,
        [
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", "chosen": "b", "rejected": "c"},
        ],
        "u:a | b > c; u:a | b > c",
    ),
    (
        "messages as text in some rows",
        P,
        [
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": json.dumps([ASK]), "chosen": json.dumps([SAY]), "rejected": json.dumps([NO])},
        ],
        "u:a | b > c; u:a | b > c",
    ),
    (
        "prm steps/labels",
        L,
        {"question": "a", "steps": ["b", "c"], "labels": [1, 0]},
        "u:a | b score:1 label:1 | b\nc score:0 label:0",
    ),
    (
        "snorkel S",
        S,
        {
            "prompt_id": "1",
            "prompt": "a",
            "all_generated_responses": ["b", "c"],
            "all_rm_scores": [0.5, 0.1],
            "chosen": GOOD,
            "rejected": BAD,
        },
        "u:a | b score:0.5 | c score:0.1",
    ),
    ("one good many bad", P, {"prompt": "a", "chosen": "b", "rejected": ["c", "d"]}, "u:a | b > c @1"),
    (
        "openhermes pref",
        P,
        {
            "source": "s",
            "category": "c",
            "prompt": "a",
            "candidates_completions": ["b", "c"],
            "candidate_policies": ["x", "y"],
            "ranks": [1, 2],
            "rank_str": "b>c",
            "chosen": GOOD,
            "rejected": BAD,
        },
        "u:a | b > c",
    ),
]


@each(READ)
def test_read(kind: Kind, rows: Any, expected: str) -> None:
    assert read(kind, *rows) == expected


def constructed(name: str, content: str) -> dict[str, Any]:
    """A message as LangChain dumps it."""
    id_ = ["langchain", "schema", "messages", f"{name}Message"]
    return {"lc": 1, "type": "constructor", "id": id_, "kwargs": {"content": content, "tool_calls": []}}


ASKED, ANSWERED = {"type": "human", "content": "a"}, {"type": "ai", "data": {"content": "b"}}
CALLS: Rows = [
    (
        "openai log",
        D,
        {"request": {"model": "m", "messages": [ASK]}, "response": {"choices": [{"message": SAY}]}},
        "u:a a:b",
    ),
    ("openai log beside", D, {"messages": [ASK], "choices": [{"index": 0, "message": SAY}]}, "u:a a:b"),
    ("openai log of texts", D, {"prompt": "a", "choices": [{"text": "b", "finish_reason": "stop"}]}, "u:a a:b"),
    (
        "gemini log",
        D,
        {"contents": [gemini("user", "a")], "candidates": [{"content": gemini("model", "b")}]},
        "u:a a:b",
    ),
    ("gemini texts", D, {"contents": [{"role": "user", "parts": ["a"]}, {"role": "model", "parts": ["b"]}]}, "u:a a:b"),
    ("langchain", D, {"messages": [ASKED, ANSWERED]}, "u:a a:b"),
    ("langsmith", D, {"inputs": {"messages": [ASKED]}, "outputs": {"output": ANSWERED}}, "u:a a:b"),
    ("langsmith log", D, {"inputs": {"messages": [ASKED]}, "outputs": {"generations": [{"text": "b"}]}}, "u:a a:b"),
    (
        "langsmith log of prompts",
        D,
        {"inputs": {"messages": [ASKED]}, "outputs": {"generations": [[{"text": "b"}]]}},
        "u:a a:b",
    ),
    ("langchain's own", D, {"messages": [constructed("Human", "a"), constructed("AI", "b")]}, "u:a a:b"),
    ("a multiple choice", Q, {"question": "a", "choices": [{"label": "A", "text": "b"}]}, "u:a"),
]


@each(CALLS)
def test_calls_of_models(kind: Kind, rows: Any, expected: str) -> None:
    assert read(kind, *rows) == expected


@pytest.mark.parametrize(
    ("kind", "rows", "expected"), [pytest.param(kind, [row], said, id=n) for n, kind, row, said in CALLS]
)
def test_what_calls_of_models_are_known_as(kind: Kind, rows: list[Any], expected: str) -> None:
    ((_, row),) = laid_out(None, rows[0])
    assert kind_of_row(row) == kind


def test_an_empty_answer_of_a_call() -> None:
    assert read(D, {"messages": [ASKED, {"type": "ai", "content": ""}]}) == "empty answer"


@pytest.mark.parametrize(
    ("kind", "says"),
    [(P, "several answers: say how good each is in a list `scores`"), (D, "^responses: nothing says which answer is")],
)
def test_several_answers_of_a_call_are_to_be_judged(kind: Kind, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(kind, {"messages": [ASK], "choices": [{"message": SAY}, {"message": NO}]})


CALLED = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"messages": [ASK], "choices": [{"message": {**SAY, "tool_calls": CALLED}}]}, r"response\[0\]\.tool_calls"),
        ({"messages": [ASK], "choices": [{"message": {**SAY, "reasoning_content": "c"}}]}, r"response\[0\]\.reasoning"),
        ({"messages": [ASKED, {"type": "ai", "data": {"content": "", "tool_calls": CALLED}}]}, r"messages\[1\]\.tool"),
        (
            {"messages": [ASKED, {"type": "ai", "content": "b", "additional_kwargs": {"tool_calls": CALLED}}]},
            r"messages\[1\]\.tool",
        ),
    ],
)
def test_what_a_call_answered_besides_text_is_told(row: Any, field: str) -> None:
    with pytest.raises(DataError, match=rf"^{field}.* cannot be read; write them as text in content"):
        read(D, row)


@pytest.mark.parametrize(
    ("row", "unread"),
    [
        (
            {
                "messages": [ASK],
                "response": {"model": "m", "choices": [{"index": 0, "message": SAY, "finish_reason": "length"}]},
            },
            ["response.model", "response.choices[].finish_reason"],
        ),
        ({"input": {"messages": [ASK], "tools": CALLED}, "output": "b"}, ["input.tools"]),
        ({"inputs": {"question": "a"}, "outputs": {"answer": "b"}, "metadata": {"x": 1}}, ["metadata"]),
    ],
)
def test_what_else_is_in_a_field_of_fields_is_told(row: Any, unread: list[str]) -> None:
    ((where, row),) = laid_out(D, row)
    reader = Reader(D)
    assert [told(record) for record in reader.read(row, where)] == ["u:a a:b"]
    assert list(reader.unread) == unread


def test_options_that_are_no_text() -> None:
    pictures = {**BY_NUMBER, "options": [{"id": 2, "html": "<p>b"}]}
    with pytest.raises(DataError, match=r"options\[0\]\.text: is missing \(found: html\); only text can be read"):
        read(P, pictures)
