"""How do a class, its fields and a function read on a page?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import griffe
from prose import described, item, markdown, paragraphs

__all__ = ["declaration", "signature"]

EMPTY = {"field(default_factory=dict)": "{}", "field(default_factory=list)": "[]"}


def declaration(name: str, thing: griffe.Class | griffe.Function, links: Mapping[str, str]) -> str:
    """A section with a heading, the signature, the docstring, and every field and method of a class."""
    if isinstance(thing, griffe.Function):
        blocks = [_code(signature(thing)), *chain(*paragraphs(thing.docstring, links))]
    else:
        before, after = paragraphs(thing.docstring, links)
        fields = "\n".join(_fields(thing, links))
        methods = [block for method in _methods(thing) for block in _method(method, links)]
        blocks = [_code(_head(name, thing)), *before, *([fields] if fields else []), *after, *methods]
    return "\n\n".join([f"### {name}", *(block.strip() for block in blocks)]) + "\n"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _head(name: str, thing: griffe.Class) -> str:
    decorators = "".join(f"@{decorator.value}\n" for decorator in thing.decorators)
    bases = ", ".join(str(base) for base in thing.bases)
    return f"{decorators}class {name}({bases})" if bases else f"{decorators}class {name}"


def _fields(thing: griffe.Class, links: Mapping[str, str]) -> Iterator[str]:
    """``name: type = default`` and what it means, of every annotated field."""
    said = described(thing.docstring)
    for field in thing.attributes.values():
        if field.is_private:
            continue
        default, help = _default(field.value)
        text = said.get(field.name) or (field.docstring.value if field.docstring else "") or help
        kind = f": {field.annotation}" if field.annotation else ""
        yield item(f"{field.name}{kind}{default}", markdown(text, links))


def _default(value: griffe.Expr | str | None) -> tuple[str, str]:
    """`` = 3`` and the line of help, where the default is an ``option(3, "…")``."""
    if value is None:
        return "", ""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "option":
        default, help = value.arguments
        return f" = {default}", _text(help)
    if isinstance(value, griffe.ExprCall) and str(value.function) == "field":
        given = {each.name: each.value for each in value.arguments if isinstance(each, griffe.ExprKeyword)}
        metadata = given.get("metadata")
        factory = str(given["default_factory"])
        default = EMPTY.get(f"field(default_factory={factory})", f"{factory}()")
        return f" = {default}", _text(metadata.values[0]) if isinstance(metadata, griffe.ExprDict) else ""
    return f" = {value}", ""


def _text(literal: griffe.Expr | str) -> str:
    return str(literal).strip("'\"")


def _methods(thing: griffe.Class) -> list[griffe.Function]:
    return [each for each in thing.functions.values() if not each.is_private or each.name == "__len__"]


def _method(method: griffe.Function, links: Mapping[str, str]) -> list[str]:
    return [_code(signature(method)), *chain(*paragraphs(method.docstring, links))]


def signature(function: griffe.Function) -> str:
    """``def name(…) -> type``, on one line if it fits, else a line an argument."""
    one = str(function.signature())
    if len(one) <= 96:
        return f"def {one}"
    start, _, rest = one.partition("(")
    inside, _, end = rest.rpartition(")")
    return f"def {start}(\n    " + ",\n    ".join(_split(inside)) + f",\n){end}"


def _split(arguments: str) -> list[str]:
    """Cut at the commas that are not within brackets."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
