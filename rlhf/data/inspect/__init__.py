"""The data doctor: what is in a file of examples, and what is wrong with it, before a model learns it."""

from collections.abc import Sequence

from rlhf.config.data import DataConfig
from rlhf.data.chat import ChatFormat
from rlhf.data.inspect import languages, leaks, lengths, marks, preferences, private, repeats, rows
from rlhf.data.inspect.example import examples
from rlhf.data.inspect.material import Material
from rlhf.data.inspect.preferences import Judge
from rlhf.data.inspect.report import LEVELS, Finding, Findings, Report
from rlhf.data.load import survey
from rlhf.data.records import Kind

__all__ = ["Finding", "Judge", "Report", "inspect"]


def inspect(
    data: DataConfig,
    kind: Kind | None = None,
    *,
    chat: ChatFormat | None = None,
    against: Sequence[DataConfig] = (),
    judge: Judge | None = None,
) -> Report:
    """Read all of `data`, wrong rows too, and look for everything that is known to go wrong.

    With `chat`, lengths are in tokens and the example is shown as a model is trained on it. `against` are files whose
    prompts must not occur here, to which `data.eval_path` is added. `judge` scores conversations, as a reward model's
    `score` does. Raises DataError where there is nothing to read.
    """
    found = survey(data, kind)
    material = Material(found.kind, found.records)
    measured, too_long = lengths.check(material, data.max_length, chat)
    leaked, compared = leaks.check(material, data, against)
    verdicts, doubts = preferences.check(material, judge)
    looked: Findings = {
        **rows.check(found),
        **too_long,
        **repeats.check(material),
        **leaked,
        **verdicts,
        **marks.check(material, chat),
        **languages.check(material),
        **private.check(material),
    }
    long = too_long.get("too_long")
    return Report(
        source=data.called,
        kind=found.kind,
        formats=rows.seen(data, found),
        ledger=found.ledger,
        usable=len(found.records),
        malformed=rows.malformed(found),
        errors=rows.errors(found),
        dropped=rows.dropped(found),
        lengths=measured,
        findings=sorted((one for one in looked.values() if one), key=lambda f: (LEVELS.index(f.level), -f.share)),
        clean=[name for name, one in looked.items() if one is None],
        examples=examples(material, data.max_length, chat, long.places if long else ()),
        doubts=doubts,
        compared=compared,
    )
