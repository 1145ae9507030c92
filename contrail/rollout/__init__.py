"""From tasks to episodes: environments, adapters and the sampler together."""
