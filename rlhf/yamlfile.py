"""YAML with places: parse a file or a command-line value, and say where in the file a key stands."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt

from rlhf import disk
from rlhf.errors import RecipeError

MOST_BYTES = 100_000
"""Of a recipe; ours have 3,000."""
_MOST_NODES = 10_000
"""Keys and values, each as often as aliases repeat it."""
_MOST_LEVELS = 30
"""Blocks inside blocks."""
_LONGEST = 1000
"""Characters of a key or a value."""


def read(path: Path) -> CommentedMap:
    """The mapping in a YAML file, with positions. RecipeError names file:line:column, duplicate keys included."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise RecipeError(f"{path}: has {size} bytes, and a recipe {MOST_BYTES} at most; is it another file?")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        tree = _parse(text)
    except _UnfitError as error:
        raise RecipeError(f"{path}:{error}") from None
    if not isinstance(tree, CommentedMap):
        found = "an empty file" if tree is None else "a list" if isinstance(tree, list) else "a single value"
        raise RecipeError(f"{path}: a recipe is a mapping of keys (name: …, stages: …); found {found}")
    return tree


def value(text: str) -> Any:
    """A command-line value read as YAML 1.2: `1e-5` is a number, `true` a boolean, `[a, b]` a list."""
    try:
        return plain(_parse(text))
    except _UnfitError:
        return text


class _UnfitError(Exception):
    """No YAML, or more than a recipe needs of it; the message begins with `line:column:`."""


def _parse(text: str) -> Any:
    """The tree of a text, built only once it is known to be small. Raises _UnfitError."""
    if deep := re.search(rf"(?:[\[{{]\s*){{{_MOST_LEVELS + 1}}}", text):  # the parser takes seconds over thousands
        raise _UnfitError(f"{_position(text, deep.start())}: more than {_MOST_LEVELS} blocks inside one another")
    try:
        _check(YAML(typ="rt").parse(text))
        return YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{mark.line + 1}:{mark.column + 1}: " if mark else " "
        raise _UnfitError(at + _in_words(str(error.problem or error.context or "this is not YAML"))) from None
    except (YAMLError, ValueError) as error:
        if found := re.search(r"#x([0-9a-f]{4}).*position (\d+)", str(error), re.DOTALL):
            at = _position(text, int(found[2]))
            raise _UnfitError(f"{at}: the character U+{found[1].upper()} cannot be in a recipe") from None
        raise _UnfitError(f" {_in_words(str(error))}") from None


def _position(text: str, offset: int) -> str:
    """`line:column` of a character."""
    before = text[:offset]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _check(events: Iterator[Event]) -> None:
    """Raise _UnfitError for what no recipe needs: tags, names that hold control characters, blocks as keys, and
    so many levels or so much repeated by aliases that it could not be read."""
    sizes: dict[str, int] = {}
    open_blocks: list[tuple[str | None, int]] = []  # anchor, nodes in it so far
    for event in events:
        mark = event.start_mark
        at = f"{mark.line + 1}:{mark.column + 1}:" if mark else ""
        nodes = 1
        match event:
            case AliasEvent():
                if event.anchor in (anchor for anchor, _ in open_blocks):
                    raise _UnfitError(f"{at} *{event.anchor} stands inside what it stands for")
                nodes = sizes.get(str(event.anchor), 1)
            case ScalarEvent():
                _check_words(event, at)
            case CollectionStartEvent():
                _check_tag(event, at)
                open_blocks.append((event.anchor, 1))
                if len(open_blocks) > _MOST_LEVELS:
                    raise _UnfitError(f"{at} more than {_MOST_LEVELS} blocks inside one another")
                continue
            case CollectionEndEvent():
                anchor, nodes = open_blocks.pop()
                if anchor:
                    sizes[anchor] = nodes
            case _:
                continue
        if open_blocks:
            anchor, so_far = open_blocks[-1]
            open_blocks[-1] = (anchor, so_far + nodes)
        if nodes > _MOST_NODES or (open_blocks and open_blocks[-1][1] > _MOST_NODES):
            raise _UnfitError(f"{at} more than {_MOST_NODES} keys and values, aliases counted each time")


def _check_words(event: ScalarEvent, at: str) -> None:
    _check_tag(event, at)
    words = str(event.value)
    if len(words) > _LONGEST:
        raise _UnfitError(f"{at} a value of {len(words)} characters; {_LONGEST} at most: '{words[:30]}…'")
    if odd := re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", words):
        raise _UnfitError(f"{at} the character U+{ord(odd[0]):04X} cannot be in a recipe")


def _check_tag(event: Any, at: str) -> None:
    if event.ctag is not None:
        raise _UnfitError(f"{at} the tag {str(event.ctag)[:60]} cannot be in a recipe: leave it out")


_WORDS = {
    r"found character '\\t'": "a tab; indent with spaces",
    r"found character ('.')": r"a value cannot begin with \1: put it in quotes",
    r"found undefined alias '(.*)'": r"*\1 stands for nothing: no &\1 before it",
    r"found duplicate key (\S+).*": r"duplicate key \1",
    r"found unknown escape character (.*)": r'"\\" before \1 means nothing: put the value in single quotes',
    r"found unexpected end of stream": "the file ends inside a quotation: close the quotes",
    r"(but )?found another document": "a second document (---); a recipe is one",
    r"expected (',' or '.'), but (got|found).*": r"\1 is missing before this",
    r"expected .*for merging.*": "only a block or an alias to one (*name) can follow <<",
    r"expected alphabetic or numeric.*": "a name is missing after & or *, or quotes around the value",
    r"expected the node content.*": "a value is missing here",
    r"mapping values are not allowed.*": "a second ': ' in one line, or a key that is not indented as its block is",
    r"could not find expected ':'": "the line before has no ': ' after its key",
    r"expected <block end>.*": "this is not indented as its block is, or a key lacks its ': '",
    r"found incompatible YAML document.*": "%YAML names another version; leave the line out",
    r"expected a digit.*": "%YAML lacks its version; leave the line out",
}
"""The parser's words, and what they mean to who wrote the file."""


def _in_words(problem: str) -> str:
    problem = " ".join(problem.split())
    for theirs, ours in _WORDS.items():
        if found := re.match(theirs, problem):
            return found.expand(ours)
    return f"this is not YAML ({problem})"


def plain(node: Any) -> Any:
    """The tree as plain Python values, positions dropped."""
    match node:
        case dict():
            return {str(key): plain(item) for key, item in node.items()}
        case list():
            return [plain(item) for item in node]
        case ScalarFloat():
            return float(node)
        case ScalarBoolean():
            return bool(node)
        case ScalarInt():
            return int(node)
        case str():
            return str(node)
        case _:
            return node


def place(tree: CommentedMap, keys: Sequence[str | int]) -> str:
    """`line:column` of the deepest of `keys` that the file holds; of its start when it holds none."""
    node: Any = tree
    line, column = 0, 0
    for key in keys:
        if isinstance(node, CommentedMap) and (same := [own for own in node if str(own) == str(key)]):
            key = same[0]
            if key not in (node.lc.data or {}):
                break  # an alias or << brings it
            line, column = node.lc.key(key)
        elif isinstance(node, CommentedSeq) and str(key).isdigit() and int(key) < len(node):
            key = int(key)
            line, column = node.lc.item(key)
        else:
            continue  # a tag of a union, or a key that came from elsewhere
        node = node[key]
    return f"{line + 1}:{column + 1}"


def write(tree: dict[str, Any], path: Path) -> None:
    """Write plain values as YAML in the order given."""
    yaml = YAML()
    yaml.default_flow_style = False
    with disk.whole(path) as scratch:
        yaml.dump(tree, scratch)
