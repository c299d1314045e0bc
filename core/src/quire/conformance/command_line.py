"""The command line for tests: run in this process, with what it prints and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The sentence of a user's mistake: the last line on stderr. AssertionError if it was none, or has a traceback."""
        assert self.code == 2, f"exit code {self.code}: {self.err}"
        assert "Traceback" not in self.err, self.err
        return self.err.splitlines()[-1]

    def json(self, verb: str | None = None) -> Any:
        """stdout as JSON, checked against the schema of the verb's `--json` where one is named (needs jsonschema)."""
        value = json.loads(self.out)
        if verb is not None:
            import jsonschema  # type: ignore[import-untyped]

            from quire.cli.schemas import SCHEMAS

            jsonschema.validate(value, SCHEMAS[verb])
        return value


def run_command(*arguments: object, folder: Path | None = None) -> Answer:
    """Run `quire` with `arguments` as its console script does, in `folder` if one is given."""
    from quire.cli import main

    out, err = io.StringIO(), io.StringIO()
    where = contextlib.chdir(folder) if folder is not None else contextlib.nullcontext()
    with (
        where,
        mock.patch.object(sys, "argv", ["quire", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        else:
            code = 0
    return Answer(code, out.getvalue(), err.getvalue())
