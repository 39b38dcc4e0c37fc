"""Server and clients of a deployed federation, in one process; tests/test_deploy_flower.py runs them over Flower."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from dpjax.federated.aggregation.parties import Client, PublicKeys
from dpjax.results import claim, read_job_result
from experiments.config import ConfigError
from experiments.deploy.beside import simulate
from experiments.deploy.client import ClientSide
from experiments.deploy.deployable import refuse_undeployable
from experiments.deploy.federation import make_federation
from experiments.deploy.kept import Kept
from experiments.deploy.ledger import Ledger
from experiments.deploy.letters import Letter
from experiments.deploy.outcome import row_of, write_outcome
from experiments.deploy.plan import read_plan
from experiments.deploy.prepare import config_of
from experiments.deploy.server import ServerSide
from tests.deployed import DIGITS, Office, largest_difference, make_client, make_world

SECURE = ("federated.aggregation=secure", "privacy.clip_norm=0.5")


def deployed(world, bad=None, **options):
    office = Office(world.clients, bad)
    side = ServerSide(world.server(), office, world.key, seconds=1, **options)
    return side.run(), office


def params_of(world, ended):
    return world.server().solver().model_of(ended.state.params)


def nested(flat):
    tree: dict = {}
    for path, leaf in flat.items():
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


# ---- equal to the simulation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5"),
        (
            "privacy.epsilon=8",
            "privacy.delta=1e-3",
            "privacy.noise=inside_clients",
            "federated.local_sampling_rate=0.2",
        ),
        ("federated.partition=quantity", "federated.weights=sizes"),
        ("federated.clients_per_round=3", "optimizer.sampling=poisson", "privacy.epsilon=9", "privacy.delta=0.01"),
        ("federated.algorithm=fedprox", "federated.local_epochs=1", "optimizer.momentum=0.5"),
        ("clipping=automatic", "privacy.epsilon=8", "privacy.delta=0.01"),
        ("federated.robust=median",),
        SECURE,
        (
            *SECURE,
            "federated.bits=20",
            "federated.clients_per_round=4",
            "federated.partition=quantity",
            "federated.weights=sizes",
        ),
        (*SECURE, "privacy.noise=skellam", "privacy.epsilon=20", "privacy.delta=0.01", "privacy.accountant=rdp"),
    ],
    ids=lambda overrides: ",".join(overrides) or "plain",
)
def test_a_deployed_run_is_the_simulated_one(tmp_path, overrides):
    world = make_world(tmp_path, *overrides)
    ended, _ = deployed(world)
    row, params = simulate(world.cfg)
    assert largest_difference(params_of(world, ended), nested(params)) < 1e-6
    assert claim(world.server().facts) == claim(row)
    assert ended.aborted == 0


def test_the_row_says_what_the_simulated_one_says(tmp_path):
    world = make_world(tmp_path, "privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5")
    federation = world.server()
    evaluate = jax.jit(federation.setup.problem.evaluate)
    arrays = federation.setup.arrays
    ended, _ = deployed(world, evaluate=lambda params: {"test": evaluate(arrays.frozen, params, arrays.test)})
    mine, theirs = row_of(federation, ended, world.test), simulate(world.cfg)[0]
    for name in ("test_accuracy", "test_loss", "epsilon_pld", "noise_multiplier", "unit", "sampling", "num_steps"):
        assert mine[name] == pytest.approx(theirs[name], abs=1e-6) if isinstance(mine[name], float) else True
        assert isinstance(mine[name], float) or mine[name] == theirs[name]
    assert mine["dropped_count"] == mine["rejected_count"] == 0
    # A vector and a few words: what the simulation counts, and no row of anybody.
    assert theirs["uplink_bytes"] <= mine["uplink_bytes"] < theirs["uplink_bytes"] + 400


def test_a_run_without_test_rows_leaves_its_model_and_its_row(tmp_path, capsys):
    world = make_world(tmp_path)
    ended, _ = deployed(world)
    write_outcome(tmp_path / "run", make_federation(world.plan), ended, None, {"key": "not let in"})
    assert "nothing was scored: not private" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "clients.json").read_text())["strangers"] == {"key": "not let in"}
    (row,), _ = read_job_result(tmp_path / "run")
    assert row["dropped_count"] == 0
    assert "not private" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_without_a_rehearsal_nobody_can_repeat_the_noise(tmp_path):
    noisy = ("privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5")
    ends = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = make_world(folder, *noisy, rehearsal=False)
        ends.append(params_of(world, deployed(world)[0]))
    assert largest_difference(*ends) > 1e-3


# ---- what leaves a client ------------------------------------------------------------------------------------------


def test_nothing_of_a_client_but_its_vector_and_its_name_is_sent(tmp_path):
    world = make_world(tmp_path)
    _, office = deployed(world)
    said = {(answer.kind, name) for _, _, answer in office.letters if answer for name in answer.says}
    assert said == {("hello", "name"), ("train", "finite")}
    shapes = {tuple(x.shape) for _, _, answer in office.letters if answer for x in answer.arrays}
    assert shapes == {(10,), (64, 10)}


def test_covered_vectors_look_uniform_and_add_up(tmp_path):
    world = make_world(tmp_path, *SECURE)
    _, office = deployed(world)
    words = [np.frombuffer(a.says["words"], "<u4") for _, _, a in office.letters if a and a.kind == "upload"]
    bits = np.unpackbits(np.concatenate(words).view(np.uint8)).mean()
    assert abs(bits - 0.5) < 0.005  # 5 clients, 3 rounds, 650 words of 32 bits: a standard error of .0009
    assert not any(a.arrays for _, _, a in office.letters if a)


def test_a_client_bounds_what_it_sends(tmp_path):
    world = make_world(tmp_path, "privacy.clip_norm=0.01", "privacy.epsilon=8", "privacy.delta=0.01")
    _, office = deployed(world)
    sent = [answer.arrays for _, _, answer in office.letters if answer and answer.kind == "train"]
    norms = [np.sqrt(sum(float(np.sum(np.square(x))) for x in arrays)) for arrays in sent]
    assert len(norms) == 15
    assert max(norms) <= 0.01 * (1 + 1e-6)
    assert min(norms) > 0.009


# ---- clients who lie, break, come late or vanish -------------------------------------------------------------------


def once(kind, change, times=1):
    """A client that is honest but for its first answers of one kind."""
    left = [times]

    def answer(letter, honestly):
        if letter.kind != kind or not left[0]:
            return honestly(letter)
        left[0] -= 1
        return change(letter, honestly)

    return answer


def spoilt(value):
    def change(letter, honestly):
        answer = honestly(letter)
        return answer._replace(arrays=[np.full_like(x, value) for x in answer.arrays])

    return change


def test_not_a_number_counts_as_zero_and_is_counted(tmp_path):
    world = make_world(tmp_path)
    ended, _ = deployed(world, {2: once("train", spoilt(np.nan), times=3)})
    assert [account.not_finite for account in ended.accounts] == [0, 0, 3, 0, 0]
    alike, _ = deployed(make_world_again(tmp_path, world), {2: once("train", spoilt(0.0), times=3)})
    assert largest_difference(params_of(world, ended), params_of(world, alike)) == 0


def make_world_again(tmp_path, world, name="again"):
    """The same plan and clients, with nothing sent yet."""
    clients = {}
    for number, client in world.clients.items():
        ledger = Ledger(tmp_path / f"{name}-{number}" / "sent.json", world.plan.digest, world.cfg.optimizer.num_steps)
        clients[number] = ClientSide(client.federation, client._key, ledger)
    return world._replace(clients=clients)


def test_whatever_a_client_sends_moves_the_sum_by_a_clip_norm_at_most(tmp_path):
    world = make_world(
        tmp_path, "optimizer.num_steps=1", "privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5"
    )
    honest, _ = deployed(world)
    ended, _ = deployed(make_world_again(tmp_path, world), {0: once("train", spoilt(1e30))})
    moved = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), params_of(world, honest), params_of(world, ended))
    distance = np.sqrt(sum(float(np.sum(np.square(x))) for x in jax.tree.leaves(moved)))
    assert distance <= 2 * 0.5 / 5 * (1 + 1e-5)  # one client of five in the place of another, each of norm at most 0.5


def halved(letter, honestly):
    answer = honestly(letter)
    return answer._replace(arrays=[x.astype(np.float64) for x in answer.arrays])


def unasked(letter, honestly):
    return honestly(letter)._replace(kind="hello")


def shapeless(letter, honestly):
    return honestly(letter)._replace(arrays=[np.zeros(3, np.float32)])


BAD = {
    "shape": (shapeless, "not of the model's shapes"),
    "dtype": (halved, "not of the model's shapes"),
    "kind": (unasked, "it answered train with 'hello'"),
    "empty": (lambda letter, honestly: Letter("train", letter.step), "not of the model's shapes"),
    "refuses": (lambda letter, honestly: Letter("refused", letter.step, {"why": "no wish"}), "it would not: no wish"),
    "mute": (lambda letter, honestly: Letter("refused", letter.step), "says no why"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_answer_that_is_none_is_counted_and_the_round_goes_on(tmp_path, what):
    change, why = BAD[what]
    world = make_world(tmp_path)
    ended, _ = deployed(world, {1: once("train", change)})
    assert [account.answered for account in ended.accounts] == [3, 2, 3, 3, 3]
    (reason,) = ended.accounts[1].refused
    assert why in reason
    assert ended.accounts[1].refused[reason] == 1
    assert np.isfinite(largest_difference(params_of(world, ended), params_of(world, ended)))


def test_who_vanishes_is_not_waited_for_again_and_who_comes_back_takes_part(tmp_path):
    world = make_world(tmp_path, "optimizer.num_steps=4")
    ended, _ = deployed(world, {3: once("train", lambda letter, honestly: None)})
    assert ended.accounts[3].missed >= 1
    assert ended.accounts[3].asked == 4
    assert 0 < ended.accounts[3].answered < 4
    assert [account.answered for account in ended.accounts[:3]] == [4, 4, 4]


def test_an_answer_that_comes_late_is_counted_and_not_used(tmp_path):
    world = make_world(tmp_path)
    office = Office(world.clients)

    def late(letter, honestly):
        office.later.append((4, honestly(letter)))

    office.bad[4] = once("train", late)
    ended = ServerSide(world.server(), office, world.key, seconds=1).run()
    assert ended.accounts[4].late == 1
    assert ended.accounts[4].answered == 2


def test_a_client_that_says_another_size_than_agreed_is_not_let_in(tmp_path):
    world = make_world(tmp_path, "federated.partition=quantity", "federated.weights=sizes")

    def liar(letter, honestly):
        answer = honestly(letter)
        return answer._replace(says=dict(answer.says) | {"records": 1_000_000})

    ended, office = deployed(world, {0: once("hello", liar, times=99)})
    assert ended.accounts[0].answered == 0
    assert any("says that it has 1000000 rows" in why for why in ended.accounts[0].refused)
    assert not any(number == 0 and letter.kind == "train" for number, letter, _ in office.letters)
    assert [account.answered for account in ended.accounts[1:]] == [3, 3, 3, 3]


# ---- secure rounds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["shares", "upload", "open"])
def test_a_client_lost_at_any_stage_of_a_secure_round_is_left_out_of_it(tmp_path, kind):
    world = make_world(tmp_path, *SECURE)
    ended, _ = deployed(world, {2: once(kind, lambda letter, honestly: None)})
    assert ended.aborted == 0
    lost = 0 if kind == "open" else 1  # its vector is in the sum, and others open the masks
    assert ended.accounts[2].answered <= 3 - lost
    assert [account.answered for account in ended.accounts[:2]] == [3, 3]
    plain = make_world_again(tmp_path, world)
    simulated = simulate(world.cfg)[1]
    if kind == "open" and ended.accounts[2].answered == 3:
        assert largest_difference(params_of(world, ended), nested(simulated)) < 1e-6
    del plain


def test_the_sum_of_who_arrived_is_exact_when_one_is_lost(tmp_path):
    world = make_world(tmp_path, *SECURE, "optimizer.num_steps=1")
    lost, _ = deployed(world, {2: once("upload", lambda letter, honestly: None)})
    zero = make_world_again(tmp_path, world)
    rows = zero.clients[2].rows
    zero.clients[2].__dict__["_send"] = lambda *_: (np.zeros(650, np.int32), True)
    alike, _ = deployed(zero)
    assert largest_difference(params_of(world, lost), params_of(world, alike)) == 0
    assert len(rows.labels) > 0


def test_too_few_answers_give_the_round_up_and_leave_the_model(tmp_path):
    world = make_world(tmp_path, *SECURE, "optimizer.num_steps=1", "federated.threshold=0.8")
    gone = {number: once("upload", lambda letter, honestly: None) for number in (0, 1)}
    ended, _ = deployed(world, gone)
    assert ended.aborted == 1
    start = ServerSide(world.server(), Office(world.clients), world.key, seconds=1)._start()
    assert largest_difference(ended.state.params, start.params) == 0


def test_shares_that_were_changed_on_their_way_are_refused_by_who_gets_them(tmp_path):
    world = make_world(tmp_path, *SECURE)

    def tampered(letter, honestly):
        answer = honestly(letter)
        boxes = [bytes([box[0] ^ 1]) + box[1:] for box in answer.says["sealed"]]
        return answer._replace(says=dict(answer.says) | {"sealed": boxes})

    ended, _ = deployed(world, {0: once("shares", tampered)})
    assert any("changed on their way" in why for account in ended.accounts[1:] for why in account.refused)
    assert ended.accounts[0].answered <= 3


def test_shares_that_do_not_fit_end_the_round_and_not_the_run(tmp_path):
    world = make_world(tmp_path, *SECURE)

    def wrong(letter, honestly):
        answer = honestly(letter)
        shares = [bytes(len(share)) for share in answer.says["selves"]]
        return answer._replace(says=dict(answer.says) | {"selves": shares})

    ended, _ = deployed(world, {0: once("open", wrong)})
    assert np.isfinite(largest_difference(params_of(world, ended), params_of(world, ended)))
    assert sum(account.answered for account in ended.accounts) >= 10


# ---- a server that lies --------------------------------------------------------------------------------------------


def greeted(world, number=0, secure=False):
    side = ServerSide(world.server(), Office(world.clients), world.key, seconds=1)
    side.talk.greet()
    return side.talk, world.clients[number]


def ask(talk, client, letter):
    says = dict(letter.says) | {"session": talk.session}
    return client.answer(talk._signed(client.number, letter._replace(says=says)))


def train_letter(world, step=0):
    side = ServerSide(world.server(), Office(world.clients), world.key, seconds=1)
    return Letter("train", step, {"slot": 0}, [np.asarray(x) for x in jax.tree.leaves(side._start().params)])


def test_a_round_is_answered_once_whatever_is_asked_and_whoever_restarts(tmp_path):
    world = make_world(tmp_path)
    talk, client = greeted(world)
    assert ask(talk, client, train_letter(world)).kind == "train"
    again = ask(talk, client, train_letter(world))
    assert again.kind == "refused"
    assert "answered before" in again.says["why"]
    assert "none of the plan's 3" in ask(talk, client, train_letter(world, step=3)).says["why"]
    client.ledger.close()
    anew = make_client(world.plan, tmp_path, 0, client.rows)
    world.clients[0] = anew
    talk, anew = greeted(world)
    assert "answered before" in ask(talk, anew, train_letter(world)).says["why"]
    assert ask(talk, anew, train_letter(world, step=1)).kind == "train"


def test_letters_of_anybody_but_the_plan_s_server_are_not_answered(tmp_path):
    world = make_world(tmp_path)
    talk, client = greeted(world)
    letter = train_letter(world)
    says = dict(letter.says) | {"session": talk.session}
    assert "says no signed" in client.answer(letter._replace(says=says)).says["why"]
    for_another = talk._signed(1, letter._replace(says=says))
    assert "not signed by the plan's server" in client.answer(for_another).says["why"]
    good = talk._signed(0, letter._replace(says=says))
    changed = good._replace(arrays=[x + 1 for x in good.arrays])
    assert "not signed by the plan's server" in client.answer(changed).says["why"]
    assert client.answer(good).kind == "train"


def test_a_plain_vector_is_not_given_where_the_plan_covers_it(tmp_path):
    world = make_world(tmp_path, *SECURE)
    talk, client = greeted(world)
    assert "was asked for" in ask(talk, client, train_letter(world)).says["why"]


def listed(world, letters):
    slots = list(letters)
    return {
        "slots": slots,
        "numbers": slots,
        "counts": [letters[n].says["count"] for n in slots],
        "masks": [letters[n].says["mask"] for n in slots],
        "channels": [letters[n].says["channel"] for n in slots],
        "signatures": [letters[n].says["signature"] for n in slots],
    }


def test_a_server_can_not_put_keys_of_its_own_in_a_client_s_place(tmp_path):
    world = make_world(tmp_path, *SECURE)
    talk, client = greeted(world)
    says = listed(world, talk.published) | {"slot": 0}
    forged = Client(1).published
    false = says | {"masks": [says["masks"][0], forged.mask, *says["masks"][2:]]}
    assert "not signed by client-1" in ask(talk, client, Letter("shares", 0, false)).says["why"]
    assert isinstance(forged, PublicKeys)
    twice = {name: value[:1] * 2 if isinstance(value, list) else value for name, value in says.items()}
    assert "once each" in ask(talk, client, Letter("shares", 0, twice)).says["why"]
    alone = {name: value[:1] if isinstance(value, list) else value for name, value in says.items()}
    assert ask(talk, client, Letter("shares", 0, alone)).kind == "refused"


def test_keys_of_an_earlier_round_are_not_taken_again(tmp_path):
    world = make_world(tmp_path, *SECURE)
    talk, client = greeted(world)
    says = listed(world, talk.published) | {"slot": 0}
    assert ask(talk, client, Letter("shares", 0, says)).kind == "shares"
    hello = {"plan": world.plan.digest, "protocol": 1}
    new = ask(talk, client, Letter("hello", 0, hello))
    mine = {name: [new.says[name[:-1]], *says[name][1:]] for name in ("masks", "channels", "signatures", "counts")}
    assert "earlier round" in ask(talk, client, Letter("shares", 1, says | mine)).says["why"]


def test_both_shares_of_a_client_are_never_opened(tmp_path):
    world = make_world(tmp_path, *SECURE)
    seen = []

    def watch(letter, honestly):
        if letter.kind == "open" and not seen:
            seen.append(honestly(letter))
            swapped = dict(letter.says) | {"arrived": letter.says["arrived"][1:], "lost": letter.says["arrived"][:1]}
            side = watch.talk
            seen.append(honestly(side._signed(1, letter._replace(says=swapped))))
            return seen[0]
        return honestly(letter)

    office = Office(world.clients, {1: watch})
    side = ServerSide(world.server(), office, world.key, seconds=1)
    watch.talk = side.talk
    side.run()
    assert seen[0].kind == "open"
    assert seen[1].kind == "refused"


# ---- plans, ledgers, states ----------------------------------------------------------------------------------------


def test_a_plan_is_read_back_and_any_change_of_it_is_another_plan(tmp_path):
    world = make_world(tmp_path, "privacy.epsilon=8", "privacy.delta=0.01")
    world.plan.write(tmp_path / "plan.yaml")
    again = read_plan(tmp_path / "plan.yaml")
    assert again.digest == world.plan.digest
    assert again.cfg == world.plan.cfg
    text = (tmp_path / "plan.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text.replace("epsilon: 8.0", "epsilon: 9.0"))
    assert read_plan(tmp_path / "other.yaml").digest != world.plan.digest
    talk, client = greeted(world)
    other = Letter("hello", 0, {"plan": read_plan(tmp_path / "other.yaml").digest, "protocol": 1})
    assert "another plan" in ask(talk, client, other).says["why"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1, 2]", "is no plan"),
        ("a: [", "is no YAML"),
        ("config: {}\nclients: []\ndata: {}\nserver: {}\n", "is of dpjax None"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_sentence(tmp_path, text, why):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ConfigError, match=why):
        read_plan(tmp_path / "plan.yaml")
    with pytest.raises(ConfigError, match="can't be read"):
        read_plan(tmp_path / "nothing.yaml")


REFUSED = {
    "federated.algorithm=scaffold": "scaffold",
    "federated.aggregation=homomorphic": "homomorphic",
    "federated.dropout_rate=0.1": "dropout_rate",
    "clipping=adaptive": "adaptive",
    "federated.corruption.name=noise": "corruption",
    "data.validation=0.1": "validation",
    "engine=tuned": "tuned",
    "governance=local": "governance",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_can_not_be_deployed_is_refused_by_its_field(override):
    with pytest.raises(ConfigError, match=REFUSED[override] + ".*can't be deployed"):
        config_of([*DIGITS, "privacy.epsilon=8", "privacy.delta=0.01", override])


def test_poisson_rounds_that_can_be_given_up_are_not_deployed():
    with pytest.raises(ConfigError, match="says who was there"):
        config_of([*DIGITS, *SECURE, "optimizer.sampling=poisson", "federated.clients_per_round=3"])
    cfg = config_of([*DIGITS, *SECURE])
    refuse_undeployable(cfg)
    with pytest.raises(ConfigError, match="masks"):
        refuse_undeployable(dataclasses.replace(cfg, federated=dataclasses.replace(cfg.federated, masks=False)))


def test_a_ledger_is_one_client_s_and_one_plan_s(tmp_path):
    ledger = Ledger(tmp_path / "sent.json", "d1", 2)
    ledger.spend(1)
    with pytest.raises(ConfigError, match="in use by another client"):
        Ledger(tmp_path / "sent.json", "d1", 2)
    ledger.close()
    with pytest.raises(ConfigError, match="another plan"):
        Ledger(tmp_path / "sent.json", "d2", 2)


def test_a_ledger_that_is_damaged_stops_the_client(tmp_path):
    (tmp_path / "sent.json").write_text('{"plan": "d1", "rou')
    with pytest.raises(ConfigError, match="restore it"):
        Ledger(tmp_path / "sent.json", "d1", 2)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("overrides", [(), ("privacy.epsilon=8", "privacy.delta=0.01", "privacy.clip_norm=0.5")])
def test_a_server_that_was_killed_goes_on_and_no_noise_is_used_twice(tmp_path, overrides):
    world = make_world(tmp_path, "optimizer.num_steps=4", *overrides)
    whole, _ = deployed(make_world_again(tmp_path, world, "whole"))

    def killed_after_two(done, total, line):
        if done == 2:
            raise Killed

    side = ServerSide(world.server(), Office(world.clients), world.key, seconds=1, tell=killed_after_two)
    with pytest.raises(Killed):
        side.run(Kept(tmp_path / "run", "p"))
    kept = Kept(tmp_path / "run", "p")
    assert (kept.told["begun"], kept.told["done"]) == (2, 2)
    ended = ServerSide(world.server(), Office(world.clients), world.key, seconds=1).run(kept)
    assert largest_difference(params_of(world, whole), params_of(world, ended)) < 1e-6
    assert [account.answered for account in ended.accounts] == [4] * 5


def test_a_round_in_which_the_server_was_killed_is_given_up(tmp_path):
    world = make_world(tmp_path, "optimizer.num_steps=3", "privacy.epsilon=8", "privacy.delta=0.01")

    def killed(letter, honestly):
        honestly(letter)
        raise Killed

    office = Office(world.clients, {4: once("train", killed)})
    with pytest.raises(Killed):
        ServerSide(world.server(), office, world.key, seconds=1).run(Kept(tmp_path / "run", "p"))
    kept = Kept(tmp_path / "run", "p")
    assert (kept.told["begun"], kept.told["done"]) == (1, 0)
    ended = ServerSide(world.server(), Office(world.clients), world.key, seconds=1).run(kept)
    assert ended.aborted == 1
    assert [account.answered for account in ended.accounts] == [2] * 5
    told = json.loads((tmp_path / "run" / "rounds.json").read_text())
    assert (told["begun"], told["done"]) == (3, 3)


@pytest.mark.parametrize("what", ["rehearsal: true", "most_records: ", "input_shape:"])
def test_a_plan_of_other_types_is_refused_before_it_is_believed(tmp_path, what):
    world = make_world(tmp_path)
    world.plan.write(tmp_path / "plan.yaml")
    text = (tmp_path / "plan.yaml").read_text()
    edits = {
        "rehearsal: true": ("rehearsal: true", 'rehearsal: "false"'),
        "most_records: ": ("most_records: ", "most_records: -"),
        "input_shape:": ("  - 8\n  - 8\n", "  - 800000\n  - 80000\n"),
    }
    assert edits[what][0] in text
    (tmp_path / "plan.yaml").write_text(text.replace(*edits[what], 1))
    with pytest.raises(ConfigError, match=what.partition(":")[0]):
        read_plan(tmp_path / "plan.yaml")


def test_a_run_waits_where_nobody_is_there_and_a_finished_one_needs_nobody(tmp_path):
    world = make_world(tmp_path)
    asked = []
    office = Office(world.clients)
    kept = Kept(tmp_path / "run", "p")
    ServerSide(world.server(), office, world.key, seconds=1, ready=asked.append).run(kept)
    assert asked == [0, 1, 2]
    nobody = ServerSide(world.server(), Office({}), world.key, seconds=1, ready=asked.append)
    ended = nobody.run(Kept(tmp_path / "run", "p"))  # killed after its last round, before anything was written
    assert asked == [0, 1, 2]
    assert [account.answered for account in ended.accounts] == [3] * 5


def test_a_wrong_key_is_refused_in_one_sentence(tmp_path):
    world = make_world(tmp_path)
    with pytest.raises(ConfigError, match=re.escape("key: its public key is not that of the plan's server")):
        ServerSide(world.server(), Office(world.clients), world.clients[0]._key, seconds=1)
    with pytest.raises(ConfigError, match="none of the plan's clients"):
        ClientSide(world.clients[0].federation, world.key, Ledger(tmp_path / "x" / "sent.json", world.plan.digest, 3))


def test_more_rows_than_the_plan_has_room_for_are_refused(tmp_path):
    world = make_world(tmp_path)
    client = world.clients[0]
    small = dataclasses.replace(world.plan, most_records=10)
    with pytest.raises(ConfigError, match="room for 10;"):
        ClientSide(make_federation(small, train=client.rows), client._key, Ledger(tmp_path / "y" / "s.json", "d", 3))
