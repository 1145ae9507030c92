"""Members of plugins that could not do their work are refused, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

import contrail
from contrail.errors import ContrailError, PluginError

HEAD = """
import contrail

class Mine(contrail.{base}):
{body}

@contrail.hookimpl
def contrail_{table}(register):
    register("mine", Mine)
"""
ADAPTER = """
    def render(self, observation, episode):
        return observation.text
    def parse(self, text, observation, episode):
        return text
"""
STREAM = """
model: tiny-random
plugins: [mine.py, contrail.check.world]
stream: [{{environment: crossroads, updates: 1{stage}}}]
evaluate: {{tasks: 2, baselines: false}}
trackers: []
grpo: {{num_generations: 4, generation_batch_size: 8}}
{more}
"""


def run(
    folder: Path, base: str, table: str, body: str, stage: str = "", more: str = ""
) -> contrail.Result:
    (folder / "mine.py").write_text(HEAD.format(base=base, table=table, body=body))
    (folder / "stream.yaml").write_text(STREAM.format(stage=stage, more=more))
    return contrail.run(folder / "stream.yaml", out=folder / "run")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    def state_dict(self): return {}", "Mine defines state_dict without load_state_dict"),
        ("    def load_state_dict(self, state): 0", "load_state_dict without state_dict"),
    ],
)
def test_half_a_state(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ContrailError, match=rf"strategy 'mine': .*{message}: a run that goes on"):
        run(tmp_path, "Strategy", "strategies", body, more="strategy: mine")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("stop = 'Observation:'", "stop is 'Observation:', of type str; it must be a list of"),
        ("stop = 3", "stop is 3, of type int; it must be a list of texts"),
        ("stop = ['']", "stop has an empty text, at which every answer would end"),
        ("max_new_tokens = 0", "max_new_tokens is 0; it must be above 0"),
        ("max_new_tokens = 8.5", "max_new_tokens is 8.5, of type float; it must be a whole"),
        ("max_new_tokens = '8'", "max_new_tokens is '8', of type str; it must be a whole"),
        ("tools = 'x'", "tools must be a list of mappings"),
        ("tools = ['x']", "tools must be a list of mappings"),
        ("single_turn = 'no'", "single_turn is 'no', of type str; it must be True or False"),
        ("system = 'Be good.'", r"Mine\.system is 'Be good\.'\. It must be a method: def system\("),
    ],
)
def test_attributes_of_an_adapter(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ContrailError, match=f"adapter 'mine'.*{message}"):
        run(tmp_path, "Adapter", "adapters", f"    {body}\n{ADAPTER}", stage=", adapter: mine")


def test_an_adapter_that_offers_nothing_is_named(tmp_path: Path) -> None:
    body = f"{ADAPTER}    def candidates(self, observation): return []\n"
    with pytest.raises(
        PluginError, match="candidates of the adapter Mine returned none, though the env"
    ):
        run(tmp_path, "Adapter", "adapters", body, stage=", adapter: mine")


def test_an_answer_that_is_no_text_is_named(tmp_path: Path) -> None:
    body = f"{ADAPTER}    def answer(self, action): return None\n"
    message = "adapter Mine: answer: TypeError: what answer returned is None"
    with pytest.raises(PluginError, match=message):
        run(tmp_path, "Adapter", "adapters", body, stage=", adapter: mine, learn: imitate")


def test_a_misspelt_member_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "Strategy", "strategies", "    panalty = 0", more="strategy: mine")
    said = " ".join(capsys.readouterr().err.split())
    assert "strategy 'mine' (plugin 'mine'): panalty is never used. Did you mean penalty?" in said


def test_a_bonus_without_effect_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "    def bonus(self, learner, groups): return [1.0] * sum(map(len, groups))"
    run(tmp_path, "Strategy", "strategies", body, ", learn: imitate", "strategy: mine")
    said = " ".join(capsys.readouterr().err.split())
    note = "the bonus of 'mine' has no effect in the stage 'crossroads': Imitate has no advantages"
    assert note in said
