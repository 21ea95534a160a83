"""`onnuri chat --session FILE`: a conversation that goes on in another process."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from test_chat_terminal import CLI, LONG, Terminal
from test_cli_json import chat_folder

pytestmark = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return chat_folder(folder)


def chat(model, *args):
    return subprocess.run([CLI, "chat", str(model), *map(str, args)], capture_output=True, text=True, timeout=60)


def usage(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["usage"]


def test_questions_one_by_one_are_a_conversation(model, tmp_path):
    file = tmp_path / "talk.json"
    first = chat(model, "hello there", "-n", 6, "--session", file, "--json")
    assert usage(first)["reused_tokens"] == 0
    saved = json.loads(file.read_text())
    assert [m["role"] for m in saved["messages"]] == ["user", "assistant"]
    assert saved["messages"][0]["content"] == [{"type": "text", "text": "hello there"}]
    assert (tmp_path / "talk.json.kv").exists()

    before = file.read_bytes(), (tmp_path / "talk.json.kv").read_bytes()
    second = chat(model, "and then?", "-n", 6, "--session", file, "--json")
    assert usage(second)["reused_tokens"] > 0
    assert [m["role"] for m in json.loads(file.read_text())["messages"]] == ["user", "assistant"] * 2

    # The same without what was computed, and with what was computed by nobody.
    for damage in (None, b"nonsense"):
        file.write_bytes(before[0])
        (tmp_path / "talk.json.kv").unlink()
        if damage:
            (tmp_path / "talk.json.kv").write_bytes(damage)
        again = chat(model, "and then?", "-n", 6, "--session", file, "--json")
        assert usage(again)["reused_tokens"] == 0
        assert json.loads(again.stdout)["text"] == json.loads(second.stdout)["text"]
        assert ("read anew" in again.stderr) == bool(damage)


def test_the_system_message_stays(model, tmp_path):
    file = tmp_path / "talk.json"
    usage(chat(model, "hello", "-n", 2, "--session", file, "-s", "Be brief.", "--json"))
    usage(chat(model, "hello", "-n", 2, "--session", file, "-s", "Be brief.", "--json"))
    usage(chat(model, "hello", "-n", 2, "--session", file, "--json"))
    roles = [m["role"] for m in json.loads(file.read_text())["messages"]]
    assert roles == ["system"] + ["user", "assistant"] * 3
    other = chat(model, "hello", "-n", 2, "--session", file, "-s", "Be long.")
    assert other.returncode == 1 and "system message" in other.stderr


@pytest.mark.parametrize("text", [
    "", "{", "[]", "7", '{"format": "onnuri conversation"}', '{"format": "another", "version": 1, "messages": []}',
    '{"format": "onnuri conversation", "version": 1, "messages": [{"role": 1, "content": []}]}',
    '{"format": "onnuri conversation", "version": 1, "messages": [{"role": "user", "content": [{"type": "x"}]}]}',
    "[" * 100000,
])
def test_a_file_that_is_something_else_is_left_alone(model, tmp_path, text):
    file = tmp_path / "talk.json"
    file.write_text(text)
    done = chat(model, "hello", "-n", 2, "--session", file)
    assert done.returncode == 1 and "expected a conversation" in done.stderr and str(file) in done.stderr
    assert file.read_text() == text


def test_a_file_that_cannot_be_written_costs_no_answer(model, tmp_path):
    done = chat(model, "hello", "-n", 3, "--session", tmp_path / "no" / "talk.json", "--json")
    assert done.returncode == 0 and "is not saved" in done.stderr
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 3


def test_at_a_terminal_nothing_is_lost(model, tmp_path):
    file = tmp_path / "talk.json"
    terminal = Terminal("chat", model, "--session", file, "-n", 5)
    terminal.read_until(r"\n> ")
    terminal.write("one\n")
    terminal.read_until(r"\n> ")
    # A question that is being answered when the process dies leaves what was there before.
    assert len(json.loads(file.read_text())["messages"]) == 2
    os.kill(terminal.pid, signal.SIGKILL)
    os.waitpid(terminal.pid, 0)

    terminal = Terminal("chat", model, "--session", file, "-n", LONG)
    terminal.read_until(r"2 messages of")
    terminal.read_until(r"\n> ")
    terminal.write("/undo\n")
    terminal.read_until(r"forgotten")
    assert json.loads(file.read_text())["messages"] == []
    terminal.read_until(r"\n> ")
    terminal.write("/exit\n")
    assert terminal.exit_code() == 0
