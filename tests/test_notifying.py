"""A note at the end of a sweep: what it says, that nothing of it fails a sweep, and that no address is written down."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dpjax.results import load, write_job_result
from experiments import identity, notifying
from experiments.config import Config
from experiments.notifying import NO_ADDRESS, WEBHOOK, notify, sentence

QUICK = ["model=logistic", "optimizer.num_steps=2", "num_seeds=2", "privacy.accountant=rdp", "figures=false"]
SWEEP = ["-m", "hydra.sweeper.reference=false", "privacy.epsilon=1,8", *QUICK]
SECRET = "s3cr3t"
NO_TLS = "note: notify=webhook will tell nobody: DPJAX_WEBHOOK begins with http://"
NO_WEBHOOK = f"note: notify=webhook will tell nobody: {WEBHOOK} holds no address; set it to the webhook's, which begins"


@pytest.mark.parametrize("paid", [None, "5e1f"])
def test_no_mean_of_rows_that_have_a_budget_is_told(tmp_path, paid):
    row = {"epsilon": 1.0, "epsilon_pld": 1.0, "unit": "example", "adjacency": "zero_out", "delta": 1e-5, "seed": 0}
    write_job_result(tmp_path / "a/0", [row | {"test_accuracy": 0.87, "ledger_run": paid}], "d")
    told = sentence(tmp_path / "a", 1, 0)
    assert ("0.87" in told) == ("best" in told) == (paid is None)
    assert told.startswith("a: 1 job finished, 0 failed")


@pytest.fixture
def webhook(monkeypatch):
    """A server on this machine, its address in the environment: what it was sent, and the status that it answers."""

    class Kept(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], body))
            self.send_response(answer[0])
            self.end_headers()

        def log_message(self, *words):
            pass

    got, answer = [], [200]
    server = HTTPServer(("127.0.0.1", 0), Kept)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/{SECRET}")
    yield got, answer
    server.shutdown()
    thread.join()
    server.server_close()


def everything(folder) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def test_a_sweep_s_end_is_posted_as_one_sentence_and_its_address_written_nowhere(main, tmp_path, webhook):
    code, out, err = main(*SWEEP, "notify=webhook")
    assert code == 0, err
    ((path, kind, body),) = webhook[0]
    assert (path, kind) == (f"/{SECRET}", "application/json")
    (told,) = json.loads(body).values()
    assert list(json.loads(body)) == ["text"]
    assert told.startswith("default: 2 jobs finished, 0 failed; best test accuracy 0.")
    assert " ± " in told
    assert " at ε=" in told
    assert SECRET not in everything(tmp_path) + out + err


def test_jobs_that_failed_are_counted_and_the_exit_status_is_as_without(main, webhook):
    code, _, err = main(*SWEEP, "privacy.delta=1e-5,0.5", "notify=webhook")
    assert code == 1, err
    assert b'"default: 2 jobs finished, 2 failed; best' in webhook[0][0][2]


def test_a_single_run_tells_its_end_too(main, webhook):
    assert main(*QUICK, "notify=webhook")[0] == 0
    assert b"1 job finished, 0 failed; best" in webhook[0][0][2]


def test_nothing_is_told_unless_it_is_asked_for(main, webhook):
    assert main(*QUICK)[0] == 0
    assert webhook[0] == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "file:///etc/passwd",
        "ftp://h/s3cr3t",
        "http://127.0.0.1:9/s3cr3t",
        "http://\ns3cr3t",
        "http://example.org/s3cr3t",
    ],
)
def test_an_address_that_is_none_fails_no_sweep_and_is_one_line(main, monkeypatch, address, tmp_path):
    monkeypatch.setenv(WEBHOOK, address)
    code, out, err = main(*QUICK, "notify=webhook")
    (line,) = [line for line in err.splitlines() if "notify" in line]
    assert (code, line.startswith(("note: notify=webhook told nobody: ", NO_WEBHOOK, NO_TLS))) == (0, True)
    assert SECRET not in out + err


def test_a_webhook_that_refuses_or_does_not_answer_is_one_line(webhook, monkeypatch, capsys, tmp_path):
    webhook[1][0] = 403
    notify("webhook", tmp_path, 0, 1)
    assert capsys.readouterr().err == "note: notify=webhook told nobody: the webhook answered with status 403.\n"

    def slow(request, timeout, context):
        assert context.minimum_version.name == "TLSv1_3"
        assert timeout == notifying.SECONDS == 10
        raise TimeoutError(SECRET)

    monkeypatch.setattr(notifying.urllib.request, "urlopen", slow)
    notify("webhook", tmp_path, 0, 1)
    assert capsys.readouterr().err == "note: notify=webhook told nobody: the webhook did not answer in 10 s.\n"


def test_what_goes_wrong_in_the_sentence_fails_no_sweep(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(notifying, "_best", lambda folder: 1 / 0)
    monkeypatch.setattr(notifying.shutil, "which", lambda program: program)
    notify("desktop", tmp_path, 1, 0)
    assert capsys.readouterr().err == "note: notify=desktop told nobody: ZeroDivisionError.\n"


@pytest.mark.parametrize("program", ["notify-send", "osascript"])
def test_a_desktop_is_told_by_its_own_program(monkeypatch, capsys, tmp_path, program):
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / program
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/told\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DISPLAY", ":0")
    notify("desktop", tmp_path / "mine", 0, 2)
    assert (tmp_path / "told").read_text().splitlines()[-1] == "mine: 0 jobs finished, 2 failed"
    assert capsys.readouterr().err == ""
    script.write_text("#!/bin/sh\nexit 3\n")
    notify("desktop", tmp_path / "mine", 0, 2)
    assert capsys.readouterr().err == f"note: notify=desktop told nobody: {program} ended with status 3.\n"


@pytest.mark.parametrize("mode", [[], SWEEP[:3]])
@pytest.mark.parametrize(
    ("installed", "lacking"),
    [
        ([], "there is neither notify-send nor osascript on this machine"),
        (
            ["notify-send"],
            "notify-send finds no desktop, as none of DBUS_SESSION_BUS_ADDRESS, WAYLAND_DISPLAY, DISPLAY is set",
        ),
    ],
)
def test_a_machine_without_a_desktop_says_so_before_the_sweep_and_once(main, monkeypatch, installed, lacking, mode):
    monkeypatch.setattr(notifying.shutil, "which", lambda program: program if program in installed else None)
    for name in ("XDG_RUNTIME_DIR", *notifying._SESSIONS):
        monkeypatch.delenv(name, raising=False)
    code, _, err = main(*mode, *QUICK, "notify=desktop")
    said = (
        f"note: notify=desktop will tell nobody: {lacking}; write notify=webhook, with the webhook's address in the "
        f"environment variable {WEBHOOK}.\n"
    )
    assert (code, err.count("nobody"), err.startswith(said)) == (0, 1, True), err


def test_a_session_s_bus_is_a_desktop(monkeypatch, tmp_path):
    monkeypatch.setattr(notifying.shutil, "which", lambda program: program)
    for name in notifying._SESSIONS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert notifying._ahead("desktop")
    (tmp_path / "bus").touch()
    assert not notifying._ahead("desktop")
    (tmp_path / "bus").unlink()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert not notifying._ahead("desktop")


@pytest.mark.parametrize("mode", [[], SWEEP[:3]])
def test_an_address_on_the_command_line_is_refused_and_neither_repeated_nor_written(main, tmp_path, mode):
    code, out, err = main(*mode, *QUICK, f"notify=https://example.org/{SECRET}")
    assert (code, err) == (1, f"error: {NO_ADDRESS}\n")
    assert SECRET not in everything(tmp_path) + out


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_an_address_in_a_file_of_settings_or_by_interpolation_is_refused_alike(main, tmp_path, monkeypatch, mode):
    (tmp_path / "mine.yaml").write_text(f"notify: https://example.org/{SECRET}\n")
    monkeypatch.setenv("ADDRESS", f"https://example.org/{SECRET}")
    for words in ([f"experiment={tmp_path}/mine.yaml"], ["notify=${oc.env:ADDRESS}"]):
        folder = tmp_path / "results"
        code, out, err = main(*mode, *QUICK, *words, folder=folder)
        assert (code, NO_ADDRESS in err) == (1, True), err
        assert SECRET not in everything(folder) + out + err


def test_another_word_is_named(main):
    assert "notify=desktp is not known; use desktop or webhook, or leave it out." in main(*QUICK, "notify=desktp")[2]


def test_it_changes_no_result_and_no_name_of_one(main, tmp_path):
    plain, asked = Config(), Config(notify="webhook")
    assert identity.digest(plain) == identity.digest(asked)
    assert identity.point_hash(plain) == identity.point_hash(asked)
    assert identity.signature(plain) == identity.signature(asked)
    assert main(*QUICK)[0] == 0
    code, _, err = main(*QUICK, "notify=desktop")
    assert (code, "finished before" in err) == (0, True)
    assert len({path.parent for path in tmp_path.rglob("result.json")}) == 1
    assert len(load(tmp_path)) == 2


def test_the_sentence_has_no_overrides_and_no_path(tmp_path):
    assert sentence(tmp_path / "mine", 0, 3) == "mine: 0 jobs finished, 3 failed"
