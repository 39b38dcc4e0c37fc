"""A token of SoftHSM in a folder, for the tests of keys that never leave one."""

import shutil
import subprocess
from pathlib import Path

import pkcs11
import pytest

FOLDERS = (
    "/usr/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/opt/homebrew/lib",
)
MODULE = next(
    (f"{folder}/softhsm/libsofthsm2.so" for folder in FOLDERS if Path(f"{folder}/softhsm/libsofthsm2.so").exists()), ""
)
NEEDS_SOFTHSM = pytest.mark.skipif(
    not (MODULE and shutil.which("softhsm2-util")), reason="softhsm2 is not installed: apt-get install softhsm2"
)
PIN = "123456"


def make_token(folder, monkeypatch, label="clinic"):
    """A token of its own, which this process's SoftHSM looks at from now on."""
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    monkeypatch.setenv("DPJAX_PKCS11_PIN", PIN)
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    pkcs11.lib(MODULE).reinitialize()  # it looked at the token of the test before
    return f"pkcs11:{label}/dpjax?module={MODULE}"
