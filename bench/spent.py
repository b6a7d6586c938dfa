"""Results that are not needed any more: emptied at once, removed when the process ends.

ext4 without a journal does not reuse the inode of a file that was deleted within the last minutes,
and looks at each of them whenever it makes a file nearby. Ten thousand results removed after one
turn made every file of the next turn cost up to a millisecond more. What stays is a name and an
inode; and what others deleted before lies elsewhere.
"""

import atexit
import fcntl
import os
import shutil
import struct
from contextlib import suppress
from itertools import count
from pathlib import Path

_numbers = count(1)
# <linux/fs.h>
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_FS_TOPDIR_FL = 0x00020000


def place_apart(folder: Path) -> None:
    """Have the file system place the directories of a directory apart, where it knows such."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):
        [flags] = struct.unpack("l", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, struct.pack("l", 0)))
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", flags | _FS_TOPDIR_FL))
    os.close(fd)


def put_by(folder: Path) -> None:
    """Move a directory out of the way, if it is there, and give its bytes back to the disk."""
    if not folder.is_dir():
        return
    aside = folder.with_name(f".spent-{os.getpid()}-{next(_numbers)}")
    folder.rename(aside)
    for parent, _, names in os.walk(aside):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink() and path.is_file():
                path.chmod(0o600)
                os.truncate(path, 0)
    atexit.register(shutil.rmtree, aside, ignore_errors=True)
