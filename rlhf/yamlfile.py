"""YAML with places: parse a file or a command-line value, and say where in the file a key stands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt

from rlhf.errors import RecipeError


def read(path: Path) -> CommentedMap:
    """The mapping in a YAML file, with positions. RecipeError names file:line:column, duplicate keys included."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        what = " ".join(str(error.problem or error.context or "not YAML").split())
        raise RecipeError(f"{place}: {what}") from None
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"{path}: not YAML: {error}") from None
    if not isinstance(tree, CommentedMap):
        found = "an empty file" if tree is None else "a list" if isinstance(tree, list) else "a single value"
        raise RecipeError(f"{path}: a recipe is a mapping of keys (name: …, stages: …); found {found}")
    return tree


def value(text: str) -> Any:
    """A command-line value read as YAML 1.2: `1e-5` is a number, `true` a boolean, `[a, b]` a list."""
    try:
        return plain(YAML(typ="rt").load(text))
    except YAMLError:
        return text


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
        if isinstance(node, CommentedMap) and key in node:
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
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
