"""What holds for the files of the repository: nothing local, nothing secret, nothing vague."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = ("app", "alembic", "deploy", "tests", "tools", "bench", "docs", ".ci")
TEXT = {
    *(".py", ".md", ".txt", ".in", ".toml", ".yaml", ".yml", ".json", ".sh", ".sql", ".svg"),
    *(".mako", ".tpl", ".cfg", ".ini", ".html", ".css", ".js"),
}
VAGUE_NAMES = {"utils", "helpers", "common", "manager", "info", "process", "handle"}
NAMELESS = {"Dockerfile", "LICENSE", "Makefile", ".dockerignore", ".gitignore"}
# The strokes keep this file from naming what it forbids.
FORBIDDEN = {
    "a package index": ("py|pi.org", "python|hosted.org", "--index|-url", "extra-|index"),
    "a registry": ("registry.|npmjs", "deb.|debian.org", "docker|.io", "ghcr|.io"),
    "a path of one machine": ("/wo|rk/", "/ro|ot/", "/opt|/pypi", "/opt|/wheels"),
}


def files() -> list[Path]:
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for name in TOP_LEVEL:
        found += [path for path in (ROOT / name).rglob("*") if path.is_file()]
    kept = [path for path in found if "__pycache__" not in path.parts]
    return [path for path in kept if path.suffix in TEXT or path.name in NAMELESS]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what):
    named = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files()
        for word in FORBIDDEN[what]
        if word.replace("|", "") in path.read_text(encoding="utf-8", errors="replace")
    ]

    assert named == []


def test_no_file_is_called_by_a_name_that_says_nothing():
    vague = [path for path in files() if path.suffix == ".py" and path.stem in VAGUE_NAMES]

    assert vague == []


def test_every_module_of_the_program_says_what_lives_in_it():
    silent = [
        str(path.relative_to(ROOT))
        for folder in ("app", "tools", "bench")
        for path in (ROOT / folder).rglob("*.py")
        if not path.read_text(encoding="utf-8").lstrip().startswith(('"""', "#!", 'r"""'))
    ]

    assert silent == []


def test_no_open_task_is_left_without_a_number():
    open_tasks = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files()
        if path.suffix == ".py" and path != Path(__file__)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(TODO(?!\(#\d+\))|FIXME|XXX)\b(?!\.)", line) and "#" in line
    ]

    assert open_tasks == []


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("requirements*.txt")))
def test_every_locked_package_has_hashes(name):
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text())[1:]

    without = [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]

    assert entries
    assert without == []


def test_the_tools_are_locked_beside_the_very_packages_that_run():
    pins = [
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    ]

    assert pins[0].items() <= pins[1].items()


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-dev.txt").read_text(), re.M))

    names = {re.split(r"[\[<>=; ]", line)[0].lower() for line in wanted}
    names = {re.sub(r"[._]+", "-", name) for name in names}

    assert names <= locked


def test_make_help_lists_every_command():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make (\S+)", done.stdout, re.MULTILINE))

    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert listed == set(phony[1].split())


def test_ci_runs_what_a_developer_runs():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert [line for line in lines if line.startswith("make")] == ["make check", "make test"]
