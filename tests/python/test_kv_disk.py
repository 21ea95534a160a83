"""Keys and values beyond a cap of memory lie on disk: the same answers, also when kept, shared and saved."""

import os
import pathlib
import subprocess
import threading

import onnuri
import pytest

TEXT = pathlib.Path(__file__).parents[1] / "golden" / "text"
OPTIONS = dict(compute_dtype="float32", num_threads=1, context_size=512)


def ids(count, number):
    return [3 + (i * i + number * 7) % 50 for i in range(count)]


def capped(model, tmp_path):
    """An engine whose cap is the least that it accepts."""
    with pytest.raises(onnuri.Error, match="one full layer") as refused:
        onnuri.Engine(TEXT / model, kv_disk=tmp_path, kv_ram_bytes=1, **OPTIONS)
    least = int(str(refused.value).split("at least ")[1].split()[0])
    return onnuri.Engine(TEXT / model, kv_disk=tmp_path, kv_ram_bytes=least, **OPTIONS), least


@pytest.mark.parametrize("model", ["qwen3", "deepseek_v3", "motif_grouped", "axk2"])
def test_requests_at_once_have_the_answers_of_those_in_memory(model, tmp_path):
    plain = onnuri.Engine(TEXT / model, **OPTIONS)
    prompts = [ids(40 + 13 * n, n) for n in range(6)] + [ids(40, 0) + ids(9, 8)]
    expected = [plain.generate(p, max_new_tokens=12, ignore_eos=True, logprobs=0) for p in prompts]
    engine, least = capped(model, tmp_path)
    found = {}

    def ask(n):
        found[n] = engine.generate(prompts[n], max_new_tokens=12, ignore_eos=True, logprobs=0)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, answer in enumerate(expected):
        assert found[n].token_ids == answer.token_ids
        assert [s.chosen.logprob for s in found[n].logprobs] == [s.chosen.logprob for s in answer.logprobs]
    metrics = engine.metrics()
    assert metrics["kv_memory_bytes"] <= least < plain.metrics()["kv_memory_bytes"]
    assert metrics["kv_disk_written_bytes"] > 0 and metrics["kv_disk_read_bytes"] > 0
    assert engine.describe()["kv_disk_bytes"] > 0 and plain.describe()["kv_disk_bytes"] == 0
    assert list(tmp_path.iterdir()) == [], "the file has no name"


def test_a_state_moves_between_memory_and_disk(tmp_path):
    engine, _ = capped("qwen3", tmp_path)
    answer = engine.generate(ids(90, 1), max_new_tokens=8, ignore_eos=True).token_ids
    engine.save(tmp_path / "state")
    plain = onnuri.Engine(TEXT / "qwen3", **OPTIONS)
    plain.restore(tmp_path / "state")
    again, _ = capped("qwen3", tmp_path)
    again.restore(tmp_path / "state")
    longer = ids(90, 1) + answer + ids(5, 2)
    results = [e.generate(longer, max_new_tokens=8, ignore_eos=True) for e in (engine, plain, again)]
    assert all(r.usage.reused_tokens == 97 for r in results)
    assert results[0].token_ids == results[1].token_ids == results[2].token_ids


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(onnuri.Error, match="expected kv_disk") as alone:
        onnuri.Engine(TEXT / "qwen3", kv_ram_bytes=1 << 20)
    assert alone.value.code == "invalid_argument"
    with pytest.raises(onnuri.Error, match="kv_ram_bytes"):
        onnuri.Engine(TEXT / "qwen3", kv_disk=tmp_path, kv_ram_bytes=-1)
    with pytest.raises(onnuri.Error, match="can be written"):
        onnuri.Engine(TEXT / "qwen3", kv_disk=tmp_path / "nothing", kv_ram_bytes=200000)


@pytest.mark.skipif("ONNURI_CLI" not in os.environ, reason="needs the command line")
def test_from_the_command_line(tmp_path):
    done = subprocess.run([os.environ["ONNURI_CLI"], "chat", "--help"], capture_output=True, text=True, timeout=60)
    assert "--kv-disk" in done.stdout and "--kv-ram" in done.stdout
    done = subprocess.run(
        [os.environ["ONNURI_CLI"], "bench", str(TEXT / "qwen3"), "--kv-disk", str(tmp_path), "--kv-ram", "lots"],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "expected a size" in done.stderr
