"""Results that are not needed any more: emptied at once, removed when the process ends.

ext4 without a journal does not reuse the inode of a file that was deleted within the last minutes,
and looks at each of them whenever it makes a file. Ten thousand results removed after one turn made
every file of the next turn cost up to a millisecond more. What stays is a name and an inode.
"""

import atexit
import os
import shutil
from itertools import count
from pathlib import Path

_numbers = count(1)


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
