#!/usr/bin/env bash
# Guess: a token that is asked to decrypt an AES-GCM text whose tag is wrong answers CKR_ENCRYPTED_DATA_INVALID, the
# code that PKCS#11 has for just that, and goes on working. Seen (SoftHSM 2.6.1-2.1 of Debian 12, python-pkcs11 0.10.1):
# a flipped bit, another associated data and a text that is cut are all CKR_GENERAL_ERROR, "GeneralError" with an empty
# message, which is what a token that fails answers too; and the session goes on as if nothing was. Hurts: who tells
# "somebody changed this file" from "the module is broken, try again" by the code: a retry loop then asks for ever, or an
# alarm about tampering never rings. Try the key on a text of one's own: if that opens, the file was changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"  # so that no project's constraints hold here
apt-get download -q softhsm2=2.6.1-2.1 libsofthsm2=2.6.1-2.1 >/dev/null 2>&1 || { echo "needs Debian 12"; exit 1; }
for package in ./*.deb; do dpkg -x "$package" root; done
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'python-pkcs11==0.10.1'
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'python-pkcs11==0.10.1'
fi
mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" > softhsm.conf
export SOFTHSM2_CONF="$work/softhsm.conf" LIBRARY="$work/root/usr/lib/softhsm/libsofthsm2.so"
"$work/root/usr/bin/softhsm2-util" --module "$LIBRARY" --init-token --free --label study --pin 1234 --so-pin 1234 \
  >/dev/null
cat > job.py <<'PY'
import os
import pkcs11
from pkcs11 import GCMParams, KeyType, Mechanism

token = pkcs11.lib(os.environ["LIBRARY"]).get_token(token_label="study")
nonce, said = bytes(12), {}
with token.open(user_pin="1234", rw=True) as session:
    key = session.generate_key(KeyType.AES, 256, label="k", store=True)

    def opened(text, associated):
        how = {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(nonce, associated, 128)}
        try:
            return key.decrypt(text, **how)
        except pkcs11.PKCS11Error as error:
            return f"{type(error).__name__} {str(error)!r}"

    plain = b"a data key of 32 bytes, as it is"
    text = key.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, b"file 7", 128))
    assert opened(text, b"file 7") == plain
    said["a bit flipped"] = opened(bytes([text[0] ^ 1]) + text[1:], b"file 7")
    said["other associated data"] = opened(text, b"file 8")
    said["cut by a byte"] = opened(text[:-1], b"file 7")
    assert opened(text, b"file 7") == plain, "the session is of no use any more"
for what, answer in said.items():
    print(f"{what}: {answer}")
assert all(answer == "GeneralError ''" for answer in said.values()), said
PY
"$work/venv/bin/python" job.py
