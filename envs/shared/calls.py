"""Calls of tools written as an action: `guess(word="crane")`, JSON, or the argument alone."""

from __future__ import annotations

import ast
import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 10_000  # characters of an action that is read as a call
MOST_LISTED = 50  # calls that are listed as actions
NUMBERS = {"integer": int, "number": float}


class NoCall(ValueError):
    """The action is no call of a tool; the message says why, for the model.

    Args:
        message: the reason.
        words: whether it does not look like a call at all, as a final answer does not.
    """

    def __init__(self, message: str, words: bool = False) -> None:
        super().__init__(message)
        self.words = words


@dataclass(frozen=True)
class Tool:
    """A tool, with the JSON schema of its parameters."""

    name: str
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    required: Sequence[str]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Tool:
        """Return the tool of a schema as chat templates have it."""
        function = schema.get("function", schema)
        parameters = function.get("parameters") or {}
        return cls(
            function["name"],
            " ".join(str(function.get("description") or "").split()),
            parameters.get("properties") or {},
            list(parameters.get("required") or ()),
        )

    def __str__(self) -> str:
        shown = ", ".join(f"{name}: {_kind(schema)}" for name, schema in self.parameters.items())
        told = [
            f"{name}: {' '.join(str(schema['description']).split())}"
            for name, schema in self.parameters.items()
            if schema.get("description")
        ]
        return " ".join([f"{self.name}({shown}):", self.description, *told]).rstrip(" :")


@dataclass(frozen=True)
class Call:
    """A tool's name and its arguments, of the types that the tool's schema asks for."""

    name: str
    arguments: Mapping[str, Any]


def describe(tools: Sequence[Tool]) -> str:
    """Return the tools and how they are called, for the model."""
    example = f"{tools[0].name}({', '.join(f'{name}=…' for name in tools[0].parameters)})"
    lines = [f"- {tool}" for tool in tools]
    return "\n".join([f"Tools, called as {example}:", *lines])


def listed(tools: Sequence[Tool]) -> list[str] | None:
    """Return all calls that there are; None if a tool takes more than a few values."""
    calls: list[str] = []
    for tool in tools:
        values = [_values(tool.parameters[name]) for name in tool.required]
        if any(not known for known in values):
            return None
        for chosen in itertools.product(*values):
            given = zip(tool.required, chosen, strict=True)
            calls.append(f"{tool.name}({', '.join(f'{name}={value!r}' for name, value in given)})")
            if len(calls) > MOST_LISTED:
                return None
    return calls


def read_calls(text: str, tools: Sequence[Tool], loose: bool = False) -> list[Call]:
    """Return the calls in an action.

    Taken are `name(parameter=value)`, several of them with `;` between, and JSON objects with
    "name" and "arguments".

    Args:
        text: the action.
        tools: the tools that there are.
        loose: whether `name value` and, where there is one tool, the value alone is a call too.
            Without it, such words are taken for a final answer.

    Raises:
        NoCall: there is none, or its arguments do not suit the tool.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise NoCall(f"An action has at most {LONGEST} characters.", words=True)
    known = {tool.name: tool for tool in tools}
    written = _python(text) or _objects(text)
    if written:
        return [_fitting(name, given, named, known) for name, given, named in written]
    name, _, rest = text.partition(" ")
    tool = known.get(name.rstrip(":"))
    alone = tools[0] if len(tools) == 1 and len(tools[0].parameters) == 1 else None
    if loose and tool is not None and len(tool.parameters) <= 1:
        return [_fitting(tool.name, [rest.strip()] if rest.strip() else [], {}, known)]
    if loose and alone is not None:
        return [_fitting(alone.name, [text], {}, known)]
    raise NoCall(f"Not a call. There are: {', '.join(known)}.", words=True)


def _python(text: str) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """Return name, positional and named arguments of calls in Python's form; [] if it is none."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Python comments on backslashes in texts
            body = ast.parse(text).body
        calls = []
        for line in body:
            if not (
                isinstance(line, ast.Expr)
                and isinstance(line.value, ast.Call)
                and isinstance(line.value.func, ast.Name)
                and all(word.arg for word in line.value.keywords)
            ):
                return []
            call = line.value
            given = [_literal(argument) for argument in call.args]
            named = {str(word.arg): _literal(word.value) for word in call.keywords}
            calls.append((line.value.func.id, given, named))
        return calls
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _literal(node: ast.expr) -> Any:
    """Return a literal's value; a bare word is a text, `true` and `null` are JSON's."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "null": None}.get(node.id, node.id)
    return ast.literal_eval(node)


def _objects(text: str) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """Return name and arguments of calls in JSON; [] if it is something else."""
    if text[:1] not in ("{", "["):
        return []
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return []
    calls: list[tuple[str, list[Any], dict[str, Any]]] = []
    for call in value if isinstance(value, list) else [value]:
        if not (isinstance(call, dict) and isinstance(call.get("name"), str)):
            return []
        named = call.get("arguments", call.get("parameters", {}))
        if not isinstance(named, dict):
            return []
        calls.append((call["name"], [], named))
    return calls


def _fitting(
    name: str, given: Sequence[Any], named: Mapping[str, Any], tools: Mapping[str, Tool]
) -> Call:
    """Return the call, with arguments of the tool's types.

    Raises:
        NoCall: there is no such tool, or its arguments do not suit it.
    """
    tool = tools.get(name)
    if tool is None:
        raise NoCall(f"There is no tool {name[:60]!r}. There are: {', '.join(tools)}.")
    places = [other for other in tool.parameters if other not in named]
    if len(given) > len(places):
        raise NoCall(
            f"{name} takes {len(tool.parameters)} arguments: {', '.join(tool.parameters)}."
        )
    arguments = {**dict(zip(places, given, strict=False)), **named}
    for other in arguments:
        if other not in tool.parameters:
            raise NoCall(f"{name} has no parameter {other[:60]!r}.")
    lacking = [other for other in tool.required if other not in arguments]
    if lacking:
        raise NoCall(f"{name} needs {', '.join(lacking)}.")
    return Call(
        name,
        {
            other: _converted(f"{name}'s {other}", value, tool.parameters[other])
            for other, value in arguments.items()
        },
    )


def _converted(what: str, value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value in the type of the schema: numbers that were written as texts, say.

    Raises:
        NoCall: it is of another type, or none of the values that there are.
    """
    kind = _kind(schema)
    converted = value
    if kind == "string" and not isinstance(value, str) and value is not None:
        converted = str(value)
    elif kind in NUMBERS and type(value) is not bool:
        try:
            converted = NUMBERS[kind](value)
        except (TypeError, ValueError, OverflowError):
            raise NoCall(f"{what} must be of the type {kind}.") from None
        if kind == "integer" and isinstance(value, float) and converted != value:
            raise NoCall(f"{what} must be a whole number.")
    elif kind == "boolean" and isinstance(value, str):
        converted = {"true": True, "false": False}.get(value.casefold(), value)
    known = schema.get("enum")
    if known and converted not in known:
        raise NoCall(f"{what} must be one of {', '.join(map(str, known))}.")
    return converted


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a parameter's type, or its values."""
    kinds = [schema, *schema.get("anyOf", ())]
    named = (kind["type"] for kind in kinds if kind.get("type") not in (None, "null"))
    found = next(named, "string" if schema.get("enum") else "any")
    return found if isinstance(found, str) else str(found[0])


def _values(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values that a parameter can have; [] if they are many."""
    if _kind(schema) == "boolean":
        return [True, False]
    return list(schema.get("enum") or ())
