"""Evaluation prompts that stand in the file to train on."""

from collections.abc import Sequence

from rlhf.config.data import DataConfig
from rlhf.data.inspect.material import Material, counted, graded, said
from rlhf.data.inspect.private import excerpt
from rlhf.data.inspect.report import Finding, Findings
from rlhf.data.inspect.similar import LEAST_WORDS, Index, Shingler, Shingles, shingles
from rlhf.data.load import survey
from rlhf.data.records import Message, Record, opening, prompt_key, prompt_of

Asked = dict[str, Record]
"""Prompts by their identity, each with a record that has it."""


def check(material: Material, data: DataConfig, against: Sequence[DataConfig]) -> tuple[Findings, dict[str, int]]:
    """What of the prompts of `against` and of `data.eval_path` occurs here, and how many prompts each file has."""
    compared: dict[str, int] = {}
    foreign: Asked = {}
    for source in against:
        foreign |= _asked(source, compared)
    own: Asked = {}
    if data.eval_path is not None:
        own = _asked(data.evaluating().model_copy(update={"max_rows": None}), compared)
    if not compared:
        return {}, {}
    mine: dict[str, list[int]] = {}
    for i, record in enumerate(material.records):
        mine.setdefault(prompt_key(record), []).append(i)
    return {
        "leaked_prompts": _exact(material, mine, foreign, own),
        "leaked_prompts_nearly": _near(material, mine, own | foreign),
    }, compared


def _asked(source: DataConfig, compared: dict[str, int]) -> Asked:
    found = {prompt_key(record): record for record in survey(source, "prompts").records}
    compared[source.called] = len(found)
    return found


def _exact(material: Material, mine: dict[str, list[int]], foreign: Asked, own: Asked) -> Finding | None:
    shared = mine.keys() & (foreign.keys() | own.keys())
    if not shared:
        return None
    where = sorted(i for key in shared for i in mine[key])
    leaked = not foreign.keys().isdisjoint(shared)
    says = (
        "A model that trains on them is tested on what it has seen, and the result says nothing. Take them out, or "
        "name the other file as data.eval_path: then training leaves them out."
        if leaked
        else "They are those of data.eval_path: training leaves these rows out by itself."
    )
    return Finding(
        name="leaked_prompts",
        level="error" if leaked else "note",
        count=len(shared),
        of=len(foreign.keys() | own.keys()),
        unit="evaluation prompts",
        says=f"They are asked in {counted(len(where), 'example')} here. {says}",
        places=material.places(where),
        numbers={"examples": len(where)},
    )


def _near(material: Material, mine: dict[str, list[int]], prompts: Asked) -> Finding | None:
    shingler, index = Shingler(), Index()
    keys = list(prompts)
    for n, key in enumerate(keys):
        if (parts := _parts(shingler, prompts[key])) is not None:
            index.add(n, parts, index.sketch(parts))
    twins: dict[str, str] = {}
    for key, group in mine.items():
        if key in prompts or (parts := _parts(shingler, material.records[group[0]])) is None:
            continue
        if (twin := index.like(parts, index.sketch(parts))) is not None:
            twins[key] = keys[twin]
    if not twins:
        return None
    where = sorted(i for key in twins for i in mine[key])
    reached = len(set(twins.values()))
    return Finding(
        name="leaked_prompts_nearly",
        level=graded(reached / len(prompts), 0.01),
        count=reached,
        of=len(prompts),
        unit="evaluation prompts",
        says=f"Nearly the same is asked in {counted(len(where), 'example')} here: four fifths of the three-word runs "
        "are shared. Training leaves out only exact copies; look at these, and take out those that give answers away.",
        places=material.places(where),
        quotes=[excerpt(said(_opening(material.records[mine[key][0]])), 100) for key in list(twins)[:3]],
        numbers={"examples": len(where)},
    )


def _parts(shingler: Shingler, record: Record) -> tuple[Shingles] | None:
    """The opening's shingles; None where it is too short to compare."""
    said = shingler.words(message["content"] for message in _opening(record))
    return (shingles(said),) if len(said) >= LEAST_WORDS else None


def _opening(record: Record) -> list[Message]:
    """What the user says before the assistant first does."""
    return [message for message in opening(prompt_of(record)) if message["role"] != "system"]
