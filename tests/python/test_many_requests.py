"""Requests of several threads and tasks on one engine: computed together, answered as if alone."""

import asyncio
import concurrent.futures
import pathlib
import threading

import onnuri
import pytest

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def engine():
    return onnuri.Engine(str(GOLDEN / "text" / "exaone4_hybrid"), compute_dtype="float32", num_threads=1,
                         context_size=512, prefill_chunk=32, max_sequences=4, prefix_caching=False)


def ids(number):
    return [3 + (i * 7 + number) % 50 for i in range(20 + number)]


def test_threads_get_what_each_gets_alone(engine):
    alone = [engine.generate(ids(i), max_new_tokens=20, ignore_eos=True, logprobs=0) for i in range(10)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        together = list(pool.map(
            lambda i: engine.generate(ids(i), max_new_tokens=20, ignore_eos=True, logprobs=0, priority=i % 3), range(10)))
    for a, b in zip(alone, together):
        assert a.token_ids == b.token_ids
        assert [step.chosen.logprob for step in a.logprobs] == [step.chosen.logprob for step in b.logprobs]
    counts = engine.metrics()
    assert counts["passes"] > 20 and counts["kv_pages_free"] == counts["kv_pages"] and counts["requests"] == 0


def test_tasks_run_together(engine):
    async def ask(i):
        return await engine.generate_async(ids(i), max_new_tokens=15, ignore_eos=True)

    async def ask_all():
        return await asyncio.gather(*(ask(i) for i in range(6)))

    found = asyncio.run(ask_all())
    assert [r.token_ids for r in found] == [
        engine.generate(ids(i), max_new_tokens=15, ignore_eos=True).token_ids for i in range(6)]


def test_deadlines_and_full_lines_are_told_apart():
    engine = onnuri.Engine(str(GOLDEN / "text" / "qwen3"), num_threads=1, max_sequences=1, max_queue=1)
    may_end, begun = threading.Event(), threading.Event()

    def hold(event):
        begun.set()
        may_end.wait(20)

    holder = threading.Thread(target=lambda: engine.generate(ids(1), max_new_tokens=2, ignore_eos=True, stream=hold))
    holder.start()
    assert begun.wait(20)
    try:
        with pytest.raises(onnuri.Error, match="deadline") as late:
            engine.generate(ids(2), max_new_tokens=2, deadline_ms=20)
        assert late.value.code == "cancelled"
        waits = threading.Event()
        waiting = threading.Thread(
            target=lambda: engine.generate(ids(2), max_new_tokens=2, stream=lambda event: waits.set()))
        waiting.start()
        assert waits.wait(20)  # it is asked now and then
        with pytest.raises(onnuri.Error, match="queue") as full:
            engine.generate(ids(3), max_new_tokens=2)
        assert full.value.code == "out_of_memory"
    finally:
        may_end.set()
    holder.join()
    waiting.join()
    with pytest.raises(onnuri.Error, match="deadline_ms"):
        engine.generate(ids(3), deadline_ms=-1)


def test_bad_options_are_refused():
    for option in ("max_sequences", "max_queue", "encoder_step_tokens"):
        with pytest.raises(onnuri.Error, match=option):
            onnuri.Engine(str(GOLDEN / "text" / "qwen3"), **{option: 0})
    for option in ("kv_cache_tokens", "prefix_snapshot_bytes"):
        with pytest.raises(onnuri.Error, match=option):
            onnuri.Engine(str(GOLDEN / "text" / "qwen3"), **{option: -1})
