"""Secrets are masked, and nothing but secrets; libraries report nothing."""

import importlib.util
import os
import sys

import pytest

from rlhf.privacy import masked, no_unasked_traffic, without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host:80/a/b?key=K&x=1#frag", "https://***@host:80/a/b?key=***&x=***#***"),
        ("https://host/x?key=K: no answer", "https://host/x?key=***: no answer"),
        ("override 'a.url=https://host?tok' is wrong", "override 'a.url=https://host?***' is wrong"),
        ("https://a:p@ss@host/x?a=b@c", "https://***@host/x?a=***"),
        ("no file /here/https:/me:pw@host/x", "no file /here/https:/***@host/x"),
        ('got "ftp://me:pw@host"', 'got "ftp://***@host"'),
        ("see https://host/x, or http://y/z?q=1.", "see https://host/x, or http://y/z?q=***."),
        ("https://host/@me", "https://host/@me"),
        ("C:/pairs?.jsonl", "C:/pairs?.jsonl"),
    ],
)
def test_what_is_secret_in_a_url_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("made with hf_abcdefghijklmnopqrstuvwxyz", "made with ***"),
        ("--judge-model sk-proj-0123456789abcdefghij", "--judge-model ***"),
        ("http://localhost:9/hooks/sk-0123456789abcdefghij", "http://localhost:9/hooks/***"),
        ("see https://hooks.slack.com/services/T00/B00/XXXXXXXX", "see https://hooks.slack.com/***"),
        ("risk-averse models of task-0123456789abcdefghijk", "risk-averse models of task-0123456789abcdefghijk"),
        ("hf_hub and sk-learn", "hf_hub and sk-learn"),
    ],
)
def test_what_looks_like_a_token_is_masked_wherever_it_stands(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_of_a_whole_path_the_name_is_told() -> None:
    settings = {
        "path": "/home/ann/my client/a.jsonl",
        "mix": [{"path": "/home/ann/b/"}],
        "r": 1,
        "at": "b/c.jsonl",
    }
    assert without_folders(settings) == {"path": "a.jsonl", "mix": [{"path": "b"}], "r": 1, "at": "b/c.jsonl"}
    kept = ["/", "https://host/x", "/a\nsystem prompt / of lines"]
    assert without_folders(kept) == kept


def test_settings_keep_their_shape() -> None:
    settings = {
        "url": "http://h?k=v",
        "weight": 0.5,
        "list": ["http://me@h", None, True],
        "inner": {"path": "a/b.jsonl"},
    }
    assert masked(settings) == {
        "url": "http://h?k=***",
        "weight": 0.5,
        "list": ["http://***@h", None, True],
        "inner": {"path": "a/b.jsonl"},
    }


def test_secrets_of_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-0123456789")
    monkeypatch.setenv("OTHER_TOKEN", "dummy")  # a word that is anywhere
    monkeypatch.setenv("GOOGLE_CREDENTIALS", str(tmp_path))  # a place, which is no secret
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-or-whatever")
    text = f"sk-0123456789 dummy {tmp_path} false-or-whatever"
    assert masked(text) == f"*** dummy {tmp_path} false-or-whatever"


@pytest.mark.parametrize(
    "name",
    [
        "PGPASSWORD",
        "SENTRY_DSN",
        "DSN",
        "APIKEY",
        "OPENAI_APIKEY",
        "SLACK_WEBHOOK",
        "WEBHOOK_URL",
        "REGISTRY_AUTH",
        "AUTH",
        "MYSQL_PWD",
        "AZURE_STORAGE_CONNECTION_STRING",
        "DB_CONN_STRING",
        "CREDENTIALS",
    ],
)
def test_names_of_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, as an override or a part of one, and as a key."""
    secret = "https://hooks.host/services/T0/a-secret?x=1"
    monkeypatch.setenv(name, secret)
    assert masked(f"posted to {secret}: no") == "posted to ***: no"
    monkeypatch.delenv(name)
    assert masked(f"override 'a.{name.lower()}=s3cret' is wrong") == f"override 'a.{name.lower()}=***' is wrong"
    assert masked(f'rewards={{"{name}": "s3cret", "weight": 1}}') == f'rewards={{"{name}": "***", "weight": 1}}'
    assert masked({name: "s3cret", "weight": 1}) == {name: "***", "weight": 1}


def test_what_is_called_like_a_secret_and_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PWD", "OLDPWD", "AUTHOR", "SSH_AUTH_SOCK", "PATH_OF_PASSAGES"):
        monkeypatch.setenv(name, "no-secret-at-all")
    settings = {"pad_token": "<|pad|>", "stop_tokens": ["<|end|>"], "token_env": "MY_TOKEN", "author": "me"}
    assert masked(settings) == settings
    for text in ("no-secret-at-all", "PWD=/here", "stages.ppo.password: no such setting", "author=me"):
        assert masked(text) == text


def test_native_code_of_the_hub_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "kernels.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels")
    assert importlib.util.find_spec("kernels") is not None
    no_unasked_traffic()
    assert importlib.util.find_spec("kernels") is None
    with pytest.raises(ImportError):
        importlib.import_module("kernels")


def test_telemetry_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")
    no_unasked_traffic()
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["WANDB_ERROR_REPORTING"] == "true"
