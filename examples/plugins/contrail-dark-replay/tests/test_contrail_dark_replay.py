"""The strategy keeps contrail's contract, and does what it is meant to."""

import numpy
from contrail_dark_replay import DarkReplay, DarkReplayConfig

import contrail
import contrail.check


def episodes(count):
    turn = contrail.Turn([1], [2], [-0.5], [0.1])
    task = contrail.Task("maze", "maze-0", 0, "train")
    return [contrail.Episode("maze", task, sample, [turn]) for sample in range(count)]


def test_it_keeps_the_contract():
    assert not contrail.check.check(DarkReplay).failed


def test_the_reservoir_is_a_uniform_sample():
    counts = numpy.zeros(20)
    for seed in range(400):
        strategy = DarkReplay(DarkReplayConfig(buffer=5))
        strategy.observe(None, episodes(20), numpy.random.default_rng(seed))
        for episode in strategy.stored:
            counts[episode.sample] += 1
    assert counts.sum() == 400 * 5
    # Each is stored in a quarter of the 400 trials: 100, with a deviation of 8.7.
    assert abs(counts - 100).max() < 4 * 8.7


def test_its_state_survives():
    strategy = DarkReplay()
    strategy.observe(None, episodes(3), numpy.random.default_rng(0))
    other = DarkReplay()
    other.load_state_dict(strategy.state_dict())
    assert other.stored == strategy.stored
    assert other.offered == 3
