"""What a split of WebShop's goals must not do."""

from __future__ import annotations

from contrail.envs.webshop.environment import WebShop
from contrail.envs.webshop.goals import best_options
from contrail.envs.webshop.reward import reward


def assert_no_goal_is_sold_on_the_other_side(environment: WebShop, every: int) -> None:
    goals = environment._shop.goals
    for side, other in (("test", "train"), ("train", "test")):
        products = {goal.product.asin: goal.product for goal in goals[other].values()}
        for name in [*goals[side]][::every]:
            goal = goals[side][name]
            sold = [
                asin
                for asin, product in products.items()
                if reward(goal, product, best_options(goal, product)) == 1
            ]
            assert not sold, (name, sold)
