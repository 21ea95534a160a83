from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict, overload

from typing_extensions import Unpack

import numpy as np
import numpy.typing as npt

Path = str | PathLike[str]
Ids = Sequence[int] | npt.NDArray[np.integer[Any]] | Any
Messages = Sequence[Mapping[str, Any]]

class Error(RuntimeError):
    code: str

class TokenLogProb:
    token_id: int
    logprob: float

class StepLogProbs:
    chosen: TokenLogProb
    top: list[TokenLogProb]

class ToolCall:
    id: str
    name: str
    arguments: dict[str, Any]
    arguments_json: str
    def to_dict(self) -> dict[str, Any]: ...

class ToolCallDelta:
    index: int
    id: str
    name: str
    arguments: str

class TokenEvent:
    token_id: int
    text: str
    reasoning: str
    tool_calls: list[ToolCall]
    tool_call_deltas: list[ToolCallDelta]
    choice: int
    logprobs: StepLogProbs | None

class Usage:
    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int
    reused_full: int
    reused_window: int
    reused_linear: int
    reused_latent: int
    reuse_note: str
    draft_tokens: int
    accepted_tokens: int
    encoder_passes: int
    encoder_reused: int
    encoder_chunks: int
    encoder_chunks_reused: int
    queue_ms: float
    encode_ms: float
    prefill_ms: float
    decode_ms: float
    time_to_first_token_ms: float
    tokens_per_second: float
    prepare_bytes: int
    encode_bytes: int
    prefill_bytes: int
    decode_bytes: int

class Choice:
    text: str
    reasoning: str
    tool_calls: list[ToolCall]
    token_ids: list[int]
    finish_reason: Literal["stop", "tool_calls", "length", "cancelled"]
    logprobs: list[StepLogProbs]

class GenerateResult(Choice):
    choices: list[Choice]
    usage: Usage
    trace: str

class TranscriptSegment:
    start_s: float
    end_s: float
    text: str
    token_ids: list[int]
    temperature: float
    mean_logprob: float
    compression_ratio: float
    no_speech_prob: float

class Transcript:
    text: str
    language: str
    language_prob: float
    segments: list[TranscriptSegment]
    audio_s: float
    mel_ms: float
    encode_ms: float
    decode_ms: float
    trace: str

class AsyncStream(AsyncIterator[TokenEvent], Awaitable[GenerateResult]):
    result: GenerateResult | None
    def __aiter__(self) -> AsyncStream: ...
    async def __anext__(self) -> TokenEvent: ...
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> AsyncStream: ...
    async def __aexit__(self, *_: object) -> None: ...

class Stream(Iterator[TokenEvent]):
    result: GenerateResult | None
    def __iter__(self) -> Stream: ...
    def __next__(self) -> TokenEvent: ...
    def close(self) -> None: ...
    def __enter__(self) -> Stream: ...
    def __exit__(self, *_: object) -> None: ...

class _GenerateOptions(TypedDict, total=False):
    max_new_tokens: int
    sampling: Literal["greedy", "model"] | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]] | None
    seed: int
    n: int
    logprobs: int | None
    lookup_tokens: int
    tenant: str
    priority: int
    deadline_ms: float
    trace: bool
    ignore_eos: bool
    stop: str | Sequence[str] | None
    images: Sequence[Any] | None
    audios: Sequence[Any] | None
    videos: Sequence[Any] | None
    tools: Sequence[Mapping[str, Any]] | None
    reasoning: bool | Literal["auto", "on", "off", "minimal", "low", "medium", "high"] | None
    split_output: bool
    trust_special_tokens: bool
    template_kwargs: Mapping[str, Any] | None
    json_schema: str | Mapping[str, Any] | bool | None
    regex: str | None
    grammar: str | None
    choice: Sequence[str] | None

class Engine:
    def __init__(
        self, path: Path, *, device: str = "cpu", compute_dtype: Literal["auto", "float32"] = "auto",
        num_threads: int = 0, context_size: int = 0, prefill_chunk: int = 512, isa: str = "",
        after_video: Literal["", "longest_side", "maximum"] = "",
        encoder_cache_bytes: int = 268435456, max_media_bytes: int = 536870912, draft_module: bool = False,
        prefix_caching: bool = True,
        kv_dtype: Literal["", "f32", "f16", "bf16", "int8", "fp8", "int4"] = "",
        max_sequences: int = 4, max_queue: int = 256, kv_cache_tokens: int = 0,
        kv_disk: Path | None = None, kv_ram_bytes: int = 0,
        encoder_step_tokens: int = 64, prefix_snapshot_bytes: int = 268435456,
        draft_model: Path | None = None, draft_tokens: int = 4,
        progress: Callable[[float, str], object] | None = None,
    ) -> None: ...
    def logits(
        self, input_ids: Ids, images: Sequence[Any] | None = None, audios: Sequence[Any] | None = None,
        videos: Sequence[Any] | None = None,
    ) -> npt.NDArray[np.float32]: ...
    def prepare(
        self, messages: Messages, *, template_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]: ...
    def nll(self, input_ids: Ids) -> float: ...
    def token_nll(self, input_ids: Ids) -> npt.NDArray[np.float64]: ...
    # `stream=True` gives a Stream, everything else a GenerateResult.
    @overload
    def generate(
        self, input_ids: Ids | None = None, *, prompt: str | None = None,
        messages: Messages | None = None,
        stream: Literal[False] | Callable[[TokenEvent], object] = False,
        **options: Unpack[_GenerateOptions],
    ) -> GenerateResult: ...
    @overload
    def generate(
        self, input_ids: Ids | None = None, *, prompt: str | None = None,
        messages: Messages | None = None, stream: Literal[True],
        **options: Unpack[_GenerateOptions],
    ) -> Stream: ...
    def generate_async(
        self, input_ids: Ids | None = None, *, prompt: str | None = None,
        messages: Messages | None = None, **options: Unpack[_GenerateOptions],
    ) -> AsyncStream: ...
    @overload
    def chat(
        self, messages: str | Messages, *,
        stream: Literal[False] | Callable[[TokenEvent], object] = False,
        **options: Unpack[_GenerateOptions],
    ) -> GenerateResult: ...
    @overload
    def chat(
        self, messages: str | Messages, *, stream: Literal[True],
        **options: Unpack[_GenerateOptions],
    ) -> Stream: ...
    def chat_async(
        self, messages: str | Messages, **options: Unpack[_GenerateOptions],
    ) -> AsyncStream: ...
    def transcribe(
        self, audio: Any, *, language: str | None = None, task: str = "transcribe",
        timestamps: bool = False, sample_rate_hz: int = 16000,
        progress: Callable[[float], object] | None = None,
        stream: Callable[[str], object] | None = None, initial_prompt: str = "",
        condition_on_previous: bool = False, temperatures: Sequence[float] | None = None,
        seed: int = 0, skip_silence: bool = False, trace: bool = False,
    ) -> Transcript: ...
    def encode_image(self, image: Any) -> npt.NDArray[np.float32]: ...
    def embed_image(self, image: Any) -> npt.NDArray[np.float32]: ...
    def embed_text(self, text: str) -> npt.NDArray[np.float32]: ...
    def encode_audio(self, audio: Any) -> npt.NDArray[np.float32]: ...
    def tokenize(
        self, text: str, add_special_tokens: bool = False, parse_special_tokens: bool = True,
    ) -> list[int]: ...
    def detokenize(self, ids: Ids, skip_special_tokens: bool = True) -> str: ...
    def render_chat(self, messages: Messages, **variables: Any) -> str: ...
    def describe(self) -> dict[str, Any]: ...
    def save(self, path: Path, tenant: str = "") -> None: ...
    def restore(self, path: Path) -> None: ...
    def metrics(self) -> dict[str, int]: ...

class Tokenizer:
    vocab_size: int
    def __init__(self, path: Path) -> None: ...
    def encode(
        self, text: str | bytes, add_special_tokens: bool = False,
        parse_special_tokens: bool = True,
    ) -> list[int]: ...
    def encode_batch(
        self, texts: Iterable[str | bytes], add_special_tokens: bool = False,
        parse_special_tokens: bool = True,
    ) -> list[list[int]]: ...
    def decode(self, ids: Ids, skip_special_tokens: bool = False) -> str: ...

def render_chat_template(template: str, **variables: Any) -> str: ...
def inspect(path: Path) -> dict[str, Any]: ...
def run_batch(
    engine: Engine, input: Path, output: Path, *, model_name: str = "", restart: bool = False,
    allow_files: bool = False, concurrency: int = 0,
    progress: Callable[[dict[str, int]], object] | None = None,
) -> dict[str, int]: ...
def plan(
    path: Path, *, context_size: int = 0, concurrency: int = 1,
    compute_dtype: Literal["auto", "float32"] = "auto",
    kv_dtype: Literal["", "f32", "f16", "bf16", "int8", "fp8", "int4"] = "", num_threads: int = 0, memory_bytes: int = 0,
    image_size: tuple[int, int] = (1920, 1080), sound_s: float = 30.0, check: bool = False,
    device: str = "cpu", tensor_parallel: int = 1,
) -> dict[str, Any]: ...
def devices() -> dict[str, Any]: ...
