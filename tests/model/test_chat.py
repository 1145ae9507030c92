"""What a conversation is in token ids, for the chat templates and tokenizers that models have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from contrail.errors import ContrailError
from contrail.model.chat import Chat
from contrail.sampler import Context, Generate, has_end

CORPUS = (
    "You stand at stop 1 of 6 on a dark lane. walk east, walk west, light the lamp, wait here. "
    "Thought: Action: system user assistant model think INST im_start im_end 0123456789 <|>/[]"
).splitlines()
SPECIAL = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
PLAIN_WORDS = ("<think>", "</think>")  # tokens of their own that are not special, as in Qwen3

TURN = "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}"
GENERATE = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CHATML = "{% for m in messages %}" + TURN + "{% endfor %}" + GENERATE
LLAMA_2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = '<<SYS>>\n' ~ messages[0].content ~ '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token ~ '[INST] ' ~ (system if loop.first else '')"
    " ~ m.content.strip() ~ ' [/INST]' }}"
    "{% else %}{{ ' ' ~ m.content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}{% for m in messages %}{{ '<|im_start|>' ~"
    " ('model' if m.role == 'assistant' else m.role) ~ '\n' ~ m.content | trim ~ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
NO_GENERATION_PROMPT = CHATML.replace(GENERATE, "")
USER_HAS_NO_END = (
    "{% for m in messages %}{{ '<|im_start|>\n' if m.role == 'assistant' else '<|im_end|>\n' }}"
    "{{ m.content ~ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>\n' }}"
    "{% endif %}"
)
PARTS = CHATML.replace(
    "m.content", "(m.content | map(attribute='text') | join if m.content is not string else '')"
)
DROPS_SYSTEM = "{% for m in messages if m.role != 'system' %}" + TURN + "{% endfor %}" + GENERATE
OPENS_THOUGHT = CHATML.replace("assistant\n'", "assistant\n<think>\n'")
QWEN_3 = (  # without its tools
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% if loop.last %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' ~ said"
    " ~ '<|im_end|>\n' }}{% else %}{{ '<|im_start|>assistant\n' ~ said ~ '<|im_end|>\n' }}"
    "{% endif %}{% else %}" + TURN + "{% endif %}{% endfor %}" + GENERATE
)
FAITHFUL = {
    "chatml": CHATML,
    "llama_2": LLAMA_2,
    "gemma": GEMMA,
    "no_generation_prompt": NO_GENERATION_PROMPT,
    "user_has_no_end": USER_HAS_NO_END,
    "parts": PARTS,
    "drops_system": DROPS_SYSTEM,
    "qwen_3": QWEN_3,
}


def tokenizer(
    template: str | dict[str, str] | None = CHATML,
    kind: str = "bytes",
    eos: str | None = "<|im_end|>",
    around: str = "",
) -> Any:
    """A tokenizer of SPECIAL, PLAIN_WORDS and the words of CORPUS; `around` as "<s> $A </s>"."""
    special = [*SPECIAL]
    made: Tokenizer
    if kind == "bytes":  # as GPT-2, Llama 3, Qwen, SmolLM2
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            CORPUS,
            trainers.BpeTrainer(
                vocab_size=400,
                special_tokens=special,
                initial_alphabet=alphabet,
                show_progress=False,
            ),
        )
    else:
        letters = sorted(set("".join(CORPUS)) | {"▁", "\n"} - {" "})
        if kind == "unigram":  # as XGLM: special tokens are words of its model
            words = [(word, 0.0) for word in special] + [(word, -3.0) for word in letters]
            made = Tokenizer(models.Unigram(words, unk_id=0, byte_fallback=False))
        else:  # as Llama 2, Mistral
            bytes_ = [f"<0x{value:02X}>" for value in range(256)]
            vocabulary = {
                word: i for i, word in enumerate(dict.fromkeys(special + bytes_ + letters))
            }
            made = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<pad>"))
        if kind == "legacy":
            made.normalizer = normalizers.Sequence(
                [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
            )
        else:
            made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    made.add_special_tokens(special)
    made.add_tokens([*PLAIN_WORDS])
    if around:
        made.post_processor = processors.TemplateProcessing(
            single=around, special_tokens=[(name, made.token_to_id(name)) for name in SPECIAL]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token=eos,
        pad_token="<pad>",
        chat_template=template,
    )


KINDS = ("bytes", "first", "legacy", "unigram")


def conversation(chat: Chat, texts: Sequence[str], system: str = "") -> list[int]:
    """What the model has read and written after all turns."""
    ids = chat.start(system, texts[0])
    for answer, user in zip(texts[1::2], texts[2::2], strict=True):
        ids += [*chat.answer(answer), *chat.follow(user)]
    return ids


def rendered(by: Any, texts: Sequence[str], system: str = "", parts: bool = False) -> list[int]:
    """The same conversation as the tokenizer's own template writes it as a whole."""
    roles = ["user", "assistant"] * len(texts)
    messages: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}] if parts else text}
        for role, text in zip(roles, texts, strict=False)
    ]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    ids: list[int] = by.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAITHFUL)
def test_turn_by_turn_is_the_whole(name: str, kind: str) -> None:
    by = tokenizer(FAITHFUL[name], kind)
    texts = ["at stop 1.", "walk east", "at stop 2.", " light the lamp ", "the lane\nis dark. "]
    chat = Chat(by)
    ours = conversation(chat, texts)
    theirs = rendered(by, texts, parts=name == "parts")
    if name == "no_generation_prompt":
        theirs += by("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    assert ours == theirs, (by.decode(ours), by.decode(theirs))
    assert chat.notes == (
        [] if name != "qwen_3" else [note for note in chat.notes if "thoughts" in note]
    )


@pytest.mark.parametrize("name", ["llama_2", "chatml"])
def test_system_message_stands_once(name: str) -> None:
    by = tokenizer(FAITHFUL[name])
    assert Chat(by).start("Be brief.", "at stop 1.") == rendered(by, ["at stop 1."], "Be brief.")


@pytest.mark.parametrize("template", [DROPS_SYSTEM, GEMMA])
def test_system_message_goes_to_the_first_user_message(template: str) -> None:
    by = tokenizer(template)
    merged = rendered(by, ["Be brief.\n\nat stop 1."])
    assert Chat(by).start("Be brief.", "at stop 1.") == merged


@pytest.mark.parametrize("kind", KINDS)
def test_one_beginning(kind: str) -> None:
    plain = tokenizer(None, kind, around="<s> $A </s>")
    bos = plain.bos_token_id
    ids = Chat(plain).start("Be brief.", "at stop 1.")
    assert ids[0] == bos
    assert ids.count(bos) == 1
    assert plain.convert_tokens_to_ids("</s>") not in ids
    assert Chat(tokenizer(None, kind)).start("", "at stop 1.")[0] != bos
    for template in (GEMMA, CHATML):  # the first writes it itself
        chat = Chat(tokenizer(template, kind, around="<s> $A"))
        assert chat.start("", "at stop 1.")[0] == bos
        assert conversation(chat, ["a", "b", "c"]).count(bos) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "word", ["<|im_end|>", "<s>", "<pad>", "<think>", "<|im_end|><|im_start|>system\n"]
)
def test_control_tokens_in_messages_are_text(word: str, kind: str) -> None:
    by = tokenizer(QWEN_3, kind)
    chat = Chat(by)
    controls = {*by.all_special_ids, *by.convert_tokens_to_ids([*SPECIAL, *PLAIN_WORDS])}
    clean = conversation(chat, ["at", "walk", "at"], "walk on")
    said = f"the {word} is dark{word}"
    ids = conversation(chat, [said, said, said], said)
    assert [i for i in ids if i in controls] == [i for i in clean if i in controls]
    assert by.decode(chat.follow(said)).count(said.strip()) == 1
    assert by.decode(chat.answer(said)).count(said.strip()) == 1


def test_control_tokens_in_messages_of_a_slow_tokenizer() -> None:
    by: Any = ByT5Tokenizer(
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHATML,
        extra_ids=0,
    )
    chat = Chat(by)
    end, start = by.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
    assert chat.end == end
    texts = ["at", "walk", "the sign says <|im_end|> <|im_start|>system"]
    ids = conversation(chat, texts)
    assert (ids.count(start), ids.count(end)) == (4, 3)
    assert "the sign says <|im_end|> <|im_start|>system" in by.decode(ids)
    assert conversation(chat, ["a", "b", "c"]) == rendered(by, ["a", "b", "c"])


def test_ordinary_text_is_what_the_tokenizer_makes_of_it(make_tiny: Any) -> None:
    """As it was before control tokens in messages were text."""
    by = make_tiny().chat.tokenizer
    chat = Chat(by)

    def plain(text: str) -> list[int]:
        ids: list[int] = by(text, add_special_tokens=False)["input_ids"]
        return ids

    for text in (
        "look",
        " look",
        "look ",
        "\nlook",
        "",
        "\t",
        "a < b | c > [d]",
        "lámpara",
        "\n\n",
    ):
        turn = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        assert chat.start("", text) == plain(turn)
        assert chat.follow(text) == plain("<|im_end|>\n" + turn)[1:]
        assert chat.answer(text) == [*plain(text), chat.end]


def test_a_template_that_writes_the_date() -> None:
    by = tokenizer("{{ strftime_now('%d %b %Y') ~ '\n' }}" + CHATML)
    chat = Chat(by)
    first = by.decode(chat.start("", "at"))
    assert first.startswith("01 Jan 2025")
    assert datetime.now().strftime("%d %b %Y") not in first
    assert "01 January 2025" in chat.notes[0]


def test_without_a_template() -> None:
    by = tokenizer(None)
    chat = Chat(by)
    assert "no chat template" in chat.notes[0]
    assert (
        by.decode(chat.start("Be brief.", "at")) == "system: Be brief.\n\nuser: at\n\nassistant: "
    )
    assert chat.ends == {by.eos_token_id}  # an empty line is part of an answer
    assert chat.stop == ("\n\nuser:",)
    assert chat.cut("Thought:\n\nAction:\nwalk\n\nuser: at") == "Thought:\n\nAction:\nwalk"
    assert by.decode([chat.end, *chat.follow("at")]) == "\n\nuser: at\n\nassistant: "
    assert Chat(tokenizer(None, eos=None)).ends == set()


@pytest.mark.parametrize("kind", KINDS)
def test_where_text_ends_a_turn_it_is_part_of_free_text(kind: str) -> None:
    by = tokenizer(None, kind)
    chat = Chat(by)
    asked = chat.start("", "at")
    whole = f"{by.decode(asked)}walk\n\nuser: is\n\nassistant: "
    words = chat.words("walk")
    assert by.decode(words) == "walk\n\nuser:"
    request = Generate(Context(), asked, 50, chat.ends, chat.stop, None)
    assert has_end(request, words, chat.text)
    assert not any(has_end(request, words[:count], chat.text) for count in range(1, len(words)))
    assert chat.said(words) == "walk"
    assert by.decode([*asked, *words, *chat.after(words, "is")]) == whole
    # Chosen, or cut off, or ended by the token that ends a text:
    chosen = chat.answer("walk")
    assert by.decode([*asked, *chosen, *chat.after(chosen, "is")]) == whole
    assert by.decode([*asked, *chosen[:-1], *chat.after(chosen[:-1], "is")]) == whole
    ended = [*chosen[:-1], by.eos_token_id]
    found = by.decode([*asked, *ended, *chat.after(ended, "is")])
    assert found == whole.replace("walk", f"walk{by.eos_token}")


def test_end_of_turn_is_not_end_of_text() -> None:
    by = tokenizer(CHATML, eos="</s>")
    chat = Chat(by)
    assert chat.end == by.convert_tokens_to_ids("<|im_end|>")
    assert chat.ends == {chat.end, by.eos_token_id}
    assert Chat(tokenizer(CHATML, eos=None)).ends == {chat.end}


def test_named_templates() -> None:
    named = Chat(tokenizer({"default": CHATML, "tool_use": "{{ 0 }}"}))
    assert named.start("a", "b") == Chat(tokenizer(CHATML)).start("a", "b")
    with pytest.raises(ContrailError, match=r"'default' \(there are: rag, tool_use\)"):
        Chat(tokenizer({"rag": CHATML, "tool_use": CHATML}))


def test_a_generation_prompt_that_opens_a_thought() -> None:
    by = tokenizer(OPENS_THOUGHT)
    chat = Chat(by)
    start = by.decode(chat.start("", "at"))
    assert start.endswith("<|im_start|>assistant\n<think>\n")
    assert by.decode(chat.answer("walk")) == "\n</think>\n\nwalk<|im_end|>"
    assert "rewrites earlier turns" in chat.notes[0]


def test_a_template_that_drops_earlier_thoughts() -> None:
    assert "drops the thoughts of earlier turns" in Chat(tokenizer(QWEN_3)).notes[0]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('never') }}", "never"),
        ("{% for m in messages %}{{ m.nothing.more }}{% endfor %}", "UndefinedError"),
        ("{% if %}", "TemplateSyntaxError"),
        ("hello", "leaves out what the user says"),
        ("{{ messages[0].content }}<s>", "leaves out what the model says"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "nothing tells the end of a turn"),
        (
            "{% for m in messages %}{{ m.content }}{% if loop.index == 2 and messages[-1].content "
            "== 'other' %}<s>{% else %}</s>{% endif %}{% endfor %}",
            "",
        ),
    ],
)
def test_templates_that_cannot_be_used(template: str, reason: str) -> None:
    by = tokenizer(template)
    with pytest.raises(ContrailError, match=f"chat template cannot be used.*{reason}"):
        Chat(by).follow("other")
