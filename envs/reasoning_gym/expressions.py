"""Answers that a verifier would evaluate: which of them may be."""

from __future__ import annotations

import ast

LONGEST = 2000  # characters
LARGEST = 50  # exponent
HIGHEST = 2  # powers of powers
FUNCTIONS = frozenset(
    [
        *("Abs", "Integral", "acos", "asin", "atan", "cos", "cosh", "cot", "csc", "erf", "exp"),
        *("gamma", "ln", "log", "pi", "sec", "sin", "sinh", "sqrt", "tan", "tanh"),
    ]
)
_PLAIN = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Constant,
    ast.Name,
    ast.Call,
    ast.Tuple,
    ast.Load,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Pow,
    ast.UAdd,
    ast.USub,
)


def is_plain(text: str) -> bool:
    """Return whether a text is an expression of numbers, symbols and common functions.

    sympy evaluates an expression with Python's `eval`: a model could call anything, and a power of
    powers takes forever. What this refuses is never evaluated.
    """
    if len(text) > LONGEST:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(map(_allowed, ast.walk(tree))) and _powers(tree.body) <= HIGHEST


def _allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        return named and not node.keywords
    if isinstance(node, ast.Name):
        return not node.id.startswith("_")
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return all(_small(part) for part in ast.walk(node.right))
    return isinstance(node, _PLAIN)


def _small(node: ast.AST) -> bool:
    """Return whether a part of an exponent is neither a large number nor another power."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and abs(node.value) <= LARGEST
    return not isinstance(node, ast.Mult | ast.Pow | ast.Call)


def _powers(node: ast.AST) -> int:
    """Return the largest number of powers inside each other."""
    inner = max(map(_powers, ast.iter_child_nodes(node)), default=0)
    return inner + (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow))
