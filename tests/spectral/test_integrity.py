"""`python -m spectral.integrity`, and where else its checks are shown."""

import json
from pathlib import Path

import pytest
import torch
from json_output import json_of

import models
from models.integrity import CHECKS
from models.train import train

FIELDS = ["name", "claimed", "passes", "value", "where", "meaning"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A checkpoint whose second layer mixes nothing."""
    run = train("sasrec", "synthetic:users=60,items=40", out=tmp_path / "a.pt", epochs=1, hidden_size=8, max_len=10)
    content = torch.load(run.path, weights_only=True)
    for name, value in content["state_dict"].items():
        if name.startswith(("blocks.0.mixer", "blocks.1.mixer.output")):
            value.mul_(30 if "blocks.0" in name else 0)  # after one epoch the first layer hardly does anything
    torch.save(content, tmp_path / "broken.pt")
    return tmp_path / "broken.pt"


def test_the_command_prints_every_check(call, checkpoint):
    code, out, err = call("integrity", checkpoint)
    assert code == 0 and "BSARec, checked on users of synthetic" in err
    rows = out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == [check.__name__ for check in CHECKS]
    assert rows[0].split()[1:3] == ["no", "no"]  # BSARec does not promise to be causal, and is not


def test_json_has_the_same_and_a_broken_promise_does_not_change_the_exit_code(call, broken):
    code, out, _ = call("integrity", broken, "--json")
    assert code == 0
    printed = json_of(out)
    assert printed["model"] == "sasrec" and printed["users"] == 60
    assert all(list(check) == FIELDS for check in printed["checks"])
    found = {check["name"]: check for check in printed["checks"]}
    assert found["layers_act"]["claimed"] and found["layers_act"]["passes"] is False
    assert found["layers_act"]["where"] == [2]
    assert found["causal"]["passes"] is True and found["causal"]["where"] == []
    assert found["popularity"]["passes"] is None and 0 <= found["popularity"]["value"] <= 1


def test_a_third_party_file_is_checked_without_data(call, their_file):
    code, out, _ = call("integrity", their_file, "--heads", 2, "--alpha", 0.3, "--c", 9, "--json")
    assert code == 0
    found = {check["name"]: check for check in json_of(out)["checks"]}
    assert found["causal"]["passes"] is False and not found["causal"]["claimed"]
    assert found["popularity"]["value"] is None and "without data" in found["popularity"]["meaning"]


def test_weights_that_are_not_finite_are_a_finding(call, broken, tmp_path):
    content = torch.load(broken, weights_only=True)
    content["state_dict"]["items.weight"][3] = torch.nan
    torch.save(content, tmp_path / "nan.pt")
    code, out, _ = call("integrity", tmp_path / "nan.pt", "--json")
    assert code == 0
    found = {check["name"]: check for check in json_of(out)["checks"]}
    assert found["finite"]["passes"] is False and found["finite"]["where"] == ["items.weight"]
    assert found["causal"]["passes"] is None


def test_evaluation_prints_them_too(command, broken):
    done = command("models.evaluate", broken, "--integrity", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert list(printed)[:2] == ["HR@5", "NDCG@5"] and list(printed["checks"][0]) == FIELDS
    [layers] = [check for check in printed["checks"] if check["name"] == "layers_act"]
    assert layers["where"] == [2]


def test_mistakes_are_named(call, checkpoint, tmp_path):
    code, _, err = call("integrity", tmp_path / "none.pt")
    assert code == 2 and "none.pt" in err
    code, _, err = call("integrity", checkpoint, "--data", "no-such-data")
    assert code == 2 and "no-such-data" in err


def test_the_checks_of_a_dataset_and_of_the_windows_in_the_file_agree(call, checkpoint):
    source = models.load(checkpoint).checkpoint["dataset"]["source"]
    found = [json_of(call("integrity", checkpoint, "--json", *more)[1]) for more in ([], ["--data", source])]
    verdicts = [[check["passes"] for check in each["checks"]] for each in found]
    assert verdicts[0] == verdicts[1]
