"""Onnuri: an omni-multimodal model runtime. Text, pictures and sound in, text out.

    import onnuri
    engine = onnuri.Engine("model.gguf")
    for event in engine.generate(messages=[{"role": "user", "content": "Hello"}], stream=True):
        print(event.text, end="", flush=True)
"""

import asyncio as _asyncio
import atexit as _atexit
import os as _os
import queue as _queue
import threading as _threading
import time as _time
import weakref as _weakref

from . import _onnuri
from ._onnuri import (
    Choice,
    Error,
    GenerateResult,
    StepLogProbs,
    TokenEvent,
    TokenLogProb,
    Tokenizer,
    ToolCall,
    ToolCallDelta,
    Transcript,
    TranscriptSegment,
    Usage,
    devices,
    inspect,
    run_batch,
    plan,
    render_chat_template,
)

__all__ = [
    "AsyncStream", "Choice", "Engine", "Error", "GenerateResult", "StepLogProbs", "Stream", "TokenEvent",
    "TokenLogProb", "Tokenizer", "ToolCall", "ToolCallDelta", "Transcript", "TranscriptSegment", "Usage", "devices", "inspect", "plan",
    "render_chat_template", "run_batch",
]

_POLL_S = 0.1  # how often a waiting iterator lets Python look for Ctrl-C
_LEAVE_S = 5.0  # how long the end of Python waits for calls of other threads
_streams = _weakref.WeakSet()


@_atexit.register
def _leave():
    """Python ends: calls that other threads are in must be out of C++ before it does."""
    _onnuri._begin_shutdown()
    end = _time.monotonic() + _LEAVE_S
    try:
        for stream in list(_streams):
            stream._cancelled.set()
        while _onnuri._calls_inside() > 0 and _time.monotonic() < end:
            _time.sleep(0.002)
    except KeyboardInterrupt:
        pass  # no patience left
    finally:
        _onnuri._end_shutdown()


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_onnuri._after_fork)


class Stream:
    """Iterates over the TokenEvents of an answer while another thread computes it.

    Closing it (or leaving a `with` block, or dropping it) cancels what is left. `result` holds the
    GenerateResult once the iteration has ended.
    """

    def __init__(self, run):
        self._events = _queue.Queue()
        self._cancelled = _threading.Event()
        self.result = None
        # The thread must not keep the stream alive, or dropping it would never cancel.
        self._thread = _threading.Thread(
            target=_produce, args=(run, self._events, self._cancelled), daemon=True)
        self._thread.start()
        _streams.add(self)

    def __iter__(self):
        return self

    def __next__(self):
        while self.result is None:
            try:
                kind, value = self._events.get(timeout=_POLL_S)
            except _queue.Empty:
                continue
            if kind == "event":
                return value
            self._thread.join()
            if kind == "error":
                self._cancelled.set()
                self.result = False
                raise value
            self.result = value
        raise StopIteration

    def close(self):
        """Cancels the rest of the answer and waits for the current token to end."""
        self._cancelled.set()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self._cancelled.set()


class AsyncStream:
    """The same for asyncio: `async for` gives the TokenEvents, `await` the GenerateResult.

    The event loop goes on while another thread computes. Cancelling the task that waits cancels
    the request; so does `await stream.aclose()`, leaving an `async with` block, or dropping it.
    """

    def __init__(self, run):
        self._events = _asyncio.Queue()
        self._cancelled = _threading.Event()
        self.result = None
        sink = _LoopQueue(_asyncio.get_running_loop(), self._events, self._cancelled)
        self._thread = _threading.Thread(
            target=_produce, args=(run, sink, self._cancelled), daemon=True)
        self._thread.start()
        _streams.add(self)

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.result is not None:
            raise StopAsyncIteration
        try:
            kind, value = await self._events.get()
        except BaseException:  # the task that waits was cancelled
            self._cancelled.set()
            raise
        if kind == "event":
            return value
        if kind == "error":
            self.result = False
            raise value
        self.result = value
        raise StopAsyncIteration

    def __await__(self):
        return self._finish().__await__()

    async def _finish(self):
        async for _ in self:
            pass
        return self.result

    async def aclose(self):
        """Cancels the rest of the answer and waits for the current token to end."""
        self._cancelled.set()
        while self.result is None:
            kind, value = await self._events.get()
            if kind != "event":
                self.result = value if kind == "result" else False

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()

    def __del__(self):
        self._cancelled.set()


class _LoopQueue:
    """An asyncio.Queue that another thread puts into."""

    def __init__(self, loop, queue, cancelled):
        self._loop, self._queue, self._cancelled = loop, queue, cancelled

    def put(self, item):
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody listens
            self._cancelled.set()


def _produce(run, events, cancelled):
    def on_token(event):
        if cancelled.is_set():
            return False
        events.put(("event", event))
        return True

    try:
        events.put(("result", run(on_token)))
    except BaseException as error:  # handed to the thread that iterates
        events.put(("error", error))


class Engine(_onnuri.Engine):
    """A loaded model. What several threads or tasks ask for at the same time is computed together
    (max_sequences at a time, the others wait), and no answer depends on what else is asked. The GIL is
    free while it computes. metrics() says what it has done and what it holds. save(path, tenant="")
    writes the conversation that was used last; restore(path) lets the next prompt that begins alike go
    on from there, in another process too."""

    def generate(self, input_ids=None, *, prompt=None, messages=None, stream=False, **options):
        """Continues exactly one of token ids, a raw prompt, or OpenAI-style messages.

        Options: max_new_tokens=256, temperature=0, top_k=0, top_p=1, min_p=0, typical_p=1,
        repetition_penalty=1, presence_penalty=0, frequency_penalty=0, logit_bias=None ({id: bias}),
        seed=0, n=1 (answers, see result.choices), logprobs=None (0: the chosen token's, k: the k
        likeliest too; of the model's own distribution, before temperature, penalties, bias, cuts and
        formats), ignore_eos=False, stop=None, images=None, audios=None, videos=None,
        template_kwargs=None. A video is an array of frames, or a dict of frames, fps, timestamps and
        audio (what is heard in it, for models that see and hear a video at once).
        In messages a part {"type": "video", "video": FILE, "use_audio_in_video": True} brings the
        sound of the file along.
        sampling="model" starts from what the checkpoint recommends; arguments given still win.
        lookup_tokens=0: guess up to so many tokens from repeats in the text and check them in one
        pass; the answer is the same, bit for bit, and repetitive texts come faster.
        trace=False: result.trace is JSON of what was done when, and with how much memory, as Perfetto
        and chrome://tracing show it.
        tenant="": requests of different tenants take over nothing from each other (see
        usage.reused_tokens).
        priority=0: higher ones go first when there are more requests than fit. deadline_ms=0: from the
        call on, in milliseconds; later the request ends with an Error of code "cancelled".
        At most one of json_schema= (dict or text), regex=, grammar= (EBNF with a rule "root") and
        choice= (a list of texts) constrains the whole answer.
        With messages: tools=None (a list of JSON schemas), reasoning="auto" (True, False, "on", "off",
        "minimal", "low", "medium", "high"), split_output=True (thoughts and tool calls apart from the
        text), trust_special_tokens=False (special tokens spelt in messages are text, and so are
        markers such as <think> in the words of users and tools).
        `stream` is False (returns a GenerateResult), True (returns a Stream of TokenEvents), or a
        callable that gets each TokenEvent and may return False to stop.
        """
        if stream is True:
            return Stream(
                lambda callback: self._generate(input_ids, prompt, messages, callback, **options))
        return self._generate(input_ids, prompt, messages, stream or None, **options)

    def generate_async(self, input_ids=None, *, prompt=None, messages=None, **options):
        """generate() for asyncio: an AsyncStream, to be called where an event loop runs.

        async for event in engine.generate_async(messages=[...]): ...
        result = await engine.generate_async(messages=[...])
        """
        return AsyncStream(
            lambda callback: self._generate(input_ids, prompt, messages, callback, **options))

    def chat(self, messages, *, stream=False, **options):
        """generate() for a conversation: OpenAI-style messages, or the text of one question."""
        return self.generate(messages=_as_messages(messages), stream=stream, **options)

    def chat_async(self, messages, **options):
        """chat() for asyncio: an AsyncStream."""
        return self.generate_async(messages=_as_messages(messages), **options)


def _as_messages(messages):
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
