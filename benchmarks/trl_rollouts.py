"""TRL's two ways to play.

Both with its `generate`: all episodes in one batch, padded on the left, the whole history again
each turn, through the adapter as PEFT applies it.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contrail
from benchmarks.trl_trainer import config, make_trainer
from benchmarks.workload import Endless, Settings, make_environment, scripted, tasks
from contrail.model.policy import Policy

from datasets import Dataset  # isort: skip
from trl import GRPOTrainer  # isort: skip

Row = dict[str, Any]

# A tool-calling ChatML; SmolLM2's own template knows no tools. As short as contrail's prompts.
TOOL_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if loop.first and tools -%}
{%- for tool in tools -%}
{{ 'Tool: ' + tool['function']['name'] + '(action)\n' }}
{%- endfor -%}
{%- endif -%}
{{ message['content'] }}
{%- for call in message['tool_calls'] or [] -%}
{{ call['function']['name'] + '(' + (call['function']['arguments'] | tojson) + ')' }}
{%- endfor -%}
{{ '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
"""


def with_rollout_func(policy: Policy, settings: Settings, directory: Path) -> GRPOTrainer:
    """Return a trainer that plays the workload by `rollout_func`; its prompts are the tasks'
    ids."""
    by_id = {task.id: task for task in tasks(settings)}
    environments = [make_environment(settings)() for _ in range(settings.episodes)]
    chat = policy.chat

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        seen: Counter[str] = Counter()
        adapters, observations, ids = [], [], []
        for name, environment in zip(prompts, environments, strict=True):
            adapter = scripted(settings, by_id[name], seen[name])
            seen[name] += 1
            observation = environment.reset(by_id[name])
            adapters.append(adapter)
            observations.append(observation)
            ids.append(chat.start(adapter.system(environment), adapter.render(observation)))
        starts = [len(row) for row in ids]
        masks: list[list[int]] = [[] for _ in ids]
        for turn in range(settings.turns):
            written, _ = trainer._generate_single_turn(  # type: ignore[no-untyped-call]
                ids, None, {}, 1
            )
            for row, new in enumerate(written):
                text = chat.text(new)
                step = environments[row].step(adapters[row].parse(text, observations[row]))
                observations[row] = step.observation
                after = []
                if turn + 1 < settings.turns:
                    after = [chat.end, *chat.follow(adapters[row].render(step.observation))]
                ids[row] = [*ids[row], *new, *after]
                masks[row] += [1] * len(new) + [0] * len(after)
        return {
            "prompt_ids": [row[:start] for row, start in zip(ids, starts, strict=True)],
            "completion_ids": [row[start:] for row, start in zip(ids, starts, strict=True)],
            "logprobs": None,  # `generate` records none, and TRL asks for none here
            "env_mask": masks,
        }

    rows = Dataset.from_dict({"prompt": list(by_id)})
    arguments = config(settings, directory)
    return make_trainer(policy, arguments, train_dataset=rows, rollout_func=rollout)


def with_environment_factory(policy: Policy, settings: Settings, directory: Path) -> GRPOTrainer:
    """Return a trainer that plays the workload by `environment_factory`."""

    class Tool:
        """The environment as TRL wants it: its public methods are the model's tools."""

        def __init__(self) -> None:
            self._environment = make_environment(settings)()

        def reset(self, task: Row, sample: int, **_: Any) -> str:
            self._adapter = scripted(settings, contrail.Task(**task), sample)
            return self._show(self._environment.reset(contrail.Task(**task)))

        def act(self, action: str) -> str:
            """Act.

            Args:
                action: What to do.
            """
            parsed = self._adapter.parse(action, self._seen)
            return self._show(self._environment.step(parsed).observation)

        def _show(self, observation: contrail.Observation) -> str:
            self._seen = observation
            return self._adapter.render(observation)

    tokenizer: Any = copy.deepcopy(policy.chat.tokenizer)
    tokenizer.chat_template = TOOL_TEMPLATE
    # Whatever the model writes is a call of the tool: every turn is played.
    tokenizer.response_template = {}
    tokenizer.parse_response = lambda ids, **_: {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "type": "function",
                "function": {"name": "act", "arguments": {"action": tokenizer.decode(ids)}},
            }
        ],
    }
    arguments = config(settings, directory)
    return make_trainer(policy, arguments, processing_class=tokenizer, environment_factory=Tool)


def rows(settings: Settings, conversational: bool) -> list[Row]:
    """What TRL's data loader would give: a row for each episode."""
    made: list[Row] = []
    for task in tasks(settings):
        for sample in range(settings.group):
            prompt: Any = task.id
            if conversational:
                system = scripted(settings, task, sample).system(Endless(1, settings.tasks))
                prompt = [
                    {"role": "system", "content": system},
                    {"role": "user", "content": ""},
                ]
            made.append({"prompt": prompt, "task": vars(task), "sample": sample})
    return made


def play(trainer: GRPOTrainer, inputs: Sequence[Row]) -> dict[str, int]:
    """One rollout, as TRL's training loop runs it; how many tokens were shown and written."""
    assert trainer.model is not None
    trainer.model.train()
    made = trainer._generate_and_score_completions([dict(row) for row in inputs])
    shown = made["prompt_mask"].sum() + made["completion_mask"].sum()
    written = (made["completion_mask"] * made["tool_mask"]).sum()
    return {"tokens": int(shown), "written": int(written)}
