"""Whose answers and losses are compared: models with the text that each is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlhf import artifact as artifacts
from rlhf import text
from rlhf.ancestry import root, trained_from
from rlhf.artifact import Artifact
from rlhf.backends import for_weights
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Message, Prompt
from rlhf.errors import RecipeError
from rlhf.roles import Role, standalone
from rlhf.weights import Weights, find
from stages.evaluate.config import EvaluateConfig, Prompted


@dataclass(frozen=True)
class Side:
    """A model that answers."""

    role: Role
    chat: ChatFormat
    weights: Weights
    system: str = ""
    """Stands before every prompt, and so do the examples."""
    examples: Sequence[Message] = field(default_factory=list)

    @classmethod
    def load(cls, config: EvaluateConfig, weights: Weights, template: str | Path | None = None) -> "Side":
        """A stage's output brings its own template; a model from outside is given one."""
        chat = text.load(weights, None if weights.text else template or config.template)
        return cls(standalone(for_weights(weights, config.precision), weights, chat), chat, weights)

    @property
    def called(self) -> str:
        """What a person calls it in a sentence."""
        return self.weights.folder.name if self.weights.folder else self.weights.called

    def told(self, how: Prompted) -> "Side":
        """The same model with a prompt."""
        turns = [(one.prompt, one.response) for one in how.examples]
        examples = [
            {"role": role, "content": said}
            for turn in turns
            for role, said in zip(("user", "assistant"), turn, strict=True)
        ]
        return replace(self, system=how.system, examples=examples)

    def reads(self, prompt: Prompt, answer: int) -> list[int]:
        """Tokens that it is given of a prompt. Raises RecipeError where no room is left for `answer` tokens."""
        system = [self.system] if self.system else []
        messages = prompt.messages
        if messages[0]["role"] == "system":
            system, messages = [*system, messages[0]["content"]], messages[1:]
        head = [{"role": "system", "content": "\n\n".join(system)}] if system else []
        ids = self.chat.prompt_ids([*head, *self.examples, *messages])
        most = text.positions(self.weights)
        if most is not None and len(ids) + answer > most:
            raise RecipeError(
                f"prompted: with what stands before it the prompt at {prompt.where} has {len(ids)} tokens, and "
                f"'{self.weights.called}' reads {most}, {answer} of them its answer: give fewer or shorter examples"
            )
        return ids


@dataclass(frozen=True)
class Lineage:
    """The stages that made the policy, and the model that the first of them started from."""

    stages: Mapping[str, Artifact]
    """By name, where another has it already with a number; the policy's own is the last. None for a policy from
    outside."""

    @classmethod
    def of(cls, weights: Weights) -> "Lineage":
        found: dict[str, Artifact] = {}
        for made in trained_from(artifacts.read(weights.folder)) if weights.folder else ():
            again = sum(other.name == made.name for other in found.values())
            found[f"{made.name} {again + 1}" if again else made.name] = made
        return cls(found)

    @property
    def _first(self) -> Artifact:
        return next(iter(self.stages.values()))

    @property
    def template(self) -> Path | None:
        """The chat template that the stages were trained with."""
        path = self._first.model / "chat_template.jinja"
        return path if path.is_file() else None

    def base(self) -> Weights:
        """The model that the first stage started from, as its adapter saw it. Raises RLHFError where it is no more."""
        first = self._first
        found = find(root([*self.stages.values()]), {})
        if not first.adapter or first.base is None:
            return found
        return replace(found, called=first.base.name, quantisation=first.base.quantisation)


def base_of(policy: Weights) -> Weights:
    """The model that a policy was trained from. Raises RecipeError where it was not trained here."""
    if policy.folder is None:
        raise RecipeError(
            f"prompted: '{policy.called}' was not trained here: name the `model` that is given the prompt"
        )
    return Lineage.of(policy).base()
