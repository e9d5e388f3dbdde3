"""Where examples come from, and how rows become examples."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from rlhf.config.strict import CodeConfig, RecipePath, Strict


def path_alone(data: Any) -> Any:
    """`data: my.jsonl` is short for `data: {path: my.jsonl}`."""
    return {"path": data} if isinstance(data, str) else data


class RowFunction(CodeConfig):
    """A Python function that makes rows of a known format out of others: `function(row) -> row`.

    It may return a list of rows, or None for a row to leave out.
    """

    function: str = Field(default="row", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Function in that file."""


class Source(Strict):
    """One source of examples: local files, a hub dataset, or what an earlier stage wrote."""

    origins: ClassVar[Mapping[str, str]] = {"path": "local files", "hub": "a dataset id", "stage": "an earlier stage"}
    """Fields of which one says where the examples come from."""
    path: RecipePath | None = None
    """A file (.jsonl or .ndjson, .json, .csv, .tsv, .txt, .parquet, .arrow, .xlsx; .gz or .zst too), a folder of such
    files, or a pattern such as `pairs/*.jsonl`."""
    stage: str | None = None
    """An earlier stage of this recipe that makes examples, such as `sample`."""
    hub: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)?$")
    """A dataset's id on the Hugging Face hub."""
    subset: str | None = None
    """Configuration name or data_dir of the hub dataset."""
    split: str = "train"
    """Split of the hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of the hub dataset."""
    format: str = "auto"
    """Row format; recognised from the rows when `auto`."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Columns of your own by the names of a format, such as `prompt: question` and `chosen: answers[0].text`; no other
    column is read then."""
    verdicts: dict[str, Literal["first", "second", "tie"]] = Field(default_factory=dict)
    """What the values of a column of verdicts on two answers mean, such as `{0: tie, 1: first}`; no other value is
    read then."""
    rows: RowFunction | None = None
    """A Python function of your own that each row passes first."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Of rows with several rated answers: the best against the worst, or every two of which one is better."""
    rank_by: str | None = None
    """Number that says which answer is better, where a row has several, such as `helpfulness`."""
    max_rows: int | None = Field(default=None, ge=1)
    """Use only the first rows that are usable."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return path_alone(value)

    @field_validator("verdicts", mode="before")
    @classmethod
    def _numbers_are_names(cls, value: Any) -> Any:
        """YAML has 0 and true as keys that are no text."""
        return {str(key).strip().lower(): said for key, said in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _columns_are_paths(self) -> "Source":
        for name, path in self.columns.items():
            if not re.fullmatch(r"[^.\[\]]+(\.[^.\[\]]+|\[-?\d+\])*", path):
                raise ValueError(f"columns.{name}: '{path}' is no path: a column, `a.b` inside one or `a[0]` is needed")
        return self

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        if sum(bool(getattr(self, name)) for name in self.origins) != 1:
            *first, last = (f"`{name}` ({what})" for name, what in self.origins.items())
            raise ValueError(f"name exactly one of {', '.join(first)} and {last}")
        return self

    @property
    def called(self) -> str:
        """What a person calls it."""
        parts = (self.hub, self.subset, self.split, self.revision) if self.hub else (self.path or self.stage,)
        return " ".join(str(part) for part in parts if part)


class MixedSource(Source):
    """One of several sources."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    """How many times each of its examples is trained on in a pass: 2 twice, 0.5 a half of them, chosen by hash."""


class DataConfig(Source):
    """A source of examples, or a mix of several, and what is held out."""

    origins: ClassVar[Mapping[str, str]] = {**Source.origins, "mix": "several sources"}
    mix: list[MixedSource] = Field(default_factory=list)
    """Several sources, each with its own format and weight, instead of one."""
    eval_path: RecipePath | None = None
    """Held-out examples in files of their own."""
    eval_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts held out, by hash of the prompt, when there is no `eval_path`; 1 holds out the whole file."""
    max_length: int = Field(default=1024, ge=8)
    """Most tokens of an example, never more than the model's positions; longer ones are cut from the left of the
    prompt or dropped, and counted."""
    bad_rows: Literal["error", "warn", "drop"] = "error"
    """What a row that cannot be read does: stop the run, be dropped and told, or be dropped and counted. All of them
    are listed in the run folder (bad_rows), as are the rows that teach nothing (dropped_rows)."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Examples that are equal to an earlier one: used again, or dropped. Counted either way."""

    @property
    def called(self) -> str:
        """What a person calls it; of a mix all of its sources."""
        return " and ".join(source.called for source in self.mix) or super().called

    def evaluating(self) -> "DataConfig":
        """The files of `eval_path`, read as the others are where those are of one source."""
        assert self.eval_path is not None
        kept = () if self.mix else ("format", "columns", "verdicts", "rows", "pairs", "rank_by")
        how = {name: getattr(self, name) for name in kept}
        return DataConfig(path=self.eval_path, max_rows=self.max_rows).model_copy(update=how)

    @property
    def sources(self) -> Mapping[str, Source]:
        """Every source by the key it stands under; the block itself where it is one."""
        return {f"mix.{i}": source for i, source in enumerate(self.mix)} or {"": self}

    def stages(self) -> dict[str, str]:
        """Keys of the sources that are earlier stages, with those stages' names."""
        return {key: source.stage for key, source in self.sources.items() if source.stage is not None}

    def with_files(self, paths: Mapping[str, Path]) -> "DataConfig":
        """With files in place of earlier stages, by key."""

        def placed(source: Any, key: str) -> Any:
            return source.model_copy(update={"stage": None, "path": paths[key]}) if key in paths else source

        mix = [placed(source, f"mix.{i}") for i, source in enumerate(self.mix)]
        return placed(self, "").model_copy(update={"mix": mix})

    @model_validator(mode="after")
    def _each_source_speaks_for_itself(self) -> "DataConfig":
        defaults = {name: field.get_default(call_default_factory=True) for name, field in Source.model_fields.items()}
        of_one = [name for name, default in defaults.items() if getattr(self, name) != default]
        if self.mix and of_one:
            raise ValueError(f"{of_one[0]}: with `mix`, say it of the sources that it is meant for")
        return self
