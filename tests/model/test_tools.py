"""Tool calls as chat templates write them; the templates are those that come with TRL."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import trl

from contrail import Observation
from contrail.cli import app
from contrail.errors import ContrailError
from contrail.plugins.adapters.act import Act
from contrail.plugins.adapters.tools import Tools
from contrail.plugins.models.smollm2 import CHATML, tiny_random

from transformers import AutoTokenizer  # isort: skip
from contrail.model.chat import Chat  # isort: skip
from contrail.model.tools import check_tools  # isort: skip

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
SYSTEM = "You are in a house."
SHOWN = ["A door.", "It is <|im_end|> locked.", "Dark."]
ACTIONS = ['say "hi"\n', "go <|im_start|> left"]
ADAPTER = Tools()


def chat(template: str | None) -> Chat:
    tokenizer = copy.deepcopy(AutoTokenizer.from_pretrained(str(tiny_random())))
    tokenizer.chat_template = template and (
        (TEMPLATES / template).read_text() if template.endswith(".jinja") else template
    )
    return Chat(tokenizer)


def rendered(used: Chat) -> str:
    """The whole conversation as the template itself writes it."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}]
    messages.append({"role": "user", "content": SHOWN[0]})
    for action, shown in zip(ACTIONS, SHOWN[1:], strict=True):
        function = {"name": "act", "arguments": {"action": action}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [{"function": function}]},
            {"role": "tool", "content": shown},
        ]
    made: str = used.tokenizer.apply_chat_template(
        messages, tools=list(Tools.tools), tokenize=False, add_generation_prompt=True
    )
    return made


@pytest.mark.parametrize(
    "name", ["qwen2_5.jinja", "qwen3_instruct_2507.jinja", "qwen3_vl.jinja", "llama3_1.jinja"]
)
def test_an_episode_is_the_templates_conversation(name: str) -> None:
    plain = chat(name)
    check_tools(plain, ADAPTER)
    used = plain.using(Tools.tools)
    assert plain.using(Tools.tools) is used
    ids = used.start(SYSTEM, SHOWN[0])
    for action, shown in zip(ACTIONS, SHOWN[1:], strict=True):
        answer = used.answer(ADAPTER.answer(action))
        assert answer[-1] == used.end
        assert ADAPTER.parse(used.text(answer), Observation("")) == action.strip()
        ids += [*answer, *used.follow(shown)]
    written = used.tokenizer.decode(ids)
    dated = re.compile(r"Today Date: .*")  # contrail's is always the same
    assert dated.sub("", written) == dated.sub("", rendered(used))
    ends = {used.tokenizer.decode([used.end])} - {"<"}
    for end in ends:  # those in messages are text
        control = sum(token == used.end for token in ids)
        assert control == written.count(end) - 1


@pytest.mark.parametrize("name", ["qwen3.jinja", "qwen3_5_think.jinja", "qwen3_5_nothink.jinja"])
def test_models_that_think_call_tools(name: str) -> None:
    plain = chat(name)
    check_tools(plain, ADAPTER)
    used = plain.using(Tools.tools)
    text = used.text(used.answer(ADAPTER.answer("go left")))
    assert ADAPTER.parse(text, Observation("")) == "go left"
    assert "tool_response" in used.text(used.follow("A wall."))


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (CHATML, "has no tools"),
        (None, "has no tools"),
        ("llama3.jinja", "has no tools"),
        ("gptoss.jinja", "cannot be used"),
        ("phi3.jinja", "no place for the results of tools"),
        ("glm4moe.jinja", "cannot read the model's tool calls"),
        ("lfm2.jinja", "cannot read the model's tool calls"),
    ],
)
def test_a_template_without_readable_tools_is_refused(template: str | None, why: str) -> None:
    with pytest.raises(ContrailError, match=why) as caught:
        check_tools(chat(template), ADAPTER)
    assert "`adapter: json`" in str(caught.value)
    check_tools(chat(template), Act())  # without tools there is nothing to refuse


def test_thoughts_that_a_template_keeps_beside_tools_cannot_be_dropped() -> None:
    thinking = chat("qwen3.jinja")
    thinking.drop_past_thoughts()
    with pytest.raises(ContrailError, match=r"with tools, .* Set `answers\.past_thoughts: keep`"):
        check_tools(thinking, ADAPTER)
    check_tools(thinking, Act())


def test_a_run_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(
        "model: tiny-random\nadapter: tools\n"
        "stream: [{environment: {name: textcraft, depths: [1]}, updates: 1}]\n"
    )
    monkeypatch.setattr("sys.argv", ["contrail", "run", "s.yaml", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    assert "has no tools" in capsys.readouterr().err
    assert not Path("runs").exists()
