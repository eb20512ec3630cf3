# SPDX-License-Identifier: Apache-2.0
"""Run notebooks without Jupyter: `python tools/notebooks.py examples/explore.ipynb` runs and rewrites them.

Cells run one after the other in one namespace; what they print and the value of a last expression become their
outputs, as text and, where the value has it and it is short, as HTML.  No magics.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_HTML = 20_000


def code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the cells of code with their numbers from 1."""
    cells = (cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    yield from enumerate(cells, start=1)


def run(notebook: dict[str, Any], name: str) -> None:
    """Run every cell and put its outputs in place; errors name the cell."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in code_cells(notebook):
        tree = ast.parse("".join(cell["source"]), f"{name}, cell {number}")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed, value = io.StringIO(), None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, f"{name}, cell {number}", "exec"), space)
            if isinstance(last, ast.Expr):
                source = compile(ast.Expression(last.value), f"{name}, cell {number}", "eval")
                value = eval(source, space)
        cell["execution_count"] = number
        cell["outputs"] = list(outputs(number, printed.getvalue(), value))


def outputs(number: int, printed: str, value: object) -> Iterator[dict[str, Any]]:
    """Yield what Jupyter would show below a cell."""
    if printed:
        yield {"output_type": "stream", "name": "stdout", "text": printed.splitlines(True)}
    if value is not None:
        data = {"text/plain": repr(value).splitlines(True)}
        html = value._repr_html_() if hasattr(value, "_repr_html_") else None
        if html and len(html) <= MOST_HTML:
            data["text/html"] = html.splitlines(True)
        yield {
            "output_type": "execute_result",
            "execution_count": number,
            "data": data,
            "metadata": {},
        }


def main() -> None:
    """Run the notebooks named on the command line and write their outputs."""
    for argument in sys.argv[1:]:
        path = Path(argument)
        notebook = json.loads(path.read_text(encoding="utf-8"))
        run(notebook, path.name)
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")
        print(f"{path}: written")


if __name__ == "__main__":
    main()
