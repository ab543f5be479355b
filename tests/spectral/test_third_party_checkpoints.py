"""The commands of the measures on third-party checkpoints."""

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass

import pytest
import torch
from repository import ROOT
from third_party_states.pmixer import state_of as pmixer_state
from third_party_states.small import DATA, gru_state

import models
from models import adapter

Call = Callable[..., tuple[int, str, str]]


def test_every_command_that_takes_a_checkpoint_takes_the_settings_of_third_party_ones():
    taking = 0
    for path in (ROOT / "spectral").glob("*/__main__.py"):
        main = importlib.import_module(f"spectral.{path.parent.name}.__main__").main
        names = set()
        for each in inspect.signature(main).parameters.values():  # an option, or a group of them
            group = each.annotation
            names |= {option.name for option in fields(group)} if is_dataclass(group) else {each.name}
        if names & {"checkpoint", "checkpoints"}:
            assert "settings" in names, path
            taking += 1
    assert taking >= 4


@pytest.mark.parametrize("measure", ["filter_response", "singular_values", "cosine_similarity", "theorem1"])
def test_the_measures_take_a_third_party_checkpoint(call: Call, their_file, caplog, measure):
    options = ("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", DATA, "--format", "csv", "--json")
    code, out, err = call(measure, their_file, *options)
    assert code == 0 and json.loads(out), err
    assert "note: " in caplog.text and "must have the item ids of the training data" in caplog.text
    assert their_file.with_name(f"{measure}.csv").exists()


def test_c_is_the_measures_and_where_the_file_does_not_say_its_own_also_the_models(call: Call, their_file, monkeypatch):
    seen = []
    original = models.load

    def load(*arguments, **options):
        seen.append(original(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(adapter, "load", load)
    options = ("--heads", 2, "--alpha", 0.3, "--data", DATA, "--format", "csv", "--json")
    measured = [json.loads(call("filter_response", their_file, "--c", c, *options)[1]) for c in (3, 9)]
    assert [model.config.c for model in seen] == [3, 9]
    their_file.with_suffix(".json").write_text('{"c": 9}')
    again = json.loads(call("filter_response", their_file, "--c", 3, *options)[1])
    assert seen[-1].config.c == 9  # the file's own; the option is the measure's alone
    assert again["responses"][-1]["passed_ratio"] > measured[1]["responses"][-1]["passed_ratio"]
    code, _, err = call("filter_response", their_file.rename(their_file.with_name("no.pt")), *options)
    assert code == 2 and "give --c (from 1 to 11" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --heads (one of 1, 2, 4, 8, 16); --alpha (from 0 to 1); --c (from 1 to 11"),
        (("--heads", 2, "--alpha", 0.3, "--c", 9), "give --data NAME_OR_FILE"),
        (("--heads", 3, "--alpha", 0.3, "--c", 9, "--data", DATA), "num_heads must divide hidden_size"),
        (("--heads", 2, "--alpha", 0.3, "--c", 9, "--set", "bands=first"), "which has no --set bands"),
        (("--set", "tempo=3"), "--set takes NAME=VALUE with one of"),
        (("--heads", 2, "--alpha", 0.3, "--c", 9, "--data", "synthetic:items=99"), "knows items up to 60"),
    ],
)
def test_mistakes_are_a_sentence_and_exit_code_2(call: Call, their_file, options, said):
    code, out, err = call("filter_response", their_file, *options)
    assert code == 2 and out == "" and "Traceback" not in err
    assert said in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: ")


def test_a_model_without_attention_says_so(call: Call, tmp_path):
    torch.save(gru_state(), tmp_path / "gru.pth")
    code, _, err = call("filter_response", tmp_path / "gru.pth", "--set", "max_len=12", "--data", DATA)
    assert code == 2 and "GRU4Rec (RecBole) has no attention to measure" in err


def test_attention_that_looks_at_padding_is_said_where_shorter_histories_are_measured(call: Call, tmp_path):
    torch.save(pmixer_state(), tmp_path / "file.pth")
    options = ("--heads", 2, "--data", "synthetic:users=120,items=40", "--format", "csv")
    code, _, err = call("filter_response", tmp_path / "file.pth", *options, "--length", 12)
    assert code == 0 and "attention of SASRec.pytorch also looks at padding" in err
