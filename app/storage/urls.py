"""URLs of object stores: what is in them, and what must not be. Texts of errors repeat nothing."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._$-]{0,254}")


def place_of(url: str) -> tuple[str, str]:
    """Return bucket or container, and prefix, of an object store's URL.

    Raises:
        ValueError: the URL holds anything else, such as credentials or a query.
    """
    parts = split_url(url)
    bucket = parts.netloc
    if parts.scheme in {"abfs", "abfss"} and "@" in bucket:
        bucket = bucket.partition("@")[0]
        account_of(url)
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("give scheme://bucket/prefix, without credentials or port")
    segments = parts.path.strip("/").split("/")
    if segments != [""] and any(segment in {"", ".", ".."} for segment in segments):
        raise ValueError("the prefix has an empty segment, '.' or '..'")
    return bucket, "/".join(segments)


def account_of(url: str) -> str | None:
    """Return the storage account of ``abfss://container@account.dfs.core.windows.net``."""
    netloc = split_url(url).netloc
    if "@" not in netloc:
        return None
    host = netloc.rpartition("@")[2]
    account, _, domain = host.partition(".")
    if not ACCOUNT.fullmatch(account) or domain != "dfs.core.windows.net":
        raise ValueError("give abfss://container@account.dfs.core.windows.net/prefix")
    return account


def split_url(url: str) -> SplitResult:
    """Take a URL apart that holds nothing secret and nothing invisible.

    Raises:
        ValueError: it has a query, a fragment, or characters that people do not see.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("the url cannot be read") from None
    if parts.query or parts.fragment or re.search(r"[\x00-\x20\x7f\\?#]", url):
        raise ValueError("the url has a query, a fragment, a space or a control character")
    return parts
