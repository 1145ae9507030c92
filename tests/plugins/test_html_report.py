"""The data of report.html: what the page holds, and that nothing in it can break out of it."""

import base64
import gzip
import json
import math
import random
import re
from pathlib import Path

import pytest
from compared import row
from pages import HOSTILE, make_run, make_tokenizer, record, turn, write_log, write_tokenizer
from results import MIXED, NAMES, make_result

from contrail.comparison.summary import summarise
from contrail.plugins.html_report import comparison as comparison_page
from contrail.plugins.html_report import episodes, page, report, run
from contrail.plugins.html_report.tokens import TokenTexts
from contrail.plugins.reports.comparison_short import answer
from contrail.plugins.reports.headline import headline


def data_of(file: Path) -> dict:
    """What the page shows."""
    [text] = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', file.read_text()
    )
    return json.loads(text)


def packed_of(file: Path) -> list:
    """The index and the chunks of episodes."""
    found = re.findall(r'id="packed-(\d+)">([^<]*)</script>', file.read_text())
    assert [int(number) for number, _ in found] == list(range(len(found)))
    return [json.loads(gzip.decompress(base64.b64decode(text))) for _, text in found[1:]]


def episodes_of(directory: Path) -> dict[str, tuple[dict, dict]]:
    """By its place in the logs, what the index says of an episode, and its turns."""
    report.contrail_report(json.loads((directory / "result.json").read_text()), str(directory))
    index, *chunks = packed_of(directory / "report.html")
    rows = [dict(zip(index, values, strict=True)) for values in zip(*index.values(), strict=True)]
    # The page counts the charting library and the index too.
    return {own["where"]: (own, chunks[own["chunk"] - 2][own["place"]]) for own in rows}


def block(data: dict, section: str, kind: str, number: int = 0) -> dict:
    [found] = [item for item in data["sections"] if item["id"] == section]
    return [item for item in found["blocks"] if item["type"] == kind][number]


def test_every_episode_of_a_run_is_in_the_page(tmp_path):
    make_run(tmp_path, training=40)
    found = episodes_of(tmp_path)
    logs = {
        f"{log.name.removesuffix('.jsonl.gz')}:{number}": json.loads(line)
        for log in (tmp_path / "episodes").iterdir()
        for number, line in enumerate(gzip.decompress(log.read_bytes()).splitlines(), start=1)
    }
    assert set(found) == set(logs)
    for where, (index, shown) in found.items():
        logged = logs[where]
        for key in ("environment", "task", "sample", "success", "difficulty", "ended", "reward"):
            assert index[key] == logged[key], key
        assert index["stage"] == int(where[:3])
        assert index["failures"] == list(logged.get("failures", ()))
        assert index["update"] == logged.get("update")
        assert [t["observation"] for t in shown["turns"]] == ["You stand in a hall."]
        assert shown["turns"][0]["chances"] == pytest.approx(
            [math.exp(value) for value in logged["turns"][0]["choice_logprobs"]], abs=1e-3
        )


def test_a_cell_says_what_result_json_says(tmp_path):
    result = make_run(tmp_path, count=3)
    report.contrail_report(result, str(tmp_path))
    data = data_of(tmp_path / "report.html")
    matrix = block(data, "success", "matrix")
    assert matrix["columns"] == data["environments"] == result["environments"]
    for i, shown in enumerate(matrix["rows"]):
        assert [cell["value"] for cell in shown["cells"]] == result["R"][i]
        for j, cell in enumerate(shown["cells"]):
            defined = result["R"][i][j] is not None
            assert cell["at"] == ([i, j] if defined else None)
            assert cell["own"] == (i > 0 and result["environments"][j] in result["trained"][i - 1])
    for j, name in enumerate(result["environments"]):
        tasks = data["tasks"][name]
        for i, scores in enumerate(tasks["scores"]):
            known = [score for score in scores if score is not None]
            if known:
                assert sum(known) / len(known) == pytest.approx(result["R"][i][j])
    values = {line[0]: line[1] for line in block(data, "metrics", "table")["rows"]}
    assert values["average score"] == f"{result['metrics']['average_score']:.2f}"


def test_training_curves_are_means_of_the_logs(tmp_path):
    result = make_run(tmp_path, training=80)
    report.contrail_report(result, str(tmp_path))
    training = block(data_of(tmp_path / "report.html"), "curves", "chart", 1)
    first, second = training["series"]
    assert [first["name"], second["name"]] == ["babyai", "textcraft"]
    assert first["x"] == [k + 0.5 for k in range(10)]
    assert second["x"] == [k + 10.5 for k in range(10)]  # the second stage goes on counting
    solved = [sum(k % 3 > 0 for k in range(8 * u, 8 * u + 8)) / 8 for u in range(10)]
    assert first["y"] == pytest.approx(solved)
    assert training["marks"] == [[0, "1: babyai"], [10, "2: textcraft"]]


def test_a_stage_without_an_environment_breaks_its_curve(tmp_path):
    result = make_run(tmp_path, training=16)
    again = [record("babyai", "again", [turn("a", "b")], update=k, split="train") for k in (0, 1)]
    write_log(tmp_path, "003-train", again)
    result["stages"].append("babyai")
    found = episodes.packed(tmp_path, ())
    curve = run.training_curves(result, found)
    assert curve["series"][0]["x"] == [0.5, 1.5, 4, 4.5, 5.5]
    assert curve["series"][0]["y"][2] is None


def test_the_answer_stands_first(tmp_path):
    result = make_run(tmp_path)
    report.contrail_report(result, str(tmp_path))
    lines = block(data_of(tmp_path / "report.html"), "answer", "text")["lines"]
    assert lines[0] == headline(result) != ""


@pytest.mark.parametrize("count", [3, 7])
def test_results_of_older_versions_have_a_page(count, tmp_path):
    result = make_result(count, MIXED)  # no baselines, drift, turnover, episodes
    report.contrail_report(result, str(tmp_path))
    data = data_of(tmp_path / "report.html")
    assert block(data, "success", "matrix")["columns"] == NAMES[:count]
    assert data["episodes"]["counts"] == {"evaluate": [0, 0], "train": [0, 0]}
    del result["episode_metrics"]
    report.contrail_report(result, str(tmp_path))


def test_a_run_without_stages_has_a_page(tmp_path):
    result = make_result(2, ())
    report.contrail_report(result, str(tmp_path))
    assert data_of(tmp_path / "report.html")["sections"][0]["id"] == "answer"


def hostile_turns(row, rng, success):
    return [turn(HOSTILE, HOSTILE, action=None, valid=False)]


def test_hostile_text_stays_data(tmp_path):
    make_run(tmp_path, turns=hostile_turns, name=HOSTILE, training=8)
    found = episodes_of(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "<img" not in text
    # As many elements as a tame run's page has; beside the data the template's own.
    tame = tmp_path / "tame"
    make_run(tame, training=8)
    episodes_of(tame)
    count = len(re.findall("<script", (tame / "report.html").read_text()))
    assert len(re.findall("<script", text)) == count
    data = data_of(tmp_path / "report.html")
    assert data["title"].startswith("<script>window.hacked")
    [(_, shown)] = [item for where, item in found.items() if where == "000-evaluate:1"]
    observation = shown["turns"][0]["observation"]
    assert "<script>" in observation
    assert "\u05e9\u05dc\u05d5\u05dd" in observation
    assert "\U0001f600" in observation
    for letter in ("\x1b", "\x07", "\u202e", "\u2028", "\ud800"):
        assert letter not in observation
    assert "\\x1b[31m" in observation


def test_a_very_long_text_is_cut_and_found_in_the_log(tmp_path):
    def long(row, rng, success):
        return [turn(random.Random(row).randbytes(2_500_000).hex(), "end")]

    make_run(tmp_path, training=0)
    write_log(tmp_path, "001-evaluate", [record("babyai", "00", long(0, None, True))])
    found = episodes_of(tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    observation = found["001-evaluate:1"][1]["turns"][0]["observation"]
    assert len(observation) < episodes.LONGEST + 200
    assert "4,980,000 more letters in episodes/001-evaluate.jsonl.gz, line 1" in observation


def test_what_does_not_fit_is_training_evenly_thinned(tmp_path, monkeypatch):
    def noisy(row, rng, success):
        return [turn(f"{rng.getrandbits(4000):x}", "go")]

    make_run(tmp_path, training=400, turns=noisy)
    monkeypatch.setattr(episodes, "CHUNK", 10_000)
    monkeypatch.setattr(episodes, "ROOM", 250_000)
    found = episodes_of(tmp_path)
    counts = data_of(tmp_path / "report.html")["episodes"]["counts"]
    evaluations = [where for where in found if "evaluate" in where]
    assert counts["evaluate"] == [len(evaluations), 192] == [192, 192]
    training = [index for where, (index, _) in found.items() if "train" in where]
    assert counts["train"] == [len(training), 800]
    assert 50 < len(training) < 700
    for stage in (1, 2):  # both stages, and early and late updates alike
        updates = [index["update"] for index in training if index["stage"] == stage]
        assert min(updates) < 5
        assert len(updates) > len(training) / 4
    assert (tmp_path / "report.html").stat().st_size < 1_200_000


def test_changed_tasks_are_kept_first(tmp_path, monkeypatch):
    def noisy(row, rng, success):
        return [turn(f"{rng.getrandbits(4000):x}", "go")]

    result = make_run(tmp_path, training=8, turns=noisy)
    changed = set(run.changed_tasks(result))
    assert 0 < len(changed) < 64
    monkeypatch.setattr(episodes, "CHUNK", 3_000)
    monkeypatch.setattr(episodes, "ROOM", 30_000)
    kept = {(index["environment"], index["task"]) for index, _ in episodes_of(tmp_path).values()}
    assert kept
    assert kept <= changed


def test_turns_that_cannot_be_told_apart_have_no_probabilities(tmp_path):
    logged = record("babyai", "00", [turn("a", "b"), turn("c", "d")])
    assert episodes._written(logged) == [([9, 9], [-0.1, -0.1])] * 2
    logged["mask"] = [0, 0, 1, 1, 1, 1, 1, 1]
    assert episodes._written(logged) is None
    write_log(tmp_path, "000-evaluate", [logged])
    found = episodes.packed(tmp_path, ())
    [shown] = json.loads(gzip.decompress(found.chunks[1]))
    assert [item["text"] for item in shown["turns"]] == ["b", "d"]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.mark.parametrize("text", ["go north", "go \U0001f600 \u05e9 ü<|end|>", "\U0001f600", ""])
def test_pieces_are_the_text(tokenizer, text):
    ids = tokenizer.encode(text).ids
    texts = TokenTexts(tokenizer)
    pieces = texts.pieces(ids)
    assert "".join(piece for piece, _ in pieces) == text
    assert sum(count for _, count in pieces) == len(ids)
    assert all("\ufffd" not in piece for piece, _ in pieces)


def test_tokens_have_their_own_probabilities(tokenizer, tmp_path):
    write_tokenizer(tmp_path)
    ids = tokenizer.encode("a \U0001f600").ids
    free = turn("see", "a \U0001f600", ids=ids, logprobs=[-0.5, 0.0, -1.0, -2.0, -0.1, 0.0])
    left, right = tokenizer.encode("left<|end|>").ids, tokenizer.encode("right<|end|>").ids
    choice = turn("see", "right", choices=[left, right], choice=1, choice_logprobs=[-1.0, -0.5])
    logged = [record("babyai", "00", [free, choice])]
    assert len(ids) == 6
    write_log(tmp_path, "000-evaluate", logged)
    found = episodes.packed(tmp_path, ())
    [shown] = json.loads(gzip.decompress(found.chunks[1]))
    written, chosen = shown["turns"]
    assert written["pieces"] == ["a", " ", "\U0001f600"]
    # A letter of several tokens is as likely as the least likely of them.
    assert written["chances"] == pytest.approx([math.exp(-0.5), 1, math.exp(-2)], abs=1e-3)
    assert chosen["candidates"] == ["left", "right"]
    assert chosen["chances"] == pytest.approx([math.exp(-1), math.exp(-0.5)], abs=1e-3)


def test_without_a_tokenizer_the_page_has_the_texts(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "000"
    checkpoint.mkdir(parents=True)
    away = {"base_model_name_or_path": "/nowhere/at/all"}
    (checkpoint / "adapter_config.json").write_text(json.dumps(away))
    assert TokenTexts.of_run(tmp_path) is None
    write_log(tmp_path, "000-evaluate", [record("babyai", "00", [turn("a", "b")])])
    [shown] = json.loads(gzip.decompress(episodes.packed(tmp_path, ()).chunks[1]))
    assert shown["turns"][0]["text"] == "b"


@pytest.fixture
def comparison(tmp_path):
    """A comparison of two strategies and two seeds; the runs of one have pages."""
    high = [[0.2, 0.3, 0.4], [0.8, 0.3, 0.4], [0.7, 0.9, 0.5]]
    low = [[0.2, 0.3, 0.4], [0.8, 0.3, 0.4], [0.1, 0.9, 0.2]]
    rows = [
        row(strategy, R, seed=seed, files=tmp_path)
        for strategy, R in (("replay", high), ("sequential", low))
        for seed in (0, 1)
    ]
    made = summarise(
        "two", rows, ["sequential", "replay"], [("babyai", "textcraft")], [0, 1], "sequential"
    )
    made |= {"failed": {}, "shared": None}
    for number, own in enumerate(made["rows"]):
        own["run"] = str(tmp_path / f"run{number}")
        if number < 2:
            Path(own["run"]).mkdir()
            (tmp_path / f"run{number}" / "report.html").write_text("")
    return made


def test_a_comparison_has_a_page(comparison, tmp_path):
    report.contrail_comparison(comparison, str(tmp_path))
    data = data_of(tmp_path / "report.html")
    assert data["sections"][0]["blocks"][0]["lines"] == [answer(comparison)]
    dots = block(data, "metrics", "chart")
    assert dots["categories"] == ["sequential", "replay"]
    values = comparison["summary"]["replay"]["metrics"]["average_score"]["values"]
    points = dots["series"][0]
    own = [x for x, k in zip(points["x"], points["category"], strict=True) if k == 1]
    assert own == values
    _, *matrices = next(s["blocks"] for s in data["sections"] if s["id"] == "matrices")
    assert len(matrices) == 2
    cell = matrices[1]["rows"][2]["cells"][0]
    assert cell["value"] == pytest.approx(0.7)
    assert cell["links"] == [["0", "run0/report.html#cell=2,0"], ["1", "run1/report.html#cell=2,0"]]
    assert matrices[0]["rows"][2]["cells"][0]["links"] == []  # those pages are not there
    differences = block(data, "differences", "table")
    assert [line[0] for line in differences["rows"]] == ["replay"]


def test_one_strategy_has_no_differences(comparison, tmp_path):
    alone = {
        **comparison,
        "strategies": ["sequential"],
        "summary": {"sequential": comparison["summary"]["sequential"]},
        "pairs": [],
    }
    data = comparison_page.page(alone, tmp_path)
    assert "differences" not in [found["id"] for found in data["sections"]]


def test_a_missing_library_is_said(tmp_path, monkeypatch):
    page.charts.cache_clear()
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install bokeh"):
        report.contrail_report(make_result(), str(tmp_path))
    assert not (tmp_path / "report.html").exists()
    page.charts.cache_clear()


def test_pages_are_equal_for_equal_runs(tmp_path):
    result = make_run(tmp_path)
    report.contrail_report(result, str(tmp_path))
    first = (tmp_path / "report.html").read_bytes()
    report.contrail_report(result, str(tmp_path))
    assert (tmp_path / "report.html").read_bytes() == first
