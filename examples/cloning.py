"""A whole objective: raise the likelihood of the episodes that succeeded."""

import torch

import contrail


class Cloning(contrail.Objective):
    """Filtered behaviour cloning: no group is compared, failures teach nothing."""

    def weights(self, learner, groups, minibatches):
        wins = torch.tensor([float(episode.success) for group in groups for episode in group])
        return [wins[list(indices)] for indices in minibatches]

    def loss(self, learner, decisions, recorded, batch, final):
        rows = decisions.logprobs * decisions.mask
        weights = batch.weights.to(rows.device)
        return -(rows.sum(1) * weights).sum() / (weights.sum() * len(batch.episodes))


@contrail.hookimpl
def contrail_objectives(register):
    register("cloning", Cloning)
