"""Batch jobs: one row per request, in order, the same bytes however often the job was killed."""

import base64
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

import onnuri

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
pytestmark = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "model"
    folder.mkdir()
    for file in (GOLDEN / "text" / "qwen2").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def chat(number, **body):
    body = {"model": "m", "messages": [{"role": "user", "content": f"the fox {number}"}],
            "max_tokens": 12, "ignore_eos": True} | body
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def write_requests(path, requests):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in requests))
    return path


def command(model, source, target, *args):
    return [CLI, "batch", str(model), str(source), str(target), "-t", "1", "-q", "-c", "256", *args]


def run(*args):
    return subprocess.run(command(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_row_for_every_request_and_bad_ones_fail_alone(model, tmp_path):
    requests = [
        chat(1), chat(2, temperature=1.5), chat(3, temperature=1.5), chat(4, n=2, logprobs=True, top_logprobs=2),
        {"custom_id": "text", "url": "/v1/completions", "body": {"prompt": "the", "max_tokens": 4, "logprobs": 1}},
        {"custom_id": "ids", "url": "/v1/completions", "body": {"prompt": [5, 6, 7], "max_tokens": 4}},
        "this is no JSON", "", "[1, 2]", "[" * 5000, {"custom_id": "bare"},
        chat(5, messages=[]), chat(6, temperature="hot"), chat(7, no_such_field=1), chat(8, stream=True),
        chat(9, max_tokens=-1), chat(10, seed=1e300), chat(11, messages=[{"role": "user"}]),
        {"custom_id": "url", "url": "/v1/nothing", "body": {}},
        chat(12, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]),
        chat(13, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]),
        chat(14, messages=[{"role": "user", "content": "fox " * 3000}]),
        chat(15, response_format={"type": "json_schema", "json_schema": {"schema": {"enum": [1, 22]}}}, ignore_eos=False)]
    source = write_requests(tmp_path / "in.jsonl", requests)
    target = tmp_path / "out.jsonl"
    result = run(model, source, target, "--json")
    assert result.returncode == 0, result.stderr
    rows = rows_of(target)
    assert len(rows) == sum(1 for r in requests if r != "")
    assert len({row["id"] for row in rows}) == len(rows)
    ids = [r.get("custom_id") if isinstance(r, dict) else None for r in requests if r != ""]
    assert [row["custom_id"] for row in rows] == [None if i == "bare" else i for i in ids]
    assert sorted(tmp_path.iterdir()) == [source, target]
    by_id = {row["custom_id"]: row for row in rows if row["custom_id"]}
    good = by_id["r1"]["response"]
    assert good["status_code"] == 200 and good["body"]["object"] == "chat.completion"
    choice = good["body"]["choices"][0]
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] == "length"
    assert good["body"]["usage"]["completion_tokens"] == 12
    drawn = [by_id[i]["response"]["body"]["choices"][0]["message"]["content"] for i in ("r2", "r3")]
    assert drawn[0] != drawn[1]  # each draws with a seed of its own
    several = by_id["r4"]["response"]["body"]["choices"]
    assert len(several) == 2 and len(several[0]["logprobs"]["content"]) == 12
    assert len(several[0]["logprobs"]["content"][0]["top_logprobs"]) == 2
    assert by_id["text"]["response"]["body"]["object"] == "text_completion"
    assert by_id["ids"]["response"]["status_code"] == 200
    assert by_id["r15"]["response"]["body"]["choices"][0]["message"]["content"] in ("1", "22")
    for i in ["r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "url"]:
        response = by_id[i]["response"]
        assert response["status_code"] in (400, 413) and response["body"]["error"]["message"], i
    assert "no_such_field" in by_id["r7"]["response"]["body"]["error"]["message"]
    assert "not allowed" in by_id["r13"]["response"]["body"]["error"]["message"]
    unread = [row for row in rows if row["response"] is None]
    assert len(unread) == 4 and all(row["error"]["code"] == "invalid_argument" for row in unread)
    failed = sum(1 for row in rows if row["error"] or row["response"]["status_code"] != 200)
    assert json.loads(result.stdout)["failed"] == failed


def test_killed_twenty_times_the_bytes_are_the_same(model, tmp_path):
    requests = [chat(i, max_tokens=40, temperature=i % 3) for i in range(300)] + ["broken", chat(999, seed="x")]
    source = write_requests(tmp_path / "in.jsonl", requests)
    whole = tmp_path / "whole.jsonl"
    assert run(model, source, whole).returncode == 0
    target, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    draw = random.Random(7)
    kills, seen = 0, set()
    while not target.exists():
        process = subprocess.Popen(command(model, source, target), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = partial.stat().st_size if partial.exists() else 0
        # Some die while they load, most after some rows more.
        if kills < 20:
            wanted = before + draw.choice([0, 0, 1, 1500, 3000])
            deadline = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < deadline:
                if partial.exists() and partial.stat().st_size >= wanted:
                    break
                time.sleep(0.001)
            time.sleep(draw.random() * 0.01)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        process.wait(timeout=120)
        seen.add(partial.stat().st_size if partial.exists() else -1)
    assert kills == 20 and len(seen) > 5
    assert target.read_bytes() == whole.read_bytes()
    assert not partial.exists() and not (tmp_path / "out.jsonl.journal").exists()


def test_the_bytes_do_not_depend_on_how_many_run_together(model, tmp_path):
    requests = [chat(i, max_tokens=5 + i * 7 % 30, temperature=i % 3) for i in range(40)] + ["broken"]
    source = write_requests(tmp_path / "in.jsonl", requests)
    answers = []
    for together in ("1", "3", "16"):
        target = tmp_path / f"out{together}.jsonl"
        assert run(model, source, target, "--concurrency", together).returncode == 0
        answers.append(target.read_bytes())
    assert answers[0] == answers[1] == answers[2] and answers[0].count(b"\n") == 41


def test_ctrl_c_keeps_the_rows_and_the_command_goes_on(model, tmp_path):
    source = write_requests(tmp_path / "in.jsonl", [chat(i, max_tokens=60) for i in range(300)])
    target, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    process = subprocess.Popen(command(model, source, target), stdin=subprocess.DEVNULL,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    while not partial.exists() or partial.stat().st_size < 2000:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130 and not target.exists()
    kept = partial.read_bytes()
    assert kept.endswith(b"\n") and 0 < len(kept.splitlines()) < 300
    assert run(model, source, target).returncode == 0
    assert target.read_bytes().startswith(kept) and len(rows_of(target)) == 300


def test_other_jobs_and_edited_rows_are_refused(model, tmp_path):
    source = write_requests(tmp_path / "in.jsonl", [chat(i) for i in range(3)])
    target, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    assert run(model, source, target).returncode == 0
    rows = target.read_bytes()
    again = run(model, source, target)
    assert again.returncode == 1 and "exists" in again.stderr and target.read_bytes() == rows

    partial.write_bytes(rows.splitlines(keepends=True)[0])
    other = tmp_path / "other.jsonl"
    (tmp_path / "other.jsonl.partial").write_bytes(partial.read_bytes())
    lone = run(model, source, other)
    assert lone.returncode == 1 and "journal" in lone.stderr
    assert run(model, source, other, "--restart").returncode == 0 and other.read_bytes() == rows

    assert run(model, tmp_path / "none.jsonl", tmp_path / "x.jsonl").returncode == 1
    empty = write_requests(tmp_path / "empty.jsonl", [])
    assert "at least one" in run(model, empty, tmp_path / "x.jsonl").stderr


def test_a_job_of_other_input_is_not_gone_on_with(model, tmp_path):
    source = write_requests(tmp_path / "in.jsonl", [chat(i, max_tokens=60) for i in range(300)])
    target, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    process = subprocess.Popen(command(model, source, target), stdin=subprocess.DEVNULL)
    while not partial.exists() or partial.stat().st_size < 2000:
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)  # it still holds its files, however slow the second is
    second = run(model, source, target)
    assert second.returncode == 1 and "another process" in second.stderr
    process.kill()
    process.wait()
    write_requests(source, [chat(i, max_tokens=59) for i in range(300)])
    changed = run(model, source, target)
    assert changed.returncode == 1 and "found another" in changed.stderr
    write_requests(source, [chat(i, max_tokens=60) for i in range(300)])
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(lines[1] + lines[0] + b"".join(lines[2:]))
    edited = run(model, source, target)
    assert edited.returncode == 1 and "another row" in edited.stderr
    partial.write_bytes(b"".join(lines) + b'{"id": "half a r')
    assert run(model, source, target).returncode == 0 and len(rows_of(target)) == 300


def test_media_come_as_data_urls(tmp_path):
    folder = GOLDEN / "vision" / "qwen2_5_vl"
    if not (folder / "tokenizer.json").exists():
        pytest.skip("the picture model has no tokenizer of its own")
    pixel = base64.b64encode(bytes(10)).decode()
    source = write_requests(tmp_path / "in.jsonl", [chat(1, messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + pixel}}, {"type": "text", "text": "?"}]}])])
    assert run(folder, source, tmp_path / "out.jsonl").returncode == 0
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["response"]["status_code"] == 400


def test_from_python_with_progress_that_may_stop_it(model, tmp_path):
    engine = onnuri.Engine(model, num_threads=1, context_size=256)
    source = write_requests(tmp_path / "in.jsonl", [chat(i) for i in range(6)])
    target, seen = tmp_path / "out.jsonl", []
    stopped = onnuri.run_batch(engine, source, target, progress=lambda p: p["done"] < 4)
    assert stopped["done"] == 4 and stopped["total"] == 6 and not target.exists()
    done = onnuri.run_batch(engine, source, target, progress=lambda p: seen.append(p["done"]))
    assert done["done"] == 6 and done["resumed"] == 4 and seen == [4, 5, 6]
    whole = tmp_path / "whole.jsonl"
    assert onnuri.run_batch(engine, source, whole)["resumed"] == 0
    assert whole.read_bytes() == target.read_bytes()

    def fail(_):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        onnuri.run_batch(engine, source, tmp_path / "failed.jsonl", progress=fail)
    with pytest.raises(onnuri.Error, match="exists"):
        onnuri.run_batch(engine, source, target)
    assert onnuri.run_batch(engine, source, tmp_path / "failed.jsonl")["done"] == 6
