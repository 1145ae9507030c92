"""Steps the WebShop of a checkout of AgentGym and webshop with `like: agentgym` side by side.

    python -m benchmarks.agentgym_parity_webshop CHECKOUT DATA [--actions 5000]

CHECKOUT is AgentGym's repository, DATA a directory with items_shuffle*.json and items_ins_v2*.json.
Beside contrail[webshop] it needs what WebShop's server does: flask, beautifulsoup4, gym,
thefuzz==0.19.0, rank_bm25, cleantext, spacy with an English model (--spacy), pyjnius, Java, and
the jar in pyserini 0.22's wheel (--jar), which is called without pyserini itself.

It patches three things of the original: the price of a product with a range of prices, which it
draws anew at each start; the nouns of titles, for which contrail has a rule of words (what that
changes is counted); and the name of spaCy's model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from contrail.envs.webshop import WebShop, WebShopConfig
from contrail.envs.webshop.data import read_catalogue
from contrail.envs.webshop.reward import title_words

ODD = ["", "search", "search[]", "search[ ]", "click[]", "Search[shoes]", "CLICK[Buy Now]"]
ODD += ["search[red] shoes", "buy it", "click[nothing]", "click[search]", "search[a [b] c]"]
ODD += ["click[buy now", "search[the of]", "search[\u6728 shoes]", "think about it", "click [x]"]


def original(checkout: Path, data: str, jar: str, model: str, prices: dict[str, float]) -> Any:
    """Return AgentGym's WebAgentTextEnv over the data, and its module of goals."""
    site = Path(tempfile.mkdtemp()) / "webshop"
    shutil.copytree(checkout / "agentenv-webshop/webshop/web_agent_site", site / "web_agent_site")
    (site / "data").mkdir()
    records, said, _ = read_catalogue(data)
    for name, content in (
        ("items_shuffle_1000", records),
        ("items_ins_v2_1000", said),
        ("items_human_ins", {}),
    ):
        (site / f"data/{name}.json").write_text(json.dumps(content))
    sys.path.insert(0, str(site))
    for name in ("pyserini", "pyserini.search", "pyserini.search.lucene"):
        sys.modules[name] = ModuleType(name)
    lucene: Any = sys.modules["pyserini.search.lucene"]
    lucene.LuceneSearcher = lambda path: SimpleNamespace()
    spacy: Any = import_module("spacy")
    load = spacy.load
    spacy.load = lambda name: load(model)
    with contextlib.redirect_stdout(io.StringIO()):
        engine: Any = import_module("web_agent_site.engine.engine")
        goal = import_module("web_agent_site.engine.goal")
        envs = ModuleType("web_agent_site.envs")  # its other environment wants a browser
        envs.__path__ = [str(site / "web_agent_site/envs")]
        sys.modules[envs.__name__] = envs
        text_env = import_module("web_agent_site.envs.web_agent_text_env")
        draw = engine.generate_product_prices
        engine.generate_product_prices = lambda products: {
            **draw(products),
            **{p["asin"]: prices[p["asin"]] for p in products if len(p["pricing"] or ()) > 1},
        }
        environment = text_env.WebAgentTextEnv(
            observation_mode="text", num_products=1000, human_goals=None
        )
    environment.server.search_engine = Lucene(site, environment.server.all_products, jar)
    return environment, goal


class Lucene:
    """What pyserini's LuceneSearcher does, by the same Java classes."""

    def __init__(self, site: Path, products: list[dict[str, Any]], jar: str) -> None:
        documents = site / "documents"
        documents.mkdir()
        with (documents / "documents.jsonl").open("w") as file:
            for product in products:
                options = ", and ".join(
                    f"{k}: {', '.join(v)}" for k, v in product["options"].items()
                )
                texts = [
                    product["Title"],
                    product["Description"],
                    product["BulletPoints"][0],
                    options,
                ]
                record = {"id": product["asin"], "contents": " ".join(texts).lower()}
                file.write(json.dumps(record) + "\n")
        subprocess.run(
            f"java -cp {jar} io.anserini.index.IndexCollection -collection JsonCollection "
            f"-input {documents} -index {site}/index -generator DefaultLuceneDocumentGenerator "
            "-threads 1 -storePositions -storeRaw".split(),
            check=True,
            capture_output=True,
        )
        import_module("jnius_config").set_classpath(jar)
        self._java = import_module("jnius").autoclass("io.anserini.search.SimpleSearcher")(
            f"{site}/index"
        )

    def search(self, query: str, k: int) -> list[Any]:
        return list(self._java.search(query, k))

    def doc(self, docid: Any) -> Any:
        return SimpleNamespace(raw=lambda: self._java.doc_raw(docid))


def main() -> None:
    """Compare, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("data")
    parser.add_argument("--actions", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spacy", default="en_core_web_lg")
    parser.add_argument("--jar", required=True)
    options = parser.parse_args()
    ours = WebShop(WebShopConfig(data=options.data, like="agentgym"))
    prices = {product.asin: product.price for product in ours._shop.products}
    theirs, goals = original(options.checkout, options.data, options.jar, options.spacy, prices)
    tagger = goals.nlp
    words = lambda title: [SimpleNamespace(text=w, pos_="NOUN") for w in title_words(title)]  # noqa: E731
    tasks = {task.id: task for split in ("train", "test") for task in ours.tasks(split)}
    counted: Counter[str] = Counter(goals_theirs=len(theirs.server.goals), goals_ours=len(tasks))
    for number, goal in enumerate(theirs.server.goals):
        mine = ours._goal_of(tasks[f"agentgym-{number}"])
        same = (mine.instruction, mine.product.asin, list(mine.attributes), mine.limit) == (
            goal["instruction_text"], goal["asin"], goal["attributes"], goal["price_upper"]
        )  # fmt: skip
        counted["goals equal"] += (
            same and dict(zip(mine.groups, mine.options, strict=True)) == goal["goal_options"]
        )
    rng = random.Random(options.seed)
    shown: Counter[str] = Counter()

    def differ(what: str, one: Any, other: Any) -> None:
        counted[what] += 1
        shown[what] += 1
        if shown[what] <= 3:
            one, other = str(one), str(other)
            same = itertools.takewhile(
                lambda pair: pair[0] == pair[1], zip(one, other, strict=False)
            )
            start = max(0, sum(1 for _ in same) - 60)
            print(f"--- {what}\ntheirs: {one[start:][:300]}\nours:   {other[start:][:300]}")

    done = True
    turn = 0
    while counted["actions"] < options.actions:
        if done or turn >= ours.max_turns:
            number = rng.randrange(len(tasks))
            task = tasks[f"agentgym-{number}"]
            with contextlib.redirect_stdout(io.StringIO()):
                theirs.server.user_sessions.clear()
                theirs.reset(session=number)
            seen = ours.reset(task)
            plan = list(ours.expert(task) or ()) if rng.random() < 0.5 else []
            done, turn = False, 0
            counted["episodes"] += 1
            text = theirs.observation
            if text != seen.text:
                differ("starts that differ", text, seen.text)
        listed = theirs.get_available_actions()["clickables"]
        clicks = [f"click[{text}]" for text in listed if text != "search"]
        instruction = ours._goal_of(task).instruction.split()
        draw = rng.random()
        if plan and draw < 0.9:
            action = plan.pop(0)
        elif draw < 0.75 and clicks:
            action = rng.choice(clicks)
        elif draw < 0.93:
            start = rng.randrange(len(instruction))
            action = f"search[{' '.join(instruction[start : start + rng.randint(1, 8)])}]"
        else:
            action = rng.choice(ODD)
        before, hits = text, [hit.asin for hit in ours._hits]
        buttons = ["search"] if not ours._page else [b.lower() for b in ours._buttons()]
        if sorted(set(listed)) != sorted(set(buttons)):
            differ("lists that differ", listed, buttons)
        with contextlib.redirect_stdout(io.StringIO()):
            goals.nlp = words
            text, reward, done, _ = theirs.step(action)
            if done:
                session = theirs.server.user_sessions[theirs.session]
                goals.nlp = tagger
                by_spacy = goals.get_reward(
                    theirs.server.product_item_dict[session["asin"]], session["goal"],
                    price=theirs.server.product_prices[session["asin"]], options=session["options"],
                )  # fmt: skip
        step = ours.step(action)
        turn += 1
        counted["actions"] += 1
        if not counted["actions"] % 200:
            print(json.dumps(counted), flush=True)
        counted["actions that do something"] += before != text
        if done != step.terminated:
            differ("ends that differ", done, step.terminated)
        if abs(reward - step.reward) > 1e-9:
            differ("rewards that differ", (reward, action), step.reward)
        if done:
            counted["purchases"] += 1
            counted["purchases of full score"] += reward == 1
            if abs(by_spacy - step.reward) > 1e-9:
                differ("rewards that differ by spaCy's nouns", by_spacy, step.reward)
        elif text != step.observation.text:
            found = [hit.asin for hit in ours._hits]
            if found != hits and action.lower().startswith("search["):
                differ("result pages that differ", text, step.observation.text)
                # The pages behind would differ for the same reason: both begin anew.
                done = True
            elif sorted(text.split(" [SEP] ")) == sorted(step.observation.text.split(" [SEP] ")):
                differ("observations in another order", text, step.observation.text)
            else:
                differ("observations that differ", text, step.observation.text)
                done = True
    print(json.dumps(counted, indent=1))


if __name__ == "__main__":
    main()
