"""What a recipe names to score responses, made into rewards: models on the policy's trunk where they can be there."""

from collections.abc import Mapping
from dataclasses import dataclass

from rlhf import rules
from rlhf.backends import Backend
from rlhf.config import RewardSource
from rlhf.data.chat import ChatFormat
from rlhf.endpoint import Endpoint
from rlhf.errors import RecipeError
from rlhf.reward_model import RewardModel
from rlhf.rewards import CautiousReward, EndpointReward, Reward, RoleReward, RuleReward, TextReward
from rlhf.roles import Role
from rlhf.weights import Weights


def short(where: str) -> str:
    """Name of a source from the field that names it, as an adapter may be called."""
    return where.removeprefix("rewards.").replace(".", "-")


def model_names(where: str, source: RewardSource) -> list[str]:
    """Names of a source's models, in order: the fields of `rlhf.config.models_of`, shortened."""
    count = len(source.models)
    return [short(where if count == 1 else f"{where}.{i}") for i in range(count)]


@dataclass
class Sources:
    """Makes rewards of sources."""

    models: Mapping[str, Weights]
    """Every reward model that is named, by its short name."""
    roles: Mapping[str, Role]
    """Those of them that are on the policy's trunk."""
    chat: ChatFormat
    """The policy's."""
    how: Backend
    """How models of their own are held."""
    precision: str
    batch_size: int
    """Responses a forward pass."""

    def reward(self, where: str, source: RewardSource) -> Reward:
        """What a source stands for; `where` is the field that names it."""
        if source.rule is not None:
            return RuleReward(rules.load(source.rule), self.chat)
        if source.url is not None:
            return EndpointReward(Endpoint(source.url, source.timeout_s, source.token()), self.chat)
        judges = [self._judge(name) for name in model_names(where, source)]
        if source.uncertainty and sum(judge.voices for judge in judges) < 2:
            raise RecipeError(
                f"{where}.uncertainty: one opinion cannot disagree with itself; name several models, or a reward model "
                "of several `heads`"
            )
        return judges[0] if len(judges) == 1 and not source.uncertainty else CautiousReward(judges, source.uncertainty)

    def _judge(self, name: str) -> RoleReward | TextReward:
        if name in self.roles:
            return RoleReward(self.roles[name], self.batch_size, self.chat.stop_ids[0])
        return TextReward(RewardModel.load(self.models[name], self.precision, self.batch_size, self.how), self.chat)
