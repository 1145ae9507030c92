"""WebShop: find and buy a product that an instruction describes (arXiv:2207.01206).

The pages, buttons and the reward are those of the original's text mode, without its web server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from contrail import (
    SPLITS,
    ConfigError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
    read_action,
)
from contrail.envs.shared.data_files import refusing_depth

if TYPE_CHECKING:
    from contrail.envs.webshop.data import Shop
    from contrail.envs.webshop.reward import Goal, Product

HITS = 50
NOT_BOUGHT = {"score": 0.0}
PER_PAGE = 10
INSTRUCTIONS = ("auto", "human", "synthetic")
ACTION = re.compile(r"(search|click)\s*\[(.*)\]", re.IGNORECASE | re.DOTALL)


@dataclass
class WebShopConfig:
    """The keys of webshop in stream.yaml."""

    data: str = field(default="", metadata={"path": ()})
    """A directory with WebShop's files, or one of its files of products. By default, a generated
    catalogue of 1,000 products."""
    instructions: str = "auto"
    """The kind of instructions: "human" (written by people), "synthetic" (made from attributes and
    options), or "auto": human if the data contains such instructions."""
    goals_per_product: int = 5
    """The largest number of synthetic goals per product, which differ in options."""
    like: Literal["agentgym"] | None = None
    """Follow the rules of another framework where they differ: "agentgym"."""
    test_ids: str = field(default="", metadata={"path": ()})
    """With `like: agentgym`, AgentGym's file of the goals to test on (AgentEval's
    webshop_test.json). By default, the first 200."""


class WebShop(Environment):
    """Buy a product that fits the instruction. The reward, 0 to 1, is how well it fits.

    A task's id is the product's ASIN and the number of the goal. Its difficulty is the number of
    attributes and options in the instruction.
    """

    Config = WebShopConfig
    system_prompt = (
        "You shop in a web store, page by page. Buy the product that the instruction describes, "
        "with the options it names. Actions: search[words] to search, click[text] to click a "
        "button, product or option of the page, such as click[Buy Now]."
    )
    max_turns = 10
    forms = ("search[{words}]", "click[{text}]")
    finishing = (r"click\s*\[buy now\]",)
    verifying = (r"click\s*\[(description|features|reviews)\]",)

    def __new__(
        cls, config: WebShopConfig | None = None, *others: object, **named: object
    ) -> WebShop:
        """Return an environment of the rules that the settings name; a subclass has its own."""
        if cls is WebShop and config is not None and config.like == "agentgym":
            _check(config)
            from contrail.envs.webshop.agentgym import AgentGymWebShop

            return super().__new__(AgentGymWebShop)
        return super().__new__(cls)

    def __init__(self, config: WebShopConfig | None = None) -> None:
        super().__init__(config)
        _check(self.config)
        from contrail.envs.webshop import data as webshop_data
        from contrail.envs.webshop import goals as webshop_goals
        from contrail.envs.webshop import reward as webshop_reward

        self._data, self._goals = webshop_data, webshop_goals
        self._reward = webshop_reward.reward
        settings = self.config
        with refusing_depth(settings.data):
            self._shop = self._load()
        self.about_data = (
            f"products in {settings.data}"
            if settings.data
            else "a generated catalogue; WebShop's own (princeton-nlp/WebShop) with data"
        )
        self.notes = self._shop.notes
        self.about_data = "; ".join((self.about_data, *self.notes))
        self._goal: Goal | None = None
        self._to_search: list[str] = []
        self._bought = False
        self._hits: list[Product] = []
        self._product: Product | None = None
        self._chosen: dict[str, str] = {}  # by group of options, the latest last
        self._show_search()

    def tasks(self, split: str) -> list[Task]:
        """Return the tasks of a split.

        A fifth of the products is for testing, in whole families (`contrail.envs.webshop.split`).
        No goal is fulfilled by a product that is a goal of the other split.

        Raises:
            ConfigError: there are none.
        """
        if split not in SPLITS:
            raise ConfigError(f"webshop has no split {split!r}. {nearest(split, SPLITS)}")
        goals = self._shop.goals[split]
        if not goals:
            notes = f" ({'; '.join(self._shop.notes)})" if self._shop.notes else ""
            raise ConfigError(
                f"webshop: data: {self.config.data} leaves no goal to {split} on: all goals are of "
                "one family of products, or products of the other split fulfil them. Add products "
                f"of other kinds.{notes}"
            )
        return [
            Task("webshop", name, 0, split, len(goal.attributes) + len(goal.options))
            for name, goal in goals.items()
        ]

    def reset(self, task: Task) -> Observation:
        self._goal = self._goal_of(task)
        self._to_search = self._queries(self._goal)
        self._bought = False
        self._show_search()
        return self._observe()

    def step(self, action: str) -> Step:
        if self._goal is None:
            raise RuntimeError("webshop: reset(task) comes before step(action).")
        if self._bought:
            over = Observation("The episode is over.", ())
            return Step(over, terminated=True, valid=False)
        verb, words = self._read(action)
        if verb == "search" and words:
            # As in the original, from any page.
            self._show_search()
            self._hits = self._shop.search(words, HITS)
            self._page = 1
            return Step(self._observe(), info=NOT_BOUGHT)
        buttons = {button.lower(): button for button in self._buttons()}
        if verb == "click" and words.lower() in buttons:
            return self._click(buttons[words.lower()])
        return Step(self._refusal(), valid=False, info=NOT_BOUGHT)

    def expert(self, task: Task) -> list[str] | None:
        """Return the expert's actions: find the goal's product by listed searches, choose options,
        buy.

        None if the product cannot be found in this way.
        """
        goal = self._goal_of(task)
        options = self._options_of(goal)
        plays = [
            (pages, query)
            for query in self._queries(goal)
            if (pages := self._pages_to(goal.product, query)) is not None
        ]
        if not plays:
            return None
        # The first that leads there in time.
        pages, query = next((play for play in plays if play[0] <= self._room(goal)), min(plays))
        clicks = ["Next >"] * pages + [goal.product.asin, *options, self._data.BUY]
        return [f"search[{query}]", *(f"click[{text}]" for text in clicks)]

    def _load(self) -> Shop:
        settings = self.config
        shop: Shop = self._data.load_shop(
            settings.data, settings.instructions, settings.goals_per_product
        )
        return shop

    def _read(self, action: str) -> tuple[str, str]:
        """Return an action's verb in lower case, and its words; "" and "" for no action."""
        match = ACTION.fullmatch(read_action(action, self._actions()))
        return (match[1].lower(), " ".join(match[2].split())) if match else ("", "")

    def _refusal(self) -> Observation:
        # The model's invented text is not repeated to it: it may contain a chat template's tokens.
        text = "Nothing happened. Write search[words], or click[text] with a text of the page."
        return Observation(text, self._actions())

    def _queries(self, goal: Goal) -> list[str]:
        """Return the listed searches: the instruction, and shorter and shorter parts of it.

        The title is added if none of these leads to the product in time: there must be a way.
        """
        listed = self._goals.queries(goal.instruction)
        for query in listed:
            pages = self._pages_to(goal.product, query)
            if pages is not None and pages <= self._room(goal):
                return listed
        return list(dict.fromkeys([*listed, goal.product.title]))

    def _pages_to(self, product: Product, query: str) -> int | None:
        """Return the number of pages of hits come before the product's; None if it is not among the
        hits."""
        hits = self._shop.search(query, HITS)
        return hits.index(product) // PER_PAGE if product in hits else None

    def _room(self, goal: Goal) -> int:
        """Return the turns for turning pages, beside those for search, product, options and Buy
        Now."""
        return max(0, self.max_turns - 3 - len(self._options_of(goal)))

    def _options_of(self, goal: Goal) -> list[str]:
        """Return the options to click for a goal."""
        options: list[str] = self._goals.best_options(goal)
        return options

    def game(self, task: Task) -> str:
        return self._goal_of(task).product.asin

    def _goal_of(self, task: Task) -> Goal:
        for goals in self._shop.goals.values():
            if task.id in goals:
                return goals[task.id]
        raise ValueError(f"webshop has no task {task.id!r}; tasks() lists them.")

    def _show_search(self) -> None:
        self._page = 0  # of the results, from 1; 0 is the page with the search box
        self._hits = []
        self._product = None
        self._part = ""  # of the product's pages: "", Description, Features or Reviews
        self._chosen = {}

    def _click(self, button: str) -> Step:
        product = self._product
        if button == "Back to Search":
            self._show_search()
        elif button == "Next >":
            self._page += 1
        elif button == "< Prev":
            if self._part:
                self._part = ""
            elif product:
                self._product = None
            else:
                self._page -= 1
        elif product is None:
            self._product = next(hit for hit in self._hits if hit.asin == button)
            self._chosen = {}
        elif button == self._data.BUY:
            return self._buy(product)
        elif button in self._data.PAGES:
            self._part = button
        else:
            self._choose(product, button)
        return Step(self._observe(), info=NOT_BOUGHT)

    def _choose(self, product: Product, value: str) -> None:
        """Choose an option in one group, as a button of the original belongs to one.

        There it is the last group that holds the value, and the others cannot have it. Here a group
        without a choice takes it, else the one that was set longest ago: so all can be reached.
        """
        groups = self._open(product, value)
        if groups:
            places = [*self._chosen]
            name = min(groups, key=lambda name: places.index(name) if name in places else -1)
            self._chosen.pop(name, None)
            self._chosen[name] = value

    def _open(self, product: Product, value: str) -> list[str]:
        """Return the groups that hold an option and have not chosen it."""
        groups = product.options.items()
        return [name for name, its in groups if value in its and self._chosen.get(name) != value]

    def _buy(self, product: Product) -> Step:
        assert self._goal is not None
        self._bought = True
        score = self._reward(self._goal, product, self._chosen.values())
        text = f"Thank you for shopping with us! [SEP] Your score (0.0 to 1.0) [SEP] {score:.2f}"
        return Step(
            Observation(text, ()),
            score,
            terminated=True,
            success=score == 1,
            info={"score": score},
        )

    def _observe(self) -> Observation:
        return Observation(" [SEP] ".join(self._texts()), self._actions())

    def _texts(self) -> list[str]:
        assert self._goal is not None
        product = self._product
        buttons = self._buttons()
        head = ["Instruction:", self._goal.instruction]
        if not self._page:
            return ["WebShop", *head, "Search"]
        if product is None:
            shown = self._shown()
            total = f"Page {self._page} (Total results: {len(self._hits)})"
            moves = [button for button in buttons if button in ("< Prev", "Next >")]
            hits = (text for hit in shown for text in (hit.asin, hit.title, hit.price_text))
            return [*head, "Back to Search", total, *moves, *hits]
        head += ["Back to Search", "< Prev"]
        if self._part:
            contents = {
                "Description": [product.description],
                "Features": product.features,
                "Reviews": product.reviews,
            }
            return [*head, *(text for text in contents[self._part] if text)]
        groups = (text for name, values in product.options.items() for text in (name, *values))
        price = f"Price: {product.price_text}"
        rating = f"Rating: {product.rating}"
        foot = [product.title, price, rating, *self._data.PAGES, self._data.BUY]
        return [*self._reminders(), *head, *groups, *foot]

    def _reminders(self) -> list[str]:
        """Return the chosen options in words, which the page alone would not show."""
        return [f"You have clicked {value}." for value in self._chosen.values()]

    def _shown(self) -> list[Product]:
        return self._hits[PER_PAGE * (self._page - 1) : PER_PAGE * self._page]

    def _buttons(self) -> list[str]:
        """Return the buttons of the page."""
        if not self._page:
            return []
        buttons = ["Back to Search"]
        product = self._product
        if product is None:
            buttons += ["< Prev"] * (self._page > 1)
            buttons += ["Next >"] * (PER_PAGE * self._page < len(self._hits))
            return buttons + [hit.asin for hit in self._shown()]
        buttons.append("< Prev")
        if self._part:
            return buttons
        options = dict.fromkeys(value for values in product.options.values() for value in values)
        return [*buttons, *options, *self._data.PAGES, self._data.BUY]

    def _actions(self) -> tuple[str, ...]:
        """Return the buttons, except chosen options; on the search page, searches."""
        assert self._goal is not None
        if not self._page:
            return tuple(f"search[{query}]" for query in self._to_search)
        product, chosen = self._product, self._chosen.values()
        return tuple(
            f"click[{text}]"
            for text in self._buttons()
            if text not in chosen or (product and self._open(product, text))
        )


def _check(config: WebShopConfig) -> None:
    """Refuse impossible settings.

    Raises:
        ConfigError: names the key and its possible values.
    """
    if config.instructions not in INSTRUCTIONS:
        raise ConfigError(
            f"webshop: instructions is {config.instructions!r}. "
            f"{nearest(config.instructions, INSTRUCTIONS)}"
        )
    if config.like and config.instructions == "human":
        raise ConfigError("webshop: like: agentgym plays synthetic instructions, not human ones.")
    if config.test_ids and not config.like:
        raise ConfigError("webshop: test_ids is for like: agentgym.")
    if type(config.goals_per_product) is not int or config.goals_per_product < 1:
        raise ConfigError(
            f"webshop: goals_per_product is {config.goals_per_product!r}; it must be a whole "
            "number, 1 or more."
        )


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    """Register webshop."""
    register("webshop", WebShop)
