"""The JSON schema of a recipe, for editors."""

from typing import Any

from rlhf.recipe.config import INHERITED, RecipeConfig, stage_kinds


def schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors: every stage kind, every field with its docstring."""
    top = RecipeConfig.model_json_schema(ref_template="#/$defs/{model}")
    defs = top.pop("$defs", {})
    kinds: dict[str, Any] = {}
    for kind, model in stage_kinds().items():
        block = model.model_json_schema(ref_template="#/$defs/{model}")
        defs.update(block.pop("$defs", {}))
        block["properties"].pop("name", None)
        block["properties"]["stage"] = {"const": kind, "description": "Kind of stage; the stage's name when left out."}
        block["required"] = [k for k in block.get("required", []) if k not in ("name", "stage", *INHERITED)]
        defs[model.__name__] = block
        kinds[kind] = {"$ref": f"#/$defs/{model.__name__}"}
        if "data" in block["properties"]:  # the recipe's own `data` may stand in
            block["required"].remove("data")
    named = [{"allOf": [ref], "required": ["stage"]} for ref in kinds.values()]
    top["properties"]["stages"] = {
        "type": "object",
        "description": "Stage name to its settings, in the order they run.",
        "properties": kinds,
        "additionalProperties": {"anyOf": named},
        "minProperties": 1,
    }
    source = {**defs["DataConfig"], "description": top["properties"]["data"]["description"]}
    top["properties"]["data"] = {"anyOf": [{"type": "string", "description": source["description"]}, source]}
    _allow_shorthand(defs)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "rlhf recipe", **top, "$defs": defs}


def _allow_shorthand(defs: dict[str, Any]) -> None:
    """`model: tiny`, `data: pairs.jsonl` and `wandb: true` are short for blocks."""
    for name in ("ModelRef", "DataConfig"):
        block = defs[name]
        defs[name] = {"anyOf": [{"type": "string", "description": block["description"]}, block]}
    tracking = defs["TrackingConfig"]["properties"]
    tracking["wandb"] = {"anyOf": [{"type": "boolean"}, *tracking["wandb"]["anyOf"]]}
