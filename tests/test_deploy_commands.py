"""`dpjax deploy` as far as it needs no Flower: keys, plans, rehearsals, and what is in the way of a connection."""

import contextlib
import datetime
import email.utils
import json
import re
import socket
import ssl
import stat
import threading
from unittest.mock import Mock

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpjax.cli.app import run
from experiments.config import ConfigError
from experiments.deploy import keys
from experiments.deploy import rows as rows_module
from experiments.deploy.beside import simulate
from experiments.deploy.federation import make_federation
from experiments.deploy.keys import check_server, read_client_key, write_certificates, write_client_key
from experiments.deploy.plan import read_plan
from experiments.deploy.prepare import config_of
from experiments.deploy.reach import obstacle
from experiments.deploy.rows import own_rows, read_rows
from experiments.deploy.server import ServerSide
from tests.deployed import DIGITS, Office, largest_difference, make_client

PRIVATE = ("privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5", "optimizer.num_steps=2")


def dpjax(capsys, *words):
    capsys.readouterr()
    status = run(["deploy", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal") / "five"
    assert run(["deploy", "rehearse", str(folder), *DIGITS, *PRIVATE]) == 0
    return folder


def test_a_rehearsal_gives_each_client_its_own_rows_and_nobody_elses(rehearsed):
    plan = read_plan(rehearsed / "plan.yaml")
    assert plan.rehearsal
    rows = [read_rows(rehearsed / member.name / "rows.parquet", plan.shapes) for member in plan.clients]
    whole = np.concatenate([each.inputs for each in rows])
    assert len(whole) == len(np.unique(whole, axis=0)) == 1438
    for member in plan.clients:
        assert stat.S_IMODE((rehearsed / member.name / "key").stat().st_mode) == 0o600
        assert (rehearsed / member.name / "key.pub").read_text().strip() == member.key
    assert len(read_rows(rehearsed / "server" / "test.parquet", plan.shapes).labels) == 359
    check_server(rehearsed / "server")


def test_show_says_what_a_plan_does_and_refuses_another_claim(rehearsed, tmp_path, capsys):
    status, out, _ = dpjax(capsys, "show", str(rehearsed / "plan.yaml"))
    assert status == 0
    assert "(ε=8 PLD, δ=0.01)-DP per client" in out
    assert "A REHEARSAL" in out
    assert out.count("Client:") == 5
    text = (rehearsed / "plan.yaml").read_text().replace("ε=8 PLD", "ε=1 PLD")
    (tmp_path / "plan.yaml").write_text(text)
    status, _, err = dpjax(capsys, "show", str(tmp_path / "plan.yaml"))
    assert status == 1
    assert "claims “(ε=1 PLD" in err
    assert len(err.strip().splitlines()) == 1


def test_keys_are_never_overwritten(tmp_path, capsys, rehearsed):
    assert dpjax(capsys, "key", str(tmp_path / "mine"))[0] == 0
    before = (tmp_path / "mine").read_bytes()
    status, _, err = dpjax(capsys, "key", str(tmp_path / "mine"))
    assert status == 1
    assert "is there already" in err
    assert (tmp_path / "mine").read_bytes() == before
    assert dpjax(capsys, "certificates", str(tmp_path / "server"), "localhost")[0] == 0
    assert dpjax(capsys, "certificates", str(tmp_path / "server"), "localhost")[0] == 1
    status, _, err = dpjax(capsys, "rehearse", str(rehearsed), *DIGITS)
    assert status == 1
    assert "is in use" in err


COLUMNS = "data.columns={age: [0, 100], dose: [0, 10], ward: [a, b]}"
OWN = (
    "data=own", "data.label=ill", "data.classes=['no','yes']", COLUMNS, "model=logistic", "federated=fedavg",
    "federated.partition=natural", "federated.clients_per_round=2", "federated.records_per_client=60",
    "optimizer.sampling=fixed_size", "optimizer.num_steps=3", "privacy.epsilon=inf", "federated.local_steps=2",
)  # fmt: skip


def table(path, seed, rows=60):
    draw = np.random.default_rng(seed)
    age, dose = draw.integers(20, 90, rows), draw.uniform(0, 10, rows)
    ill = np.where(age + 5 * dose > 80, "yes", "no")
    lines = [f"{a},{d:.2f},{w},{i}" for a, d, w, i in zip(age, dose, draw.choice(["a", "b"], rows), ill, strict=True)]
    path.write_text("\n".join(["age,dose,ward,ill", *lines]) + "\n")
    return path


def test_a_plan_for_tables_that_stay_with_their_owners(tmp_path, capsys):
    public = table(tmp_path / "public.csv", 0, rows=20)
    words = []
    for name in ("north", "south"):
        write_client_key(tmp_path / f"key-{len(words) // 2}")
        words += ["--client", f"{name}={tmp_path / f'key-{len(words) // 2}.pub'}"]
    write_certificates(tmp_path / "server", ["localhost"])
    write_client_key(tmp_path / "server" / "coordinator")
    server = ["--server", str(tmp_path / "server" / "coordinator.pub")]
    plan_file = str(tmp_path / "plan.yaml")
    status, out, err = dpjax(capsys, "plan", plan_file, *OWN, f"data.path={public}", *words, *server)
    assert status == 0, err
    assert "Client:  south" in out
    plan = read_plan(tmp_path / "plan.yaml")
    assert not plan.rehearsal
    clients = {}
    for number, seed in enumerate((1, 2)):
        train, test = own_rows(plan, table(tmp_path / f"rows-{seed}.csv", seed))
        assert len(train.labels) + len(test.labels) == 60
        clients[number] = make_client(plan, tmp_path, number, train)
    key = read_client_key(tmp_path / "server" / "coordinator")
    ended = ServerSide(make_federation(plan), Office(clients), key, seconds=1).run()
    assert [account.answered for account in ended.accounts] == [3, 3]
    # What nobody said of the columns would be read off these rows, and off others elsewhere.
    unsaid = [word for word in OWN if word != COLUMNS]
    other = str(tmp_path / "other.yaml")
    status, _, err = dpjax(capsys, "plan", other, *unsaid, f"data.path={public}", *words, *server)
    assert status == 1
    assert "say them in data.columns" in err
    wide = tmp_path / "wide.csv"
    wide.write_text((tmp_path / "rows-1.csv").read_text().replace("age,", "weight,"))
    with pytest.raises(ConfigError, match=r"rows=.*wide\.csv"):
        own_rows(plan, wide)


def test_keys_of_other_kinds_are_refused_in_one_sentence(tmp_path, monkeypatch):
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    for name, content, why in (("ed", other, "not of an elliptic curve"), ("empty", b"", "is no private key")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            read_client_key(tmp_path / name)
    for error in (
        TypeError("Key is password-protected."),
        UnsupportedAlgorithm("bcrypt"),
    ):
        monkeypatch.setattr(keys, "load_ssh_private_key", Mock(side_effect=error))
        with pytest.raises(ConfigError, match="without a passphrase"):
            read_client_key(tmp_path / "ed")


def test_the_server_tests_on_all_rows_of_a_table(rehearsed):
    plan = read_plan(rehearsed / "plan.yaml")
    assert len(rows_module.test_rows(plan, rehearsed / "server" / "test.parquet").labels) == 359


def test_what_a_plan_needs_is_said(tmp_path, capsys):
    status, _, err = dpjax(capsys, "plan", str(tmp_path / "p.yaml"), *DIGITS)
    assert status == 1
    assert "--client is missing" in err
    assert dpjax(capsys, "plan", str(tmp_path / "p.yaml"), *DIGITS, "--client", "north")[2].startswith(
        "error: --client"
    )
    status, _, err = dpjax(capsys, "rehearse", str(tmp_path / "x"), "experiment=quickstart", "federated.nothing=1")
    assert status == 1
    assert "federated.nothing" in err
    status, _, err = dpjax(capsys, "rehearse", str(tmp_path / "x"), "model=mlp")
    assert status == 1
    assert "trains centrally" in err


def test_rows_of_another_data_set_are_refused(rehearsed, tmp_path):
    assert run(["deploy", "rehearse", str(tmp_path / "other"), *DIGITS, "data=breast_cancer"]) == 0
    plan = read_plan(rehearsed / "plan.yaml")
    with pytest.raises(ConfigError, match="of another data set"):
        own_rows(plan, tmp_path / "other" / "client-0" / "rows.parquet")
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="can't be read"):
        own_rows(plan, tmp_path / "no.parquet")


def test_compare_puts_a_run_beside_its_simulation(rehearsed, tmp_path, capsys):
    status, _, err = dpjax(capsys, "compare", str(rehearsed / "plan.yaml"), str(tmp_path))
    assert status == 1
    assert "holds no finished run" in err
    row, params = simulate(config_of([*DIGITS, *PRIVATE]))
    again = simulate(read_plan(rehearsed / "plan.yaml").cfg)
    assert row["epsilon_pld"] == again[0]["epsilon_pld"]
    assert largest_difference(params, again[1]) == 0
    assert json.dumps(row["test_accuracy"]) == json.dumps(again[0]["test_accuracy"])


# ---- what is in the way of a connection ----------------------------------------------------------------------------


@contextlib.contextmanager
def answering(certificates=None, date=None, greeting=None, host="127.0.0.1"):
    """A server on this machine that answers one request after another."""
    listener = socket.create_server((host, 0))
    context = None
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    when = email.utils.format_datetime(date or datetime.datetime.now(datetime.UTC), usegmt=True)
    said = greeting or f"HTTP/1.1 404 Not Found\r\ndate: {when}\r\ncontent-length: 0\r\n\r\n".encode()

    def serve():
        while True:
            try:
                line, _ = listener.accept()
                with line if context is None else context.wrap_socket(line, server_side=True) as open_line:
                    open_line.recv(4096)
                    open_line.sendall(said)
            except OSError:
                if listener.fileno() < 0:
                    return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"{host}:{listener.getsockname()[1]}"
    finally:
        listener.close()


def test_what_is_in_the_way_is_said_in_one_sentence_with_the_fix(tmp_path):
    for name, hosts in (("good", ["127.0.0.1"]), ("elsewhere", ["10.0.0.1", "hospital.example"])):
        write_certificates(tmp_path / name, hosts)
    ca = tmp_path / "good" / "ca.pem"
    with answering(tmp_path / "good") as server:
        assert obstacle(server, ca) is None
        assert "is not known to --ca" in obstacle(server, tmp_path / "elsewhere" / "ca.pem")
    with answering(tmp_path / "elsewhere", host="127.0.0.2") as server:
        assert "not for 127.0.0.2" in obstacle(server, tmp_path / "elsewhere" / "ca.pem")
    with answering(None, greeting=b"220 mail\r\n") as server:
        assert re.search(r"speaks no TLS|nobody answers", obstacle(server, ca))
    with answering(tmp_path / "good", greeting=b"220 mail\r\n") as server:
        assert "is no SuperLink" in obstacle(server, ca)
    for minutes, side in ((-3, "ahead of"), (3, "behind")):
        then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
        with answering(tmp_path / "good", date=then) as server:
            assert f"s {side} the server's" in obstacle(server, ca)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "is the server started?" in obstacle(f"127.0.0.1:{port}", ca)
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        obstacle("127.0.0.1", ca)
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="is no certificate"):
        obstacle(f"127.0.0.1:{port}", tmp_path / "no.pem")


def test_certificates_that_do_not_fit_stop_the_server(tmp_path):
    write_certificates(tmp_path / "one", ["a"])
    write_certificates(tmp_path / "two", ["a"])
    (tmp_path / "one" / "ca.pem").write_bytes((tmp_path / "two" / "ca.pem").read_bytes())
    with pytest.raises(ConfigError, match="did not issue"):
        check_server(tmp_path / "one")
    (tmp_path / "two" / "server.key").unlink()
    with pytest.raises(ConfigError, match=r"has no server\.key"):
        check_server(tmp_path / "two")
