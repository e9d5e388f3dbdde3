"""What every block of configuration is made of. Light: imports no torch.

Every field has its bounds in the type and its meaning in the docstring below it; both end up in the JSON schema.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails

from rlhf.resources import is_shipped


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Fields that no result depends on: with others a stage is the same, goes on, and need not run again."""

    def check_there(self) -> None:
        """Raise RecipeError where this machine lacks what the block needs beside files, such as a variable that holds a
        token."""

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any) -> Any:
        """Python takes true for 1."""
        for key in given.keys() & cls.model_fields.keys() if isinstance(given, dict) else ():
            known = _plain_types(cls.model_fields[key].annotation)
            if bool not in known and known & {int, float} and (loc := _true_in(given[key])) is not None:
                wrong = InitErrorDetails(type="float_type", loc=(key, *loc), input=True)
                raise ValidationError.from_exception_data(cls.__name__, [wrong])
        return given


def _true_in(value: Any) -> tuple[Any, ...] | None:
    """Where a value is, or a list or a mapping holds, true or false."""
    if isinstance(value, bool):
        return ()
    held = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next(((key,) for key, one in held if isinstance(one, bool)), None)


def _plain_types(annotation: Any) -> set[Any]:
    """The types that an annotation names, at any depth but inside blocks."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return {type(word) for word in inner}
    return {one for part in inner for one in _plain_types(part)} if inner else {annotation}


def items(block: BaseModel) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What a block's fields hold, and what the mappings and the lists of blocks among them do, each with its keys."""
    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
            value = {str(i): item for i, item in enumerate(value)}
        inside = value if isinstance(value, dict) else {"": value}
        for name, item in inside.items():
            yield (key, name) if name else (key,), item


def from_recipe(path: Path, info: ValidationInfo) -> Path:
    """Paths written in a recipe are relative to the recipe's folder (given as validation context)."""
    folder = (info.context or {}).get("folder")
    try:
        whole = (folder / path.expanduser()).resolve() if folder else path
        whole.is_file()
    except (OSError, RuntimeError) as error:  # such as a name too long, no such home, links in a circle
        raise ValueError(f"'{path}' can be no path ({getattr(error, 'strerror', None) or error})") from None
    return whole


def named(path: Any) -> Any:
    """An empty path would be the folder that one is in."""
    if path == "":
        raise ValueError("is empty; name a file")
    return path


RecipePath = Annotated[Path, BeforeValidator(named), AfterValidator(from_recipe)]
"""A path relative to the recipe file that names it."""


class CodeConfig(Strict):
    """A Python function in a file."""

    file: RecipePath
    """A .py file."""
    function: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Function in that file."""
    trust_code: bool = False
    """Run that file's code. Needed for every file that is not shipped with rlhf."""

    @model_validator(mode="after")
    def _code_is_trusted(self) -> "CodeConfig":
        if not (self.trust_code or is_shipped(self.file)):
            raise ValueError(f"{self.file} is Python code from outside rlhf; read it, then set trust_code: true")
        return self

    @model_validator(mode="after")
    def _function_is_there(self) -> "CodeConfig":
        """Read from the source, which is not run for that."""
        if not self.file.is_file():
            return self  # a missing file is told with its place
        try:
            source = ast.parse(self.file.read_bytes())
        except OSError:
            return self
        except SyntaxError as error:
            raise ValueError(f"{self.file}:{error.lineno}: {error.msg}") from None
        bound = {getattr(node, "asname", None) or getattr(node, "name", None) for node in ast.walk(source)}
        bound |= {node.id for node in ast.walk(source) if isinstance(node, ast.Name)}
        if self.function not in bound:
            defined = sorted(node.name for node in source.body if isinstance(node, ast.FunctionDef))
            known = ", ".join(name for name in defined if not name.startswith("_"))
            raise ValueError(f"{self.file} has no function '{self.function}'; it has: {known}")
        return self
