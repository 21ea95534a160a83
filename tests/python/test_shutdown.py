"""Scripts that end while an engine computes: no way to leave Python may abort the process."""

import pathlib
import signal
import subprocess
import sys

import pytest

import onnuri

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text"
TIMES = 10  # what went wrong did so in some runs only

HEAD = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(pathlib.Path(onnuri.__file__).parents[1])!r})
import onnuri
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
engine = onnuri.Engine({str(GOLDEN / "qwen2")!r}, num_threads=1)
LONG = dict(input_ids=[5], max_new_tokens=500, ignore_eos=True, n=64, temperature=1.0)
def interrupt(after):
    for i, event in enumerate(engine.generate(stream=True, **LONG)):
        if i == after:
            os.kill(os.getpid(), signal.SIGINT)
"""
IN_A_THREAD = """
inside = threading.Event()
def work():
    {call}
threading.Thread(target=work, daemon=True).start()
inside.wait()
"""
WAYS = {
    "Ctrl-C that nobody catches": "interrupt(20)",
    "Ctrl-C that is caught": "try: interrupt(20)\nexcept KeyboardInterrupt: print('caught')",
    "a stream that lives": "stream = engine.generate(stream=True, **LONG)\nnext(stream)",
    "a stream just begun": "stream = engine.generate(stream=True, **LONG)",
    "a stream just dropped": "stream = engine.generate(stream=True, **LONG)\nnext(stream)\ndel stream",
    "a thread that generates": IN_A_THREAD.format(call="inside.set(); engine.generate(**LONG)"),
    "a thread that listens": IN_A_THREAD.format(
        call="engine.generate(stream=lambda event: inside.set(), **LONG)"),
    "a thread that begins again": IN_A_THREAD.format(
        call="\n    ".join(["inside.set()", "while True:", "    engine.nll([5, 6, 7] * 50)"])),
    "threads in a row": "for _ in range(4):" + IN_A_THREAD.format(
        call="inside.set(); engine.generate(**LONG)").replace("\n", "\n    "),
    "a thread that does not listen": "onnuri._LEAVE_S = 0.05" + IN_A_THREAD.format(
        call="engine.generate(stream=lambda event: (inside.set(), time.sleep(0.2)), **LONG)"),
}


@pytest.mark.parametrize("way", WAYS)
def test_python_ends(way):
    uncaught = way == "Ctrl-C that nobody catches"
    for _ in range(TIMES):
        run = subprocess.run([sys.executable, "-c", HEAD + WAYS[way]], capture_output=True, text=True,
                             timeout=60)
        for word in ("terminate", "abort", "Fatal", "FATAL", "rethrown"):
            assert word not in run.stderr
        assert run.returncode == (-signal.SIGINT if uncaught else 0), run.stderr
        assert ("KeyboardInterrupt" in run.stderr) == uncaught
        assert run.stdout == ("caught\n" if "that is caught" in way else "")


def test_hooks_of_the_caller_may_still_compute():
    script = ("import atexit\natexit.register(lambda: print(engine.nll([5, 6, 7]) > 0))\n"
              + HEAD.replace("import onnuri", "import onnuri\natexit.register(print, 'first')")
              + "stream = engine.generate(stream=True, **LONG)\nnext(stream)")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "first\nTrue\n", "")


def test_a_forked_child_ends():
    script = HEAD + """
stream = engine.generate(stream=True, **LONG)
next(stream)
child = os.fork()
if child == 0:
    begin = time.monotonic()
    onnuri._leave()
    os._exit(time.monotonic() - begin > 2)
print(os.waitpid(child, 0)[1])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
