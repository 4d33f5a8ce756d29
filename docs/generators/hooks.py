"""docs/reference/hooks.md: every hook of hookspecs.py, with each first-party implementation as it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from textwrap import dedent

from declarations import signature
from prose import paragraphs
from sources import CORE, ROOT, Source

__all__ = ["hooks", "hooks_page", "implementations"]

SOURCE = CORE / "hookspecs.py"
PLUGINS = (CORE / "builtin.py", *sorted((ROOT / "packages").glob("*/src/spectranet_*/plugin.py")))
HEAD = """# Hook reference

Every hook that a plugin can implement: when it is called, and how our own plugins implement it.
[Hooks](../hooks.md) has an example of each to start from, and says what to watch for.
`python docs/generate.py` makes this page from
[hookspecs.py](../../packages/core/src/spectranet/hookspecs.py) and the plugins.

```python
from spectranet import hookimpl
```

`@hookimpl` marks a function of your plugin's module as an implementation. It takes any subset of its
hook's arguments. A function whose name begins with `spectranet_` and that is no hook is refused, with the
name it may have meant.
"""


def hooks() -> list[str]:
    """The names of all hooks, in the order of hookspecs.py."""
    return [
        name
        for name, function in Source.read(SOURCE).module.functions.items()
        if any(str(decorator.value) == "hookspec" for decorator in function.decorators)
    ]


def hooks_page(links: Mapping[str, str]) -> str:
    module = Source.read(SOURCE).module
    plugins = [Source.read(path) for path in PLUGINS]
    page = [HEAD]
    for hook in hooks():
        function = module[hook]
        before, after = paragraphs(function.docstring, links)
        page.append(f"## {hook}\n\n```python\n{signature(function)}\n```\n")
        page += [f"{text}\n" for text in (*before, *after)]
        for plugin in plugins:
            if excerpt := implementations(plugin.text, hook):
                page.append(f"In {plugin.link}:\n\n```python\n{excerpt}\n```\n")
    return "\n".join(page)


def implementations(text: str, hook: str) -> str:
    """The source of a module's implementation of a hook, after the constants of the module that it names."""
    tree = ast.parse(text)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == hook]
    constants = {
        target.id: node
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper()
    }
    needed = {name for node in found for name in _names(node, constants)}
    parts: list[ast.stmt] = [node for name, node in constants.items() if name in needed]
    return "\n\n\n".join([*(_source(text, node) for node in parts), *(_source(text, node) for node in found)])


def _names(node: ast.AST, constants: Mapping[str, ast.Assign]) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id in constants:
            yield each.id
            yield from _names(constants[each.id].value, constants)


def _source(text: str, node: ast.stmt) -> str:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    first = min(each.lineno for each in (node, *decorators))
    return dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
