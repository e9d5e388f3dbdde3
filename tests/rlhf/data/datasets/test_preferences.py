"""Pairs, and verdicts on two answers."""

from typing import Any

from rlhf.data.records import Kind
from tests.rlhf.data.datasets.rows import ASK, ASKED, BAD, GOOD, NO, POST, SAY, D, P, Rows, each, read, share

ARENA = {"model_a": "x", "model_b": "y", "conversation_a": GOOD, "conversation_b": BAD, "language": "English"}


KAGGLE = {"id": "1", "model_a": "x", "model_b": "y", "winner_model_a": "1", "winner_model_b": "0", "winner_tie": "0"}


READ: Rows = [
    # ------------------------------------------------------------ pairs
    ("hh", P, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "u:a | b > c"),
    (
        "helpsteer3 edits",
        P,
        {"context": [ASK], "original_response": "x", "good_edited_response": "b", "bad_edited_response": "c"},
        "u:a | b > c",
    ),
    ("prompt a string, answers messages", P, {"prompt": "a", "chosen": [SAY], "rejected": [NO]}, "u:a | b > c"),
    (
        "ultrafeedback_binarized",
        P,
        {"prompt": "a", "prompt_id": "x", "chosen": GOOD, "rejected": BAD, "messages": GOOD}
        | {"score_chosen": 8.0, "score_rejected": 7.5},
        "u:a | b > c @0.5",
    ),
    (
        "argilla/ultrafeedback-binarized-preferences",
        P,
        {"source": "s", "instruction": "a", "chosen_response": "b", "rejected_response": "c"}
        | {"chosen_avg_rating": 5.0, "rejected_avg_rating": 4.0, "chosen_model": "x"},
        "u:a | b > c @1",
    ),
    (
        "argilla/ultrafeedback-binarized-preferences-cleaned",
        P,
        {"source": "s", "prompt": "a", "chosen": GOOD, "chosen-rating": 5.0, "chosen-model": "x"}
        | {"rejected": BAD, "rejected-rating": 4.0, "rejected-model": "y"},
        "u:a | b > c @1",
    ),
    (
        "argilla/dpo-mix-7k",
        P,
        {"dataset": "d", "chosen": GOOD, "chosen_rating": 5.0, "rejected": BAD, "rejected_rating": 4.0},
        "u:a | b > c @1",
    ),
    (
        "argilla/distilabel-intel-orca-dpo-pairs: tie",
        P,
        {"system": "s", "input": "a", "chosen": "b", "rejected": "c", "generations": ["b", "c"], "rating": [9.0, 9.0]}
        | {"status": "tie", "chosen_score": 9.0, "in_gsm8k_train": False},
        "s:s u:a | b = c",
    ),
    ("orca_dpo_pairs", P, {"system": "", "question": "a", "chosen": "b", "rejected": "c"}, "u:a | b > c"),
    ("axolotl chatml.icr", P, {"system": "s", "input": "a", "chosen": "b", "rejected": "c"}, "s:s u:a | b > c"),
    ("axolotl llama3.ultra", P, {"system": "s", "prompt": "a", "chosen": GOOD, "rejected": BAD}, "s:s u:a | b > c"),
    ("axolotl chat_template", P, {"messages": [ASK], "chosen": SAY, "rejected": NO}, "u:a | b > c"),
    ("llama-factory dpo", P, {"instruction": "a", "input": "x", "chosen": "b", "rejected": "c"}, "u:a\n\nx | b > c"),
    (
        "processed-hh-rlhf",
        P,
        {"context": [{"role": "human", "text": "a"}], "chosen": {"role": "assistant", "text": "b"}}
        | {"rejected": {"role": "assistant", "text": "c"}},
        "u:a | b > c",
    ),
    (
        "tulu-3-preference-mixture",
        P,
        {"id": "1", "source": "s", "prompt": "a", "chosen": GOOD, "rejected": BAD},
        "u:a | b > c",
    ),
    ("skywork-reward-preference", P, {"chosen": GOOD, "rejected": BAD, "source": "s"}, "u:a | b > c"),
    (
        "rewardbench",
        P,
        {"prompt": "a", "chosen": "b", "chosen_model": "x", "rejected": "c", "rejected_model": "y"}
        | {"subset": "alpacaeval-easy", "id": 0},
        "u:a | b > c",
    ),
    (
        "rewardbench-2",
        P,
        {"id": "1", "prompt": "a", "chosen": ["b"], "rejected": ["c", "d", "e"], "num_correct": 1, "models": ["x"]},
        "u:a | b > c @1",
    ),
    ("rm-bench", P, {"id": "1", "prompt": "a", "chosen": ["b"], "rejected": ["c"], "domain": "chat"}, "u:a | b > c @1"),
    (
        "nemo-aligner dpo",
        P,
        {"prompt": "a", "chosen_response": "b", "rejected_response": "c", "chosen_reward": 1.0, "rejected_reward": 0.0},
        "u:a | b > c @1",
    ),
    (
        "ultrainteract_pair",
        P,
        {"task": "t", "trajectory": [share("user", "a")], "chosen": "b", "rejected": "c", "id": "1", "parent_id": "0"},
        "u:a | b > c",
    ),
    (
        "math-step-dpo-10k",
        P,
        {"dataset": "d", "prompt": "a", "initial_reason_steps": "1. ", "chosen": "b", "rejected": "c"}
        | {"full_chosen": "fb", "full_rejected": "fc", "answer": "2"},
        "u:a | 1. b > 1. c",
    ),
    ("a context", P, {"question": "a", "context": "x", "chosen": "b", "rejected": "c"}, "u:x\n\na | b > c"),
    ("trl implicit prompt", P, {"chosen": "It is b.", "rejected": "It is c."}, "u:It is | b. > c."),
    # ------------------------------------------------------------ verdicts
    (
        "mt_bench_human_judgments",
        P,
        {**ARENA, "question_id": 81, "winner": "model_b", "judge": "e", "turn": 1},
        "u:a | c > b",
    ),
    ("chatbot_arena", P, {**ARENA, "winner": "tie (bothbad)", "judge": "j", "turn": 1, "tstamp": 1.0}, "u:a | b = c"),
    ("arena-human-preference-100k", P, {**ARENA, "winner": "model_a", "turn": 1, "is_code": False}, "u:a | b > c"),
    (
        "arena-human-preference-140k",
        P,
        {
            "winner": "both_bad",
            "evaluation_session_id": "e",
            **{
                f"conversation_{side}": [
                    {**message, "content": [{"type": "text", "text": message["content"], "image": None}]}
                    for message in talk
                ]
                for side, talk in (("a", GOOD), ("b", BAD))
            },
        },
        "u:a | b = c",
    ),
    (
        "lmsys 55k of Kaggle",
        P,
        {**KAGGLE, "prompt": '["a","d"]', "response_a": '["b","e"]', "response_b": '["c","f"]'},
        "u:a | a:b u:d a:e > a:c u:d a:f",
    ),
    (
        "lmsys 55k of Kaggle: null",
        P,
        {**KAGGLE, "prompt": '["a"]', "response_a": '["b"]', "response_b": "[null]"},
        "empty answer",
    ),
    (
        "alpaca_eval",
        P,
        {"instruction": "a", "output_1": "b", "generator_1": "x", "output_2": "c", "generator_2": "y"}
        | {"annotator": "gpt4", "preference": 1.0, "raw_completion": None},
        "u:a | b > c",
    ),
    ("rlcd", P, {"instruction": "a", "input": None, "output_1": "b", "output_2": "c", "preference": 2}, "u:a | c > b"),
    (
        "pandalm: two of three",
        P,
        {"idx": 0, "motivation_app": "G", "cmp_key": "k", "instruction": "a", "input": None, "response1": "b"}
        | {"response2": "c", "annotator1": 2, "annotator2": 1, "annotator3": 1},
        "u:a | b > c",
    ),
    (
        "pandalm: three of three",
        P,
        {"instruction": "a", "response1": "b", "response2": "c", "annotator1": 2, "annotator2": 1, "annotator3": 0},
        "annotators disagree",
    ),
    ("auto-j", P, {"scenario": "s", "label": 2, "prompt": "a", "response 1": "b", "response 2": "c"}, "u:a | b = c"),
    (
        "judgebench",
        P,
        {"pair_id": "p", "original_id": 1, "source": "mmlu", "question": "a", "response_model": "g"}
        | {"response_A": "b", "response_B": "c", "label": "B>A"},
        "u:a | c > b",
    ),
    ("arena-hard judge", P, {"question": "a", "answer_a": "b", "answer_b": "c", "verdict": "A >> B"}, "u:a | b > c"),
    ("a judge's [[B]]", P, {"question": "a", "answer_a": "b", "answer_b": "c", "verdict": "[[B]]"}, "u:a | c > b"),
    ("offsetbias", P, {"instruction": "a", "output_1": "b", "output_2": "c", "label": 2, "source": "s"}, "u:a | c > b"),
    (
        "helpsteer2 preference",
        P,
        {"split": "train", "prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": -2}
        | {"preference_statement": "s", "preference_elaboration": "e", "all_preferences_unprocessed": []},
        "u:a | b > c @2",
    ),
    (
        "helpsteer3",
        P,
        {"domain": "code", "language": "python", "context": [ASK], "response1": "b", "response2": "c"}
        | {"overall_preference": 2, "individual_preference": [{"score": 2, "reasoning": "r"}]},
        "u:a | c > b @2",
    ),
    (
        "pku-saferlhf",
        P,
        {"prompt": "a", "response_0": "b", "response_1": "c", "is_response_0_safe": False, "is_response_1_safe": True}
        | {"better_response_id": 0, "safer_response_id": 1, "response_0_sha256": "h"},
        "u:a | b > c",
    ),
    (
        "shp-2",
        P,
        {"post_id": "p", "domain": "d", "history": "a", "score_A": 5, "score_B": 9, "human_ref_A": "b"}
        | {"human_ref_B": "c", "labels": 0, "seconds_difference": 1.0, "score_ratio": 1.8},
        "u:a | c > b",
    ),
    (
        "webgpt_comparisons",
        P,
        {"question": {"dataset": "eli5", "id": "1", "full_text": "a"}, "quotes_0": {"title": [], "extract": []}}
        | {"answer_0": "b", "tokens_0": {}, "score_0": -0.5, "answer_1": "c", "tokens_1": {}, "score_1": 0.5},
        "u:a | c > b @1",
    ),
    (
        "summarize_from_feedback comparisons",
        P,
        {"info": POST, "summaries": [{"text": "b", "policy": "x", "note": "n"}, {"text": "c", "policy": "y"}]}
        | {"choice": 1, "worker": "w", "batch": "b", "split": "train", "extra": {"confidence": None}},
        f"{ASKED} | c > b",
    ),
    # ------------------------------------------------------------ verdicts by other names
    (
        "ppe",
        P,
        {
            "question_id": 1,
            "model_1": "x",
            "model_2": "y",
            "prompt": "a",
            "response_1": "b",
            "response_2": "c",
            "winner": "model_2",
            "hard_prompt": True,
        },
        "u:a | c > b",
    ),
    (
        "winner by model",
        P,
        {"prompt": "a", "model_a": "gpt", "model_b": "llama", "response_a": "b", "response_b": "c", "winner": "llama"},
        "u:a | c > b",
    ),
    (
        "comparia",
        P,
        {
            "id": 1,
            "opening_msg": "a",
            "model_a_name": "x",
            "model_b_name": "y",
            "conversation_a": GOOD,
            "conversation_b": BAD,
            "chosen_model_name": "y",
            "both_equal": False,
        },
        "u:a | c > b",
    ),
    (
        "search arena",
        P,
        {"model_a": "x", "model_b": "y", "messages_a": GOOD, "messages_b": BAD, "winner": "model_b", "turn": 1},
        "u:a | c > b",
    ),
    (
        "named letters",
        P,
        {"prompt": "a", "response_A": "b", "response_B": "c", "chosen": "B", "rejected": "A"},
        "u:a | c > b",
    ),
    (
        "winner loser",
        P,
        {"prompt": "a", "response_a": "b", "response_b": "c", "winner": "b", "loser": "a"},
        "u:a | c > b",
    ),
    (
        "chosen model names",
        P,
        {"prompt": "a", "response_1": "b", "response_2": "c", "chosen": "response_2", "rejected": "response_1"},
        "u:a | c > b",
    ),
    ("left right", P, {"prompt": "a", "response_a": "b", "response_b": "c", "preference": "right"}, "u:a | c > b"),
    (
        "rating sides",
        P,
        {"prompt": "a", "response_a": "b", "response_b": "c", "rating_a": 3, "rating_b": 5},
        "u:a | c > b @2",
    ),
    (
        "side scores",
        P,
        {"prompt": "a", "response_1": "b", "response_2": "c", "response_1_score": 3, "response_2_score": 5},
        "u:a | c > b @2",
    ),
    ("google sheet", P, {"Prompt": "a", "Response A": "b", "Response B": "c", "Preferred": "A"}, "u:a | b > c"),
    (
        "google sheet 2",
        P,
        {"Prompt": "a", "Response 1": "b", "Response 2": "c", "Better Response": "Response 2"},
        "u:a | c > b",
    ),
    (
        "scale",
        P,
        {"prompt": "a", "response_1": "b", "response_2": "c", "preferred_response": "response_2"},
        "u:a | c > b",
    ),
    # ------------------------------------------------------------ what stands beside
    ("a context", D, {"prompt": "a", "context": "x", "response": "b"}, "u:x\n\na a:b"),
    ("a context in the prompt", D, {"prompt": "x: a", "context": "x", "response": "b"}, "u:x: a a:b"),
    ("an input", D, {"prompt": "a", "input": "x", "output": "b"}, "u:a\n\nx a:b"),
    ("an order and a question", D, {"instruction": "x", "question": "a", "answer": "b"}, "u:x\n\na a:b"),
    (
        "an order and a query P",
        P,
        {"instruction": "x", "query": "a", "chosen": "b", "rejected": "c"},
        "u:x\n\na | b > c",
    ),
    ("what was expected", D, {"instruction": "a", "output": "c", "expected_output": "b"}, "u:a a:b"),
    (
        "transcripts and their prompt",
        P,
        {"prompt": "a", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        "u:a | b > c",
    ),
    (
        "transcripts and another prompt",
        P,
        {"prompt": "x", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        "prompt is not that of the answers",
    ),
]


@each(READ)
def test_read(kind: Kind, rows: Any, expected: str) -> None:
    assert read(kind, *rows) == expected
