"""What several test files share."""

import gc
import io
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hydra.core.global_hydra import GlobalHydra

gc.set_threshold(200_000, 20, 20)  # tracing makes garbage by the million, little of it in cycles: a tenth of the time

collect_ignore_glob = ["zoo/*"]  # models register themselves on import, and once is enough


@pytest.fixture
def main(monkeypatch, tmp_path):
    """Run the main job in this process: (exit status, what it said on stdout, on stderr)."""

    def call(*arguments, folder=tmp_path):
        from experiments import run

        root = logging.getLogger()
        before = root.handlers[:], root.level
        GlobalHydra.instance().clear()
        # dictConfig closes every handler there is, pytest's own among them.
        monkeypatch.setattr("logging.config._clearExistingHandlers", lambda: None)
        monkeypatch.setattr(sys, "argv", ["run", f"results_dir={folder}", *arguments])
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            try:
                code = run.main() or 0
            except SystemExit as end:
                code = end.code
            finally:  # Hydra's handlers write to the streams of this call
                root.handlers[:], root.level = before
        return code, out.getvalue(), err.getvalue()

    return call
