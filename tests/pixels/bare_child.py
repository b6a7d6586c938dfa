"""A child process in an installation without the packages that read text; run by the tests."""

import sys

from app.pixels import child

if __name__ == "__main__":
    sys.modules["rapidocr"] = None  # type: ignore[assignment]
    child.main()
