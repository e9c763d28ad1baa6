# SPDX-License-Identifier: GPL-3.0-or-later
"""Import modules, and leave their bytecode behind without docstrings: those of packages cost each process 6 MB.

python3 lean.py <module>...

Our own code, below the folder that PYTHONPATH names, keeps them: they are the text of the API's documentation.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

OURS = os.environ["PYTHONPATH"]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def without_docstrings(source: bytes, path: str) -> CodeType:
    """Compile a module; nothing but its docstrings differs. They shrink to a dash: SQLAlchemy wants to find some."""
    tree = ast.parse(source, path)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.copy_location(ast.Expr(ast.Constant("-")), node.body[0])
    ast.fix_missing_locations(tree)
    code: CodeType = compile(tree, path, "exec", dont_inherit=True)
    return code


def source_to_code(self: SourceFileLoader, data: bytes, path: str, **_: Any) -> CodeType:
    """Stand in for the import system's own way to compile; it stores the result as usual."""
    if path.startswith(OURS):
        compiled: CodeType = compile(data, path, "exec", dont_inherit=True)
        return compiled
    return without_docstrings(data, path)


if __name__ == "__main__":
    SourceFileLoader.source_to_code = source_to_code  # type: ignore[assignment,method-assign]
    for name in sys.argv[1:]:
        importlib.import_module(name)
