"""What may stand in a saved model's folder."""

from __future__ import annotations

import json
import pickletools
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def fault_of(file: Path) -> str:
    """What makes a file of a saved model a danger or a riddle; the empty string for a good one."""
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="np"):
                return ""
        except SafetensorError:
            return "is no safetensors file"
    if file.suffix not in (".json", ".jsonl", ".csv", ".tsv", ".txt", ".md"):
        return "is neither JSON nor safetensors nor plain text"
    if _is_pickle(content):
        return "is a pickle"
    try:
        text = content.decode()
        if file.suffix == ".json":
            json.loads(text)
    except ValueError:
        return "is not what its name says"
    return ""


def _is_pickle(content: bytes) -> bool:
    """Whether the bytes are a pickle from end to end, and one that names something to import."""
    with suppress(ValueError, IndexError, UnicodeDecodeError):
        names = {opcode.name for opcode, _, _ in pickletools.genops(content)}
        return content[:1] == b"\x80" or bool(names & {"GLOBAL", "INST", "STACK_GLOBAL"})
    return False
