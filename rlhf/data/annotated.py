"""What annotation tools export: Argilla's records, Label Studio's tasks, Prodigy's examples, as plain rows."""

import json
from collections import Counter
from typing import Any

from rlhf.data.formats.asking import PROMPT, RESPONSE
from rlhf.data.formats.reader import fits
from rlhf.data.formats.table import Row, named
from rlhf.data.formats.values import listed, objects
from rlhf.data.messages import UnusableError
from rlhf.data.records import LABEL, Kind
from rlhf.errors import DataError

Said = dict[str, list[Any]]
"""What annotators answered, by question."""


def _filled(found: Row, said: Said, kind: Kind | None) -> Row:
    """The fields and what was said of them. Raises UnusableError where annotators disagree, or where nobody said what
    the kind needs."""
    if not said and not fits(found, kind):
        raise UnusableError("no judgement")
    for question, values in said.items():
        value = _agreed(values) if values else None
        if isinstance(value, list) and all(isinstance(one, dict) and "rank" in one for one in value):
            texts = [found.pop(str(_value(one)), None) for one in value]
            found["completions"] = [{"text": t, "rank": one["rank"]} for t, one in zip(texts, value, strict=True)]
        else:
            found[question] = value
    return found


def _agreed(values: list[Any]) -> Any:
    """Numbers in the mean; else what most said."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return sum(values) / len(values)
    (first, count), *others = Counter(json.dumps(value, sort_keys=True) for value in values).most_common()
    if others and others[0][1] == count:
        raise UnusableError("annotators disagree")
    return json.loads(first)


def _value(given: Any) -> Any:
    return given.get("value") if isinstance(given, dict) else given


# ------------------------------------------------------------------------------------------------ Argilla


def is_argilla(row: Row, kind: Kind | None) -> bool:
    return isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row)


def argilla(row: Row, kind: Kind | None) -> Row:
    """{fields, responses: [{values: {question: {value}}, status}], suggestions}: the fields and what annotators said,
    or where none did what was suggested to them."""
    return _filled(dict(row["fields"]), _responses(row.get("responses")) or _suggestions(row.get("suggestions")), kind)


def is_argilla_table(row: Row, kind: Kind | None) -> bool:
    return bool(_asked_of(row))


def argilla_table(row: Row, kind: Kind | None) -> Row:
    """Argilla's records as a table: {preference.responses: [value], preference.responses.status: [status]}, or before
    version 2 {preference: [{value, status}]}. What was suggested counts where nobody responded."""
    said: Said = {}
    found = dict(row)
    for question in _asked_of(row):
        given = row.get(question)
        if not isinstance(given, list):
            answers, statuses = (_list(row.get(f"{question}.responses{end}")) for end in ("", ".status"))
            given = [{"value": value, "status": status} for value, status in zip(answers, statuses, strict=False)]
        suggested = row.get(f"{question}.suggestion", row.get(f"{question}-suggestion"))
        if values := [_value(one) for one in given if _submitted(one)]:
            said[question] = values
        elif suggested is not None:
            said[question] = [suggested]
        found = {
            name: one for name, one in found.items() if name != question and not name.startswith(_beside(question))
        }
    return _filled(found, said, kind)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _asked_of(row: Row) -> list[str]:
    """The questions of a table of Argilla's records."""
    new = [name.removesuffix(".responses") for name in row if name.endswith(".responses") and f"{name}.status" in row]
    old = [
        name
        for name, value in row.items()
        if isinstance(value, list) and value and all(isinstance(one, dict) and one.keys() >= _ANSWER for one in value)
    ]
    return new + old


_ANSWER = {"value", "status"}


def _beside(question: str) -> tuple[str, ...]:
    """How fields begin that say more of what was answered to a question."""
    return f"{question}.responses", f"{question}.suggestion", f"{question}-suggestion"


def _responses(value: Any) -> Said:
    """Values by question: Argilla 1's list of annotators, Argilla 2's lists by question."""
    found: Said = {}
    if isinstance(value, dict):
        return {
            name: [_value(one) for one in objects(given, name, "{value}") if _submitted(one)]
            for name, given in value.items()
        }
    for response in objects(value, "responses", "{values, status}"):
        values = response.get("values")
        for name, given in values.items() if isinstance(values, dict) and _submitted(response) else ():
            found.setdefault(name, []).append(_value(given))
    return found


def _submitted(response: Row) -> bool:
    return response.get("status") in (None, "submitted")


def _suggestions(value: Any) -> Said:
    if isinstance(value, dict):
        return {name: [_value(one)] for name, one in value.items()}
    suggested = objects(value, "suggestions", "{question_name, value}")
    return {str(one.get("question_name")): [_value(one)] for one in suggested}


# ------------------------------------------------------------------------------------------------ Label Studio


def is_label_studio(row: Row, kind: Kind | None) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def label_studio(row: Row, kind: Kind | None) -> Row:
    """{data, annotations: [{result: [{type, from_name, value}], was_cancelled}]}: the data's fields, and what was said
    under the names of the controls; the side that a pairwise control has selected is the winner."""
    said: Said = {}
    for annotation in objects(row["annotations"], "annotations", "{result}"):
        results = objects(annotation.get("result"), "annotations.result", "{from_name, type, value}")
        for one in results if not annotation.get("was_cancelled") else ():
            value, control = one.get("value"), one.get("type")
            if control == "pairwise" and isinstance(value, dict):
                said.setdefault("winner", []).append(value.get("selected"))
            elif isinstance(control, str) and isinstance(value, dict):
                given = value.get("text" if control == "textarea" else control)
                given = given[0] if isinstance(given, list) and len(given) == 1 else given
                said.setdefault(str(one.get("from_name")), []).append(given)
    return _filled(dict(row["data"]), said, kind)


# ------------------------------------------------------------------------------------------------ Prodigy


def is_prodigy(row: Row, kind: Kind | None) -> bool:
    choice = isinstance(row.get("options"), list) and isinstance(row.get("accept"), list)
    return ("_task_hash" in row or choice) and row.get("answer") in ("accept", "reject", "ignore")


def prodigy(row: Row, kind: Kind | None) -> Row:
    """{text or prompt, options: [{id, text}], accept: [id], answer: accept, reject or ignore}: an option that was
    picked is good. Without options, the whole example was accepted or rejected."""
    found = {name: value for name, value in row.items() if name not in ("answer", "options", "accept")}
    options = row.get("options")
    if options is not None and named(found, PROMPT) not in found and "text" in found:
        found["prompt"] = found.pop("text")
    if kind == "prompts":
        return found
    if row["answer"] == "ignore":
        raise UnusableError("ignored by the annotator")
    if options is None and isinstance(found.get(named(found, RESPONSE)), str):
        return {LABEL: row["answer"] == "accept", **found}
    if row["answer"] == "reject":
        raise UnusableError("rejected by the annotator")
    if options is not None:
        picked = set(map(str, listed(row.get("accept") or [], "accept", "ids", least=0)))
        if not picked:
            raise UnusableError("none picked by the annotator")
        found["completions"] = [
            _option(one, i, picked) for i, one in enumerate(objects(options, "options", "{id, text}"))
        ]
    return found


def _option(option: Row, i: int, picked: set[str]) -> Row:
    if not isinstance(option.get("text"), str):
        kinds = " and ".join(option.keys() - {"id"}) or "nothing"
        raise DataError(f"options[{i}].text: is missing (found: {kinds}); only text can be read")
    good = int(str(option.get("id")) in picked)
    return {"text": option["text"], "score": good, LABEL: good}
