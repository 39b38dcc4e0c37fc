"""Keys in the keyring of a real desktop (GNOME's), which this process starts on a bus of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not (shutil.which("gnome-keyring-daemon") and shutil.which("dbus-run-session")),
    reason="needs Debian's packages gnome-keyring and dbus",
)

_DPJAX = Path(sys.executable).with_name("dpjax")
_SESSION = f"""
printf '%s' secret | gnome-keyring-daemon --unlock --components=secrets >/dev/null
{_DPJAX} keys new --to keyring:dpjax/clinic
{_DPJAX} keys new --to keyring:dpjax/clinic
{_DPJAX} ledger init >/dev/null
{_DPJAX} ledger export trail.sealed --sealed
{_DPJAX} keys open trail.sealed --to trail.jsonl
{sys.executable} - <<'END'
import secretstorage
secretstorage.get_default_collection(secretstorage.dbus_init()).lock()
END
echo locked
{_DPJAX} keys open trail.sealed --to again.jsonl
"""


def test_keys_lie_in_a_desktops_keyring_and_a_locked_one_says_so(tmp_path: Path):
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "DPJAX_KEYS": "keyring:dpjax/clinic",
        "DPJAX_LEDGER": str(tmp_path / "ledger.db"),
        "DPJAX_SIGNING_KEY": str(tmp_path / "me.pem"),
    }
    environment.pop("DISPLAY", None)  # nobody is there to be asked for a password
    done = subprocess.run(
        ["dbus-run-session", "--", "bash", "-c", _SESSION],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "which holds 2 keys; the new one seals" in done.stdout, done
    assert '"action":"init"' in (tmp_path / "trail.jsonl").read_text().replace(" ", "")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert kept, "the keyring keeps nothing"
    assert re.search(r"keyring:dpjax/clinic can't be used \(.*\); unlock it, or use file:PATH", done.stderr), done
    assert not (tmp_path / "again.jsonl").exists()
