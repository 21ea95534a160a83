"""Compares render_chat_template with jinja2 over published chat templates.

    python tests/golden/compare_templates.py FOLDER

FOLDER holds *.jinja files; the source tree of the llama-cpp-python package carries some seventy (in
vendor/llama.cpp/models/templates). FOLDER may also be the root of that tree, or its .tar.gz. Without
FOLDER, pip downloads the source distribution into a temporary folder; when that fails the script
says so and exits with 0. Each template meets the forty conversations of template_reference.py twice, without
and with further variables that templates like to ask for. Wants onnuri and jinja2 >= 3.1.
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile

from template_reference import conversations, environment, rendered

import onnuri

PACKAGE = "llama-cpp-python==0.3.36"
INSIDE = "vendor/llama.cpp/models/templates"
MORE = {"date_string": "2025-01-02", "pad_token": "<pad>", "unk_token": "<unk>", "model_identity": "I am.",
        "builtin_tools": ["python"], "custom_tools": None, "controls": None, "preserve_thinking": True}


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
               "--no-build-isolation", "-d", folder, PACKAGE]
    subprocess.run(command, check=True, timeout=600, capture_output=True)
    return next(pathlib.Path(folder).glob("*.tar.gz"))


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        wanted = [m for m in tar if m.isfile() and f"/{INSIDE}/" in m.name and m.name.endswith(".jinja")]
        for member in wanted:
            (pathlib.Path(folder) / pathlib.Path(member.name).name).write_bytes(tar.extractfile(member).read())
    return pathlib.Path(folder)


def find_templates(given, folder):
    path = pathlib.Path(given) if given else download(folder)
    if path.is_file():
        path = unpack(path, folder)
    elif (path / INSIDE).is_dir():
        path = path / INSIDE
    return sorted(path.glob("*.jinja"))


def ours(source, variables):
    try:
        return onnuri.render_chat_template(source, **variables)
    except onnuri.Error as error:
        return error


def compare(paths):
    env = environment()
    equal = refused = 0
    different = []
    for path in paths:
        source = path.read_text()
        template = env.from_string(source)
        for number, variables in enumerate([*conversations(), *({**v, **MORE} for v in conversations())]):
            want = rendered(template, variables)
            got = ours(source, variables)
            if want is None and isinstance(got, onnuri.Error):
                refused += 1
            elif want == got:
                equal += 1
            else:
                different.append((path.name, number, want, got))
    return equal, refused, different


def main():
    with tempfile.TemporaryDirectory() as folder:
        try:
            paths = find_templates(sys.argv[1] if len(sys.argv) > 1 else None, folder)
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            print(f"skipped: no templates at hand ({type(error).__name__})")
            return 0
        equal, refused, different = compare(paths)
    for name, number, want, got in different[:20]:
        print(f"--- {name}, conversation {number}\n  jinja2: {want!r}\n  onnuri: {got!r}"[:2000])
    print(f"{len(paths)} templates: {equal} texts equal, {refused} refused by both, {len(different)} different")
    return 1 if different or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
