"""A manifest as JSON: named tuples as dictionaries, and the hash of what does not depend on how it was written."""

import hashlib
import json
from typing import Mapping


def self_hash(document: Mapping[str, object]) -> str:
    """SHA-256 (hex) of a manifest's canonical JSON without its ``sha256``."""
    bare = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def plain(value: object) -> object:
    """Named tuples to dictionaries, tuples to lists, all the way down."""
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
