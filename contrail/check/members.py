"""A check of the names of a class: a method that is misspelt is never called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contrail.check.subject import Subject, Warned
from contrail.registry.members import misspelt

if TYPE_CHECKING:
    from contrail.check.interface import AdapterSubject
    from contrail.check.trial import Trial


def names(subject: Subject | Trial | AdapterSubject) -> None:
    """No method or attribute has nearly the name of one of the base class, for which it stands."""
    if isinstance(subject, Subject):
        cls: type = subject.make.registered.value
    else:
        trial: Any = getattr(subject, "trial", subject)  # an adapter's has both
        cls = trial.plugin_class
    found = [f"{name} is never used: did you mean {near}?" for name, near in misspelt(cls)]
    if found:
        raise Warned(f"{cls.__name__}: {' '.join(found)}")
