"""The adapter keeps contrail's contract, and does what it is meant to."""

from contrail_notes import Notes, NotesConfig

import contrail
import contrail.check

FIRST = contrail.Observation("Find the key.", ["go north", "take key"])
TASK = contrail.Task("maze", "maze-0", 0, "test")


def view(*answers):
    view = contrail.EpisodeView("maze", TASK, 10, FIRST)
    for text in answers:
        view = view.after(contrail.Exchange("", FIRST, text, None))
    return view


def test_it_keeps_the_contract():
    assert not contrail.check.check(Notes).failed


def test_the_model_sees_its_last_note():
    adapter = Notes(NotesConfig(longest=9))
    assert "note" not in adapter.render(FIRST, view())
    shown = adapter.render(
        FIRST, view("Note: old\nAction: wait", "Note: key is north\nAction: x", "?")
    )
    assert "Your note: key is no\n" in shown
    assert "old" not in shown


def test_what_is_read_in_an_answer():
    adapter = Notes()
    assert adapter.parse("note: a\nb\nACTION: `Take key`.", FIRST) == "take key"
    for text in ("take key", "Action: take key", "Note: take key", "Note: x Action: y"):
        try:
            adapter.parse(text, FIRST)
        except contrail.InvalidAction:
            continue
        raise AssertionError(text)
