"""What the suites of reliability share: what no message may hold, and how a suite reports."""

import json
import re
import sys
from collections.abc import Sequence

INTERNALS = re.compile(
    r"pydantic|ruamel|Traceback|Errno|<class|<rlhf|object at 0x|\b[Ii]nput should|\b[Vv]alue error|type=\w|input_value|"
    r"\bfound (?:undefined|unhashable|character)|instance of|valid dictionary|unable to parse|"
    r"(?:a|the) constructor|[a-z]\w*(?:Config|Ref|Error|Stage|Strict)\b|\bNoneType\b|\bCommented\w+|"
    r"while (?:parsing|scanning|constructing)|function-\w+|literal_error|\bstring_\w+|\bself\.",
)
"""Words of libraries and names of classes, which mean nothing to who wrote the recipe."""


def internals(message: str) -> str:
    """The first words of a message that only a programmer of ours would know; empty where there are none."""
    found = INTERNALS.search(message)
    return found[0] if found else ""


def report(tried: int, failed: Sequence[str]) -> None:
    """The last line of a suite; exit code 1 where something failed, or nothing was tried."""
    if not tried:
        tried, failed = 1, ["nothing was tried"]
    print(json.dumps({"tried": tried, "survived": tried - len(failed), "failed": list(failed)}, ensure_ascii=False))
    sys.exit(1 if failed else 0)
