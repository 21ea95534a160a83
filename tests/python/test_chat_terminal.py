"""`onnuri chat` on a terminal: Ctrl-C stops an answer and keeps the conversation, twice it leaves."""

import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time

import numpy as np
import pytest

CLI = os.environ.get("ONNURI_CLI")
MODEL = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text" / "qwen2"
pytestmark = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
LONG = 200000


class Terminal:
    """A command on a pseudo terminal of its own."""

    def __init__(self, *args):
        self.seen = ""
        try:
            self.pid, self.fd = pty.fork()
        except OSError as error:
            pytest.skip(f"no pseudo terminals here: {error}")
        if self.pid == 0:
            os.execv(CLI, [CLI, *map(str, args)])

    def read_until(self, pattern, seconds=60):
        """Everything up to the first match; it is taken off what was seen."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen[-2000:]!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # the other side is gone
                    pytest.fail(f"ended before {pattern!r}: {self.seen[-2000:]!r}")
        text = self.seen[:found.end()]
        self.seen = self.seen[found.end():]
        return text

    def write(self, text):
        os.write(self.fd, text.encode())

    def exit_code(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    pass
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        pytest.fail("the command does not end")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def copy_model(folder, **config):
    for file in MODEL.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(known | config))
    return folder


@pytest.fixture
def chat(tmp_path):
    """A tiny model that never ends by itself, and talks long enough to be stopped."""
    copy_model(tmp_path, max_position_embeddings=LONG)
    bias = [f"--logit-bias={token}:-100" for token in (0, 1, 2)]
    terminal = Terminal("chat", tmp_path, "--threads", 1, "--context", LONG, "-n", LONG, *bias)
    yield terminal
    terminal.close()


@pytest.fixture
def brief(tmp_path):
    """The same with answers of a few tokens, and whatever options the test adds."""
    terminals = []

    def start(*options):
        terminals.append(Terminal("chat", copy_model(tmp_path), "--threads", 1, "-n", 8, *options))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def prompt_tokens(text):
    return int(re.search(r"\[prompt (\d+) tokens", text).group(1))


def say(terminal, text):
    terminal.write(text + "\n")
    return prompt_tokens(terminal.read_until(r"\[prompt .*\]\r?\n\r?\n> "))


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(chat):
    chat.read_until(r"\n> ")
    chat.write("the fox\n")
    chat.read_until(r"the fox\r?\n[^\n]*\S{3}")  # the answer has begun
    time.sleep(0.3)
    chat.write("\x03")
    first = prompt_tokens(chat.read_until(r"\[prompt .*\]\r?\n\r?\n> "))
    chat.write("and\n")
    chat.read_until(r"and\r?\n[^\n]*\S{3}")
    chat.write("\x03")
    second = prompt_tokens(chat.read_until(r"\[prompt .*\]\r?\n\r?\n> "))
    assert second > first + 10  # the question, what was answered, the next question
    chat.write("\x03")
    chat.read_until(r"Ctrl-C again leaves\)\r?\n> ")
    chat.write("\x03")
    assert chat.exit_code() == 130


def test_a_line_goes_on_after_a_warning(chat):
    chat.read_until(r"\n> ")
    chat.write("\x03")
    chat.read_until(r"Ctrl-C again leaves\)\r?\n> ")
    chat.write("/exit\n")
    assert chat.exit_code() == 0


def test_ctrl_d_leaves(brief):
    chat = brief()
    chat.read_until(r"\n> ")
    chat.write("\x04")
    assert chat.exit_code() == 0


def test_commands_teach_themselves(brief):
    chat = brief()
    chat.read_until(r"or /help[^>]*> ")
    chat.write("/help\n")
    known = chat.read_until(r"\n\r?\n> ")
    for name in ("/help", "/reset", "/undo", "/system", "/reasoning", "/image", "/exit", "Ctrl-C"):
        assert name in known
    chat.write("/dance\n")
    chat.read_until(r'found "/dance"\r?\n\r?\n> ')
    chat.write("/image /nowhere/x.png\n")
    chat.read_until(r"expected a file[^\n]*\n\r?\n> ")
    first = say(chat, "the fox")
    second = say(chat, "the fox")
    assert second > first
    chat.write("/undo\n")
    chat.read_until(r"\(forgotten\)\r?\n\r?\n> ")
    assert say(chat, "the fox") == second
    chat.write("/reset\n")
    chat.read_until(r"new conversation\)\r?\n\r?\n> ")
    assert say(chat, "the fox") == first
    chat.write("/system be brief\n")
    chat.read_until(r"new conversation\)\r?\n\r?\n> ")
    assert say(chat, "the fox") > first
    chat.write("/reset\n")
    chat.read_until(r"new conversation\)\r?\n\r?\n> ")
    say(chat, " /dance")  # a message
    chat.write("/exit\n")
    assert chat.exit_code() == 0


def test_errors_leave_the_conversation_as_it_was(brief):
    chat = brief()
    chat.read_until(r"\n> ")
    first = say(chat, "the fox")
    chat.write("/undo\n/reasoning often\n")
    chat.read_until(r"reasoning often\)\r?\n\r?\n> ")
    chat.write("the fox\n")
    chat.read_until(r"onnuri: expected reasoning[^\n]*\n\r?\n> ")
    chat.write("/reasoning auto\n")
    chat.read_until(r"reasoning auto\)\r?\n\r?\n> ")
    assert say(chat, "the fox") == first


CALL = ["<tool_call>", '{"name": "f", "arguments": {"a": 1}}', "</tool_call>"]  # a token each
TEMPLATE = """{% if tools %}{{ tools|tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}
{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function|tojson }}</tool_call>{% endfor %}{% endfor %}[assistant]"""


def make_caller(model):
    """Whatever is said to it, this model calls a tool: the last token alone decides about the next."""
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += [tokenizer["added_tokens"][0] | {"id": 300 + i, "content": text, "special": False}
                                  for i, text in enumerate(CALL)]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((model / "config.json").read_text()) | {"dtype": "float32", "tie_word_embeddings": False}
    (model / "config.json").write_text(json.dumps(config))
    file = (model / "model.safetensors").read_bytes()
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8:8 + size])
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    tensors = {name: np.full(shape, 1 if "norm" in name else 0, np.float32) for name, shape in shapes.items()}
    tokens, head = tensors["model.embed_tokens.weight"], np.zeros((320, 48), np.float32)
    kind = np.zeros(320, int)  # what each token says about the next
    kind[300:303] = 1, 2, 3
    tokens[np.arange(320), kind] = 1
    head[[300, 301, 302, 2], [0, 1, 2, 3]] = 1
    tensors["lm_head.weight"] = head
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    (model / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in tensors.values()))


def test_results_of_tools_are_typed(brief, tmp_path):
    """The model calls the same tool until it gets no result."""
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]))
    (tmp_path / "calls").mkdir()
    model = copy_model(tmp_path / "calls")
    (model / "chat_template.jinja").write_text(TEMPLATE)
    make_caller(model)
    chat = Terminal("chat", model, "--threads", 1, "-n", 80, "--tools", tools)
    try:
        chat.read_until(r"type its result[^>]*> ")
        chat.write("go\n")
        shown = chat.read_until(r"result of f> ")
        assert 'f({"a":1})' in shown and "tool_call" not in shown
        first = prompt_tokens(shown)
        chat.write("42\n")
        assert prompt_tokens(chat.read_until(r"result of f> ")) > first + 10
        chat.write("\n")
        chat.read_until(r"\n> ")
        chat.write("\x04")
        assert chat.exit_code() == 0
    finally:
        chat.close()


def test_the_load_shows_its_progress_to_a_terminal_only(tmp_path):
    model = copy_model(tmp_path)
    terminal = Terminal("chat", model, "the fox", "--threads", 1, "-n", 2)
    try:
        seen = terminal.read_until(r"\[prompt .*\]")
        assert re.search(r"[█░]{10,} +\d+%", seen) and "100%" in seen
        assert terminal.exit_code() == 0
    finally:
        terminal.close()
    quiet = Terminal("chat", model, "the fox", "--threads", 1, "-n", 2, "-q")
    try:
        assert quiet.exit_code() == 0 and "█" not in quiet.seen and "%" not in quiet.seen
    finally:
        quiet.close()
    piped = subprocess.run([CLI, "chat", model, "the fox", "--threads", "1", "-n", "2"], capture_output=True, check=True)
    assert b"%" not in piped.stderr and "█".encode() not in piped.stderr + piped.stdout
    assert b"[prompt" in piped.stderr
