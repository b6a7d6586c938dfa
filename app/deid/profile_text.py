"""YAML and JSON as profiles are written: plain data, each key once, nothing that grows."""

from typing import Any

import yaml
from yaml.nodes import MappingNode

from app.errors import InvalidProfile

#: Longest text of a profile; one with a large vocabulary has a tenth of it.
MAX_CHARACTERS = 2_000_000
_MAX_DEPTH = 32


class _Loader(yaml.SafeLoader):
    """Refuses references to other places of the text, keys that stand twice, and deep nesting."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - the library's
        if self.check_event(yaml.AliasEvent):
            raise InvalidProfile("A profile has no anchors and aliases")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InvalidProfile("A profile is not nested as deeply as this")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key.value, str)]
        if len(keys) != len(node.value):
            raise InvalidProfile("The names of a profile's fields are texts")
        if len(set(keys)) != len(keys):
            raise InvalidProfile("A field of a profile stands twice")
        return super().construct_mapping(node, deep)


def read_text(text: str) -> object:
    """Return the data that a text holds.

    Raises:
        InvalidProfile: it is no YAML or JSON, or of a kind that no profile needs.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidProfile("The text is longer than any profile")
    loader = _Loader(text)
    try:
        content: object = loader.get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise InvalidProfile("The text is neither YAML nor JSON") from None
    finally:
        loader.dispose()
    return content
