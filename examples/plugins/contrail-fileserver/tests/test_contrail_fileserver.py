"""The environment keeps contrail's contract, and does what it is meant to."""

from contrail_fileserver import Fileserver

import contrail.check


def test_it_keeps_the_contract():
    assert not contrail.check.check(Fileserver).failed


def test_an_old_copy_is_not_the_answer():
    environment = Fileserver()
    copied = [task for task in environment.tasks("test") if task.difficulty == 2]
    assert copied
    for task in copied:
        environment.reset(task)
        world = environment.now
        file = f"{world['wanted']}.conf"
        teams = [team for team, files in world["folders"].items() if file in files]
        assert len(teams) == 3
        for team in teams:
            environment.reset(task)
            environment.step(f"cd {team}")
            port = environment.step(f"cat {file}").observation.actions[-1]
            right = team == world["owners"][world["wanted"]]
            assert environment.step(port).success == right


def test_a_number_that_was_not_read_is_not_listed():
    environment = Fileserver()
    first = environment.reset(environment.tasks("train")[0])
    assert not [action for action in first.actions if action.startswith("answer")]
