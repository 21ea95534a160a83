"""Answers in an event loop."""

import asyncio
import gc
import pathlib
import threading
import time

import pytest

import onnuri

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text" / "qwen3"
IDS = [5, 9, 13, 21, 34]


@pytest.fixture(scope="module")
def engine():
    return onnuri.Engine(FOLDER, compute_dtype="float32", num_threads=1)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def generate(engine, count, **options):
    return engine.generate_async(IDS, max_new_tokens=count, ignore_eos=True, **options)


def wait_until_idle(engine):
    """The engine takes one call at a time: it answers once no other is running."""
    engine.generate(IDS, max_new_tokens=1)


def test_events_and_result_are_those_of_the_blocking_call(engine):
    wanted = engine.generate(IDS, max_new_tokens=12, ignore_eos=True)

    async def main():
        events = [event async for event in generate(engine, 12)]
        stream = generate(engine, 12)
        result = await stream
        assert stream.result is result and (await stream) is result
        return [e.token_id for e in events if e.token_id >= 0], result.token_ids

    events, tokens = run(main())
    assert events == tokens == wanted.token_ids


def test_the_loop_goes_on_meanwhile(engine):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticker = asyncio.create_task(tick())
        for _ in range(200):  # how many ticks fall into one answer is up to the machine
            results = await asyncio.gather(*(generate(engine, 100) for _ in range(3)))
            if ticks > 5:
                break
        ticker.cancel()
        return ticks, results

    ticks, results = run(main())
    assert ticks > 5
    assert len({tuple(r.token_ids) for r in results}) == 1


def test_cancelling_the_task_cancels_the_request(engine):
    async def main():
        seen = asyncio.Event()

        async def listen():
            async for _ in generate(engine, 400):
                seen.set()

        task = asyncio.create_task(listen())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_finish(generate(engine, 400)), 0.002)

    async def _finish(stream):
        return await stream

    run(main())
    start = time.monotonic()
    wait_until_idle(engine)
    assert time.monotonic() - start < 20


def test_leaving_early_cancels_too(engine):
    async def main():
        async with generate(engine, 400) as stream:
            async for _ in stream:
                break
        assert stream.result.finish_reason == "cancelled"
        dropped = generate(engine, 400)
        thread = dropped._thread
        del dropped
        gc.collect()
        while thread.is_alive():
            await asyncio.sleep(0.005)

    run(main())


def test_a_closed_loop_ends_the_request(engine):
    kept = []

    async def main():
        kept.append(generate(engine, 400))
        await kept[0].__anext__()

    run(main())
    kept[0]._thread.join(20)
    assert not kept[0]._thread.is_alive()


def test_errors_arrive_where_they_are_awaited(engine):
    async def main():
        with pytest.raises(onnuri.Error, match="token ids"):
            await engine.generate_async([1 << 30])
        with pytest.raises(TypeError):
            await engine.generate_async(IDS, max_new_token=3)
        return (await generate(engine, 2)).token_ids

    assert len(run(main())) == 2
    with pytest.raises(RuntimeError):
        generate(engine, 2)  # no loop
    assert threading.active_count() < 50


def test_chat_takes_a_question(tmp_path):
    from test_video_sound import write_tokenizer
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_tokenizer(tmp_path, {}, "{% for m in messages %}{{ m.content }}{% endfor %}")
    engine = onnuri.Engine(tmp_path, compute_dtype="float32", num_threads=1)
    options = dict(max_new_tokens=5, ignore_eos=True)
    messages = [{"role": "user", "content": "hello"}]
    wanted = engine.generate(messages=messages, **options).token_ids
    assert engine.chat("hello", **options).token_ids == wanted
    assert engine.chat(messages, **options).token_ids == wanted
    with engine.chat("hello", stream=True, **options) as stream:
        assert [e.token_id for e in stream if e.token_id >= 0] == wanted

    async def main():
        return (await engine.chat_async("hello", **options)).token_ids

    assert run(main()) == wanted


def test_a_trace_is_json_for_perfetto(engine):
    import json
    result = engine.generate(IDS, max_new_tokens=4, ignore_eos=True, trace=True)
    events = json.loads(result.trace)["traceEvents"]
    names = [e["name"] for e in events if e["ph"] == "X"]
    assert names.count("decode") == 3 and "prefill" in names and "prepare" in names
    assert all(e["args"]["bytes"] > 0 for e in events if e["ph"] == "C")
    assert engine.generate(IDS, max_new_tokens=1).trace == ""
