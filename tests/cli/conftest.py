"""The program as a user meets it: words in; an exit code, standard output and standard error out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from horde_model_reference.cli.main import main


@dataclass(frozen=True)
class Done:
    """One run."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


Hmr: TypeAlias = Callable[..., Done]


@pytest.fixture
def hmr(capsys: pytest.CaptureFixture[str]) -> Hmr:
    """Runs `hmr WORDS` in this process; no run may show a traceback."""

    def run(*words: object) -> Done:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Done(code, out, err)

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root that does not exist yet."""
    return tmp_path / "root"


@pytest.fixture(scope="session")
def _imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imported") / "root"
    assert main(["--root", str(root), "import", "--starter"]) == 0
    return root


@pytest.fixture
def filled(root: Path, _imported: Path) -> Path:
    """A data root with the starter catalogue in its store and its mirror."""
    return shutil.copytree(_imported, root)
