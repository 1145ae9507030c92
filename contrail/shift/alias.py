"""Other names for an environment's actions: a seeded bijection, so that the game stays the same.

`Environment.forms` says how actions are written, such as "go to {X}" or "click[{text}]". A renaming
gives each form another verb, and all forms another layout: "go to red ball 1" becomes
"bakvon[red ball 1]". After arXiv:2602.01611, which renames actions to tell whether an agent has
learnt the game or its interface.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from contrail.actions import LONGEST
from contrail.errors import PluginError
from contrail.seeding import generator

if TYPE_CHECKING:
    import numpy

_FORM = re.compile(r"([^{}]+)(?:\{([^{}]+)\}([^{}]*))?")
_STARTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_MIDDLES = ("fk", "gz", "kv", "pz", "vd", "vg", "zb", "zg")  # in no English word
_TRIES = 200
"""Words that are tried before two verbs may begin alike."""


@dataclass(frozen=True)
class _Layout:
    """How a verb and the words after it are written, and a verb alone."""

    with_words: str
    alone: str
    pattern: str

    def write(self, verb: str, words: str | None) -> str:
        form = self.alone if words is None else self.with_words
        return form.replace("VERB", verb).replace("WORDS", words or "")


_LAYOUTS = (
    _Layout("VERB WORDS", "VERB", r"(?P<verb>\w+)(?: (?P<words>.+))?"),
    _Layout("VERB[WORDS]", "VERB[]", r"(?P<verb>\w+) ?\[(?P<words>.*)\]"),
    _Layout("VERB(WORDS)", "VERB()", r"(?P<verb>\w+) ?\((?P<words>.*)\)"),
    _Layout("<VERB>WORDS</VERB>", "<VERB/>", r"<(?P<verb>\w+)(?:>(?P<words>.+)</(?P=verb)>|/>)"),
)


@dataclass(frozen=True)
class Form:
    """How actions of one kind are written.

    Attributes:
        before: what stands before the words.
        words: an example of the words; None if no words follow.
        after: what stands after them.
    """

    before: str
    words: str | None = None
    after: str = ""

    @classmethod
    def of(cls, text: str) -> Form:
        """Return the form in a text such as "open {X}", "drop" or "<answer>{words}</answer>".

        Raises:
            PluginError: the text is none.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise PluginError(
                f"{text!r} is not the form of an action. Write what stands before the words, an "
                'example of the words in braces, and what stands after them: "open {X}".'
            )
        return cls(found[1], found[2], found[3] or "")

    @property
    def example(self) -> str:
        """An action of this form, as the environment's texts name it."""
        return self.before if self.words is None else f"{self.before}{self.words}{self.after}"

    @property
    def verb(self) -> str:
        """What stands before the words, without signs."""
        return " ".join(re.findall(r"\w+", self.before))

    def read(self, action: str) -> tuple[bool, str | None]:
        """Return whether an action has this form, and its words."""
        if self.words is None:
            return action == self.before, None
        end = len(action) - len(self.after)
        fits = action.startswith(self.before) and action.endswith(self.after)
        words = action[len(self.before) : end]
        return fits and bool(words), words

    def write(self, words: str | None) -> str:
        """Return the action of this form with these words."""
        return self.before if words is None else f"{self.before}{words}{self.after}"

    @property
    def _layout(self) -> _Layout | None:
        """The layout that this form has already."""
        if self.words is None:
            return None
        for layout in _LAYOUTS:
            verb = self.verb
            if layout.write(verb, self.words) == self.example:
                return layout
        return None


class Renaming:
    """A bijection between an environment's actions and their other names.

    A verb has the same name in all environments, unless two verbs of one would begin alike.

    Args:
        forms: of the environment's actions, see `Environment.forms`.
        seed: which of the renamings it is.
        mentions: see `Environment.mentions`.
    """

    def __init__(self, forms: Sequence[str], seed: int, mentions: str = "") -> None:
        # Of forms that begin alike the longest is read first: "look at X" is not "look".
        written = [Form.of(form) for form in forms]
        self._forms = sorted(written, key=lambda form: -len(form.before))
        taken = {form._layout for form in written}
        free = [layout for layout in _LAYOUTS if layout not in taken]
        rng = generator(seed, "alias", "layout", *forms)
        self._layout = free[int(rng.integers(len(free)))] if free else _LAYOUTS[1]
        verbs = {form.before: form.verb for form in written}
        self._names: dict[str, str] = {}
        for before, verb in verbs.items():
            self._names[before] = _name(seed, verb, self._names.values())
        self._named = {
            self._names[form.before]: [f for f in self._forms if f.before == form.before]
            for form in written
        }
        self._by_verb = {verb: self._names[before] for before, verb in verbs.items()}
        self._glossary = {form.before: form for form in reversed(written)}
        marked = [
            f"{re.escape(form.before)}.+?{re.escape(form.after)}"
            for form in self._forms
            if form.after
        ]
        open_ended = [form.example for form in self._forms if form.words and not form.after]
        examples = [
            rf"(?<!\w){re.escape(text)}(?!\w)" for text in sorted(open_ended, key=len, reverse=True)
        ]
        alone = [
            # Such a word may stand in a sentence as well: an action is one item of a list.
            rf"""(?:(?<=[:,] )|(?<=[`"]))(?:{re.escape(form.before)})(?=[,.;`"]|\ \()"""
            for form in self._forms
            if form.words is None
        ]
        found = [mentions] if mentions else []
        self._in_texts = _any([*found, *marked, *examples])
        self._in_prompt = _any([*marked, *examples, *alone])

    def rename(self, action: str) -> str | None:
        """Return the other name of an action; None if it has none of the forms."""
        for form in self._forms:
            fits, words = form.read(action)
            if fits:
                return self._layout.write(self._names[form.before], words)
        return None

    def restore(self, text: str) -> str | None:
        """Return the action that has this other name, in any case of the verb; None if there is
        none."""
        found = None if len(text) > LONGEST else re.fullmatch(self._layout.pattern, text, re.DOTALL)
        if found is None:
            return None
        name, words = found["verb"].lower(), found["words"] or None
        for form in self._named.get(name, ()):
            if (form.words is None) == (words is None):
                action = form.write(words)
                # "VERB to X" of one form could be the action of a longer one.
                renamed = self.rename(action)
                return action if renamed == self._layout.write(name, words) else None
        return None

    def in_text(self, text: str) -> str:
        """Return a text of the environment with the actions that it mentions renamed."""
        return self._in_texts.sub(self._mention, text)

    def in_prompt(self, prompt: str) -> str:
        """Return a system prompt with its actions renamed, and what the new names mean."""
        meanings = "; ".join(
            f"{self.rename(form.example)} means {form.example}"
            for form in reversed(self._glossary.values())
        )
        renamed = self._in_prompt.sub(self._mention, prompt)
        return f"{renamed}\n\nThe actions have other names here: {meanings}.".strip()

    def _mention(self, found: re.Match[str]) -> str:
        return self.rename(found[0]) or self._by_verb.get(found[0], found[0])


def _name(seed: int, verb: str, taken: Iterable[str]) -> str:
    """Return a word that means nothing, and begins like no other name of the environment."""
    others = {name[:2] for name in taken}
    for number in count():
        rng = generator(seed, "alias", verb, number)
        name = "".join(
            _drawn(rng, letters) for letters in (_STARTS, _VOWELS, _MIDDLES, _VOWELS, _STARTS)
        )
        if name not in taken and (name[:2] not in others or number > _TRIES):
            return name
    raise AssertionError("count() does not end")


def _drawn(rng: numpy.random.Generator, letters: Sequence[str]) -> str:
    return letters[int(rng.integers(len(letters)))]


def _any(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.MULTILINE)
