"""Models that think: chat templates as their makers wrote them, without the parts for tools, and
a tiny policy that writes what it is to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rooms import Rooms, train

from contrail import Observation
from contrail.model.policy import Policy, linear_modules, load_base, with_lora
from contrail.plugins.adapters.react import React
from contrail.plugins.models.smollm2 import tiny_random
from contrail.seeding import generator

import torch  # isort: skip
from contrail.engine import decide as decide_module  # isort: skip
from contrail.engine import engine as engine_module  # isort: skip
from contrail.engine import plain as plain_module  # isort: skip
from contrail.rollout.play import Job  # isort: skip
from peft import LoraConfig  # isort: skip

_QWEN_3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(\
message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n')\
.split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content\
.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
_QUIET = "enable_thinking is defined and enable_thinking is false"

_DEEPSEEK_R1 = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
    "{% endif %}{% set ns = namespace(system_prompt='') %}{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}"
    "{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{'<|user|>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<|assistant|>' + content + '<|im_end|>'}}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{'<|assistant|><think>\\n'}}{% endif %}"
)

_GLM_4_5 = """\
{%- set ns = namespace(last_user_index=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{% set ns.last_user_index = loop.index0 -%}{%- endif %}
{%- endfor %}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ m.content }}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set reasoning_content = '' %}
{%- set content = m.content %}
{%- if '</think>' in content %}
    {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]\
.lstrip('\\n') %}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > ns.last_user_index and reasoning_content -%}
{{ '\\n<think>' + reasoning_content.strip() +  '</think>'}}
{%- else -%}
{{ '\\n<think></think>' }}
{%- endif -%}
{%- if content.strip() -%}
{{ '\\n' + content.strip() }}
{%- endif -%}
{%- elif m.role == 'system' -%}
<|system|>
{{ m.content }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    <|assistant|>
{%- endif -%}"""

TEMPLATES = {
    "qwen_3": _QWEN_3,
    "qwen_3_without_thinking": _QWEN_3.replace(_QUIET, "true"),
    "qwen_3_thinking_2507": _QWEN_3.replace(_QUIET, "true").replace(
        "{{- '<think>\\n\\n</think>\\n\\n' }}", "{{- '<think>\\n' }}"
    ),
    "deepseek_r1": _DEEPSEEK_R1,  # with other names for its tokens
    "glm_4_5": _GLM_4_5,
}
OPENINGS = {
    "qwen_3_without_thinking": "<think>\n\n</think>\n\n",
    "qwen_3_thinking_2507": "<think>\n",
    "deepseek_r1": "<think>\n",
}
"""What the generation prompt writes of an answer."""


def tokenizer(template: str, special: bool = False) -> Any:
    """The tokenizer of tiny-random with markers of thoughts, which may be special, and roles."""
    _, made = load_base(str(tiny_random()), dtype="float32", device="cpu")
    made.add_tokens(["<think>", "</think>"], special_tokens=special)
    made.add_tokens(["<|system|>", "<|user|>", "<|assistant|>"], special_tokens=True)
    made.chat_template = template
    return made


def _base(vocabulary: int) -> Any:
    """The model tiny-random with more tokens."""
    base, _ = load_base(str(tiny_random()), dtype="float32", device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base.resize_token_embeddings(vocabulary, mean_resizing=False)
    return base


def save_thinking_model(directory: Path, template: str = TEMPLATES["qwen_3"]) -> None:
    """Write a model and its tokenizer as transformers saves them."""
    made = tokenizer(template)
    made.save_pretrained(directory)
    _base(len(made)).save_pretrained(directory)


def thinking_policy(template: str = TEMPLATES["qwen_3"], **lora: Any) -> Policy:
    """A policy of tiny-random that drops past thoughts; its weights are enlarged."""
    made = tokenizer(template)
    base = _base(len(made))
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    base.requires_grad_(False)
    settings: dict[str, Any] = {"target_modules": sorted(linear_modules(base)), **lora}
    adapter = LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings)
    policy = with_lora(base, made, adapter, seed=0)
    train(policy, 0.1)
    policy.chat.drop_past_thoughts()
    return policy


class Thoughts(React):
    """Free text; what stands after a thought is the action."""

    max_new_tokens = 40

    def parse(self, text: str, observation: Observation) -> str:
        return text.rpartition("</think>")[2].strip()


THOUGHTS = ("", "The door may be locked.", "I look around, and then I go left.", "hm")
ACTIONS = ("go", "look", "go left", "wait", "open the door")


class Writer:
    """Stands in for a generator: the model writes thoughts and actions of these, each turn some."""

    def __init__(self, policy: Policy, task: int, sample: int, cut: int) -> None:
        """`cut`: the turn that is cut off, within its thought; 0 for none."""
        draws = generator(0, "writer", task, sample)
        start = str(policy.chat.tokenizer.decode(policy.chat.start("", "x")))
        opening = "" if start.endswith("<think>\n") else "<think>"
        self.tokens: list[int] = []
        for turn in range(1, 6):
            thought, action = draws.choice(THOUGHTS), draws.choice(ACTIONS)
            if turn == cut:
                thought = " ".join([*ACTIONS, *THOUGHTS])
            text = f"{opening}\n{thought}\n</think>\n\n{action}"
            ids = policy.chat.tokenizer(text, add_special_tokens=False)["input_ids"]
            self.tokens += [*ids, policy.chat.end][: Thoughts.max_new_tokens]

    def random(self) -> Forced:
        return Forced(self.tokens.pop(0))


@dataclass
class Forced:
    """Stands in for a draw."""

    token: int


def follow_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a `Writer` decide what the model writes; it is recorded with its own probability."""
    drawn = decide_module.sample

    def follow(logits: torch.Tensor, temperature: float, draws: Sequence[Any]) -> list[Any]:
        made = drawn(logits, temperature, [0.5 if isinstance(d, Forced) else d for d in draws])
        for row, decision, draw in zip(logits, made, draws, strict=True):
            if isinstance(draw, Forced):
                decision.choice = draw.token
                decision.logprob = float((row / temperature).log_softmax(-1)[draw.token])
        return made

    monkeypatch.setattr(engine_module, "sample", follow)
    monkeypatch.setattr(plain_module, "sample", follow)


def thinking_jobs(policy: Policy, count: int = 3, each: int = 2) -> list[Job]:
    def writer(task: int, sample: int) -> Any:
        return Writer(policy, task, sample, cut=sample * task)

    return [
        Job("rooms", task, Thoughts(), writer(number, sample), sample)
        for number, task in enumerate(Rooms().tasks("train")[:count])
        for sample in range(each)
    ]
