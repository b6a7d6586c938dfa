"""Lets ``python -m app.cli`` be the same as ``deid-gateway``."""

from app.cli import main

if __name__ == "__main__":  # worker processes import this module too
    main()
