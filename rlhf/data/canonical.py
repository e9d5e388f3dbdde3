"""One way to write each record: rows of JSON, which the formats read back as an equal record (but for `where`)."""

from rlhf.data.formats.table import Row
from rlhf.data.records import LABEL, Demonstration, Preference, Prompt, Rated, Record


def rows_of(record: Record) -> list[Row]:
    """A record's rows: one, or one for each answer where all that was said of the answers is good or bad.

    Preferences {prompt, chosen, rejected, margin?, tie?}, demonstrations {messages}, prompts {prompt, answer?}, labels
    {prompt, completion, label}, scores {prompt, responses: [{text, a number by its name, …}]}.
    """
    if isinstance(record, Rated) and all(numbers in ({LABEL: 1}, {LABEL: 0}) for _, numbers in record.answers):
        return [
            {"prompt": record.prompt, "completion": answer, "label": numbers[LABEL] == 1}
            for answer, numbers in record.answers
        ]
    return [row_of(record)]


def row_of(record: Record) -> Row:
    """A record as one row; labels are written with the scores, as 1 and 0."""
    match record:
        case Preference():
            margin = {} if record.margin is None else {"margin": record.margin}
            tie = {"tie": True} if record.tie else {}
            return {"prompt": record.prompt, "chosen": record.chosen, "rejected": record.rejected, **margin, **tie}
        case Demonstration():
            return {"messages": record.messages}
        case Prompt():
            return {"prompt": record.messages} | ({} if record.answer is None else {"answer": record.answer})
        case Rated():
            answers = [
                {**numbers, "text": answer[0]["content"] if len(answer) == 1 else answer}
                for answer, numbers in record.answers
            ]
            return {"prompt": record.prompt, "responses": answers}
