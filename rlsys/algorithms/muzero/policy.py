"""MuZero's policy: searches from each observation and acts by what the search found.

Schrittwieser et al. 2020, appendix C and D, https://arxiv.org/abs/1911.08265.
Shape legend: B batch, A branches of a node (`branches.py`), M actions taken from one search, D factors of an action
(`actions.py`).
"""

from collections.abc import Mapping

import numpy as np
import torch

from rlsys.algorithms.muzero import schedules
from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.branches import Branches, choices_along, make_branches
from rlsys.algorithms.muzero.choice import Choice, tree_arrays
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.dispatch import Inference, make_inference
from rlsys.algorithms.muzero.requirements import check_plans
from rlsys.api import Decision, Policy, PolicyContext, Refreshed, Saved
from rlsys.api.masks import split_mask, without_mask
from rlsys.errors import ConfigError
from rlsys.nets.flat import module_arrays, share_arrays
from rlsys.nets.transfer import to_device
from rlsys.planning.actions import action_probabilities, dirichlet_noise, open_loop_actions, sample_actions
from rlsys.planning.mcts import GumbelResult, SearchResult, Workspace, gumbel_search, puct_search
from rlsys.planning.model import RootOutput, to_array
from rlsys.types import Array, State, Weights


class MuZeroPolicy(Policy):
    """Networks, search memory and one random stream.

    While exploring, the root gets noise, and environment i plays with temperature i of `fixed_temperatures` (modulo
    their number), or all play with the scheduled one. Otherwise the best action is taken, unless the evaluation options
    of the section say something else. Where the environment says which actions are legal, no other one is taken at the
    root; below it the model alone says what is likely.

    With `sampled_actions`, actions that a search branches to are drawn in each node; unless exploring always alike.
    """

    def __init__(self, context: PolicyContext) -> None:
        """Builds networks; `set_weights` must come before `act`.

        Raises:
          ConfigError: evaluation shall take several actions from one search, where that cannot be.
        """
        self._config: MuZeroConfig = context.config
        check_plans(self._config, context.env)
        self._env = context.env
        self._code = action_code(self._config, context.env)
        self._device = torch.device(context.device)
        self._network = make_network(self._config, without_mask(context.env)).to(self._device)
        self._inference: Inference | None = None
        self._branches: Branches | None = None
        self._rng = np.random.default_rng(context.seed)
        # A truncated episode's last observation is searched by itself: the small batch must not displace the large one.
        self._workspaces = {True: Workspace(), False: Workspace()}
        self._num_environments = context.num_environments
        fixed = self._config.fixed_temperatures
        environments = range(context.first_environment, context.first_environment + context.num_environments)
        self._fixed_temperature = np.array([fixed[i % len(fixed)] for i in environments]) if fixed else None
        self._scheduled_temperature = schedules.visit_temperature(self._config, 0)
        self._kept_trees: dict[int, Mapping[str, Array]] = {}
        self._result: SearchResult | None = None

    def initial_state(self, batch_size: int) -> State:
        """Returns `{}`, or where evaluation takes several actions from one search, plans that are over."""
        num_steps = self._config.apply_mcts_steps
        return {} if num_steps == 1 else Choice.none_yet(batch_size, self._code, num_steps).state

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Chooses an action for each observation.

        Returns:
          A decision whose extras are what segments keep, and unless exploring also what the model predicted. The
          priority of a row is that of the network's value against the search's.
        """
        if explore:
            choice = self._search(observation, self._exploring_temperature(len(observation)), noisy=True, num_steps=1)
            return Decision(self._executed(choice), state, choice.stored_extras(), self._priority(choice))
        choice = self._follow(observation, Choice(**state)) if state else self._evaluate(observation)
        next_state = choice.after_one_action().state if state else {}
        return Decision(self._executed(choice), next_state, choice.stored_extras() | choice.shown_extras())

    def refresh(self, observation: Array) -> Refreshed:
        """Searches from stored observations as while exploring; which action that would take does not matter.

        Priorities stay: the learner's own errors are of targets over several rows.
        """
        choice = self._search(observation, np.zeros(len(observation)), noisy=True, num_steps=1)
        return Refreshed(choice.stored_extras())

    def set_weights(self, weights: Weights) -> None:
        """Takes over weights, and packs them where inference computes with packed ones.

        Raises:
          WorkerError: a weight is not finite.
        """
        share_arrays(self._network, weights.arrays)
        if self._inference is None or not self._inference.follows:
            self._inference = make_inference(self._network, self._config)
            self._branches = make_branches(self._network, self._inference, self._config, self._code)
        self._scheduled_temperature = schedules.visit_temperature(self._config, weights.learner_step)

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return {} if self._inference is None else module_arrays(self._network)

    def search_tree(self, row: int) -> Mapping[str, Array]:
        """Returns the tree from which row `row` of the last evaluated batch acts: `choice.tree_arrays`, and names.

        Raises:
          ConfigError: the policy acts without a search.
        """
        if self._result is None:
            raise ConfigError("only_prior and only_value act without a search; there is no tree. Leave them out.")
        return self._kept_trees[row] if self._kept_trees else self._tree(self._result, row)

    def save(self) -> Saved:
        """Returns the random state; weights come from the learner."""
        return {"rng": self._rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._rng.bit_generator.state = saved["rng"]

    def _follow(self, observation: Array, plans: Choice) -> Choice:
        """Continues plans, and makes new ones where they are over."""
        rows = np.flatnonzero(plans.is_over)
        if not rows.size:
            return plans
        choice = plans.with_rows(rows, self._evaluate(observation[rows]))
        if self._result is not None:  # later searches of other rows use the same memory
            self._kept_trees |= {row: self._tree(self._result, i) for i, row in enumerate(rows.tolist())}
        return choice

    def _tree(self, result: SearchResult, root: int) -> Mapping[str, Array]:
        embedding = result.embedding[root :: result.tree.roots.size]
        return tree_arrays(result.tree, root) | self._searched.names(embedding)

    def _evaluate(self, observation: Array) -> Choice:
        config = self._config
        if config.only_prior:
            return self._by_prior(observation)
        if config.only_value:
            return self._by_value(observation)
        temperature = np.full(len(observation), config.eval_temperature)
        return self._search(observation, temperature, config.use_exploration_noise, config.apply_mcts_steps)

    def _search(self, observation: Array, temperature_B: Array, noisy: bool, num_steps: int) -> Choice:
        """Searches, and plans `num_steps` actions."""
        root = self._searched.root(self._root(observation), self._rng if noisy else None)
        workspace = self._workspaces[len(observation) == self._num_environments]
        search = self._gumbel if self._config.search == "gumbel" else self._puct
        result = self._result = search(root, noisy, workspace)
        if num_steps == 1:
            action_B = self._choose(result, temperature_B)
            action_BM, reward_BM = action_B[:, None], self._searched.reward(result, action_B)[:, None]
        else:
            uniform_BM = self._rng.random((len(observation), num_steps))
            action_BM, reward_BM = open_loop_actions(result.tree, temperature_B, uniform_BM)
        return Choice(
            action=choices_along(self._searched, result, action_BM),
            reward=reward_BM,
            visit_probabilities=self._searched.target(root, _visit_shares(result)),
            root_value=result.q_max if self._config.use_q_max else result.root_value,
            network_value=to_array(root.value).astype(np.float64),
            depth=result.depth,
        )

    def _puct(self, root: RootOutput, noisy: bool, workspace: Workspace) -> SearchResult:
        config = self._config
        size = root.prior_logits.shape
        return puct_search(
            self._searched.recurrent,
            root,
            num_simulations=config.num_simulations,
            discount=self._searched.discount,
            pb_c_base=config.pb_c_base,
            pb_c_init=config.pb_c_init,
            init_value_score=config.init_value_score,
            noise_BA=dirichlet_noise(self._rng, config.root_dirichlet_alpha, *size) if noisy else None,
            exploration_fraction=config.root_exploration_fraction,
            chance_after=self._searched.chance_after,
            workspace=workspace,
        )

    def _gumbel(self, root: RootOutput, noisy: bool, workspace: Workspace) -> SearchResult:
        config = self._config
        return gumbel_search(
            self._searched.recurrent,
            root,
            num_simulations=config.num_simulations,
            discount=self._searched.discount,
            gumbel_BA=self._rng.gumbel(size=root.prior_logits.shape) if noisy else None,
            max_num_considered_actions=config.max_num_considered_actions,
            maxvisit_init=config.c_visit,
            value_scale=config.c_scale,
            chance_after=self._searched.chance_after,
            workspace=workspace,
        )

    def _choose(self, result: SearchResult, temperature_B: Array) -> Array:
        """Returns `[B]` actions; where all temperatures are 0, the first of the most visited."""
        if isinstance(result, GumbelResult):
            return result.action
        if not temperature_B.any():
            return np.asarray(result.visit_counts.argmax(axis=1))
        return self._sample(result.visit_counts, temperature_B)

    def _sample(self, weight_BA: Array, temperature_B: Array | float) -> Array:
        return sample_actions(action_probabilities(weight_BA, temperature_B), self._rng.random(len(weight_BA)))

    def _by_prior(self, observation: Array) -> Choice:
        """Acts by the policy network alone."""
        root, code = self._root(observation), self._code
        logits = root.prior_logits.reshape(-1, code.num_values)
        prior = to_array(torch.softmax(logits, dim=1)).astype(np.float64)
        temperature = self._config.eval_temperature
        choice = self._sample(prior, temperature) if temperature else prior.argmax(axis=1)
        choice_BD = choice.reshape(-1, code.num_factors)
        action = to_device(code.inputs(code.executed(choice_BD)), self._device)
        reward_B = self._searched.likely_reward(root.embedding, action)
        value_B = to_array(root.value).astype(np.float64)
        return Choice(
            action=choice_BD[:, None],
            reward=reward_B[:, None],
            visit_probabilities=prior.reshape(-1, *code.policy_shape),
            root_value=value_B,
            network_value=value_B,
            depth=np.zeros(len(value_B), np.int64),
        )

    def _by_value(self, observation: Array) -> Choice:
        """Looks one step ahead and takes the action with the highest reward + discount · value."""
        root = self._searched.root(self._root(observation), None)
        num_roots, num_actions = root.prior_logits.shape
        every_action = to_device(np.tile(np.arange(num_actions), num_roots), self._device)
        after = self._searched.recurrent(root.embedding.repeat_interleave(num_actions, dim=0), every_action)
        reward_BA = to_array(after.reward).reshape(num_roots, num_actions).astype(np.float64)
        value_BA = reward_BA + self._searched.discount * to_array(after.value).reshape(num_roots, num_actions)
        value_BA[to_array(root.prior_logits) == -np.inf] = -np.inf
        action_B = value_BA.argmax(axis=1)
        rows = np.arange(num_roots)
        return Choice(
            action=self._searched.choice(root.embedding, action_B)[:, None],
            reward=reward_BA[rows, action_B][:, None],
            visit_probabilities=self._searched.target(root, np.eye(num_actions)[action_B]),
            root_value=value_BA[rows, action_B],
            network_value=to_array(root.value).astype(np.float64),
            depth=np.ones(num_roots, np.int64),
        )

    @property
    def _model(self) -> Inference:
        assert self._inference is not None, "set_weights comes before act"
        return self._inference

    @property
    def _searched(self) -> Branches:
        assert self._branches is not None, "set_weights comes before act"
        return self._branches

    def _executed(self, choice: Choice) -> Array:
        return self._code.executed(choice.action[:, 0])

    def _root(self, observation: Array) -> RootOutput:
        """Evaluates observations; the logits of illegal actions are -inf."""
        seen, mask_BA = split_mask(self._env, observation)
        root = self._model.initial(to_device(seen, self._device))
        if mask_BA is None:
            return root
        is_illegal_BA = to_device(~mask_BA, self._device)
        return root._replace(prior_logits=root.prior_logits.masked_fill(is_illegal_BA, -torch.inf))

    def _exploring_temperature(self, batch_size: int) -> Array:
        if self._fixed_temperature is None:
            return np.full(batch_size, self._scheduled_temperature)
        return self._fixed_temperature[:batch_size]

    def _priority(self, choice: Choice) -> Array:
        error_B = np.abs(choice.root_value - choice.network_value)
        return np.asarray((error_B + self._config.epsilon) ** self._config.alpha)


def _visit_shares(result: SearchResult) -> Array:
    if isinstance(result, GumbelResult):
        return result.policy
    return np.asarray(result.visit_counts / result.visit_counts.sum(axis=1, keepdims=True))
