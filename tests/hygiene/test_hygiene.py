"""The house rules that a script can check: include arrows, sizes, silence, names."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Which rooms a room may include; arrows point downwards only.
ARROWS = {
    "include": set(),
    "core": {"include"},
    "kernels": {"core", "include"},
    "encoders": {"kernels", "core", "include"},
    "fusion": {"kernels", "core", "include"},
    "decoder": {"kernels", "core", "include"},
    "engine": {"encoders", "fusion", "decoder", "kernels", "core", "include"},
    "server": {"include"},
    "python": {"include"},
    "demos": {"include"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
FAMILIES = re.compile(
    r"exaone|hyperclova|qwen|gemma|llama|kanana|motif|solar|vaetki|deepseek|whisper|smollm|ernie|paddle",
    re.IGNORECASE,
)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / p for p in out.stdout.decode().split("\0") if p and (ROOT / p).exists()]


def room_of(path):
    return path.relative_to(ROOT).parts[0]


def sources():
    return [p for p in tracked("*.h", "*.cpp") if room_of(p) in ARROWS]


def test_includes_follow_the_arrows():
    wrong = []
    for path in sources():
        room = room_of(path)
        for target in INCLUDE.findall(path.read_text()):
            if not target.startswith("onnuri/") and (ROOT / target).exists():
                other = target.split("/")[0]
                if other != room and other not in ARROWS[room]:
                    wrong.append(f"{path.relative_to(ROOT)} includes {target}")
    assert not wrong, "\n".join(wrong)


def test_every_room_is_covered():
    rooms = {room_of(p) for p in sources()}
    assert rooms >= {"include", "core", "kernels", "encoders", "fusion", "decoder", "engine", "python", "demos"}


def test_no_file_above_800_lines():
    long = [
        (str(p.relative_to(ROOT)), n)
        for p in tracked("*.h", "*.cpp", "*.cu", "*.py", "*.sh")
        if (n := p.read_text().count("\n")) > 800
    ]
    assert not long, long


def test_library_neither_prints_nor_exits():
    call = re.compile(r"(std::cout|std::cerr|(?<![\w.>])(?:f?printf|puts|abort|exit|quick_exit|terminate)\s*\()")
    wrong = []
    for path in sources():
        if room_of(path) in {"demos", "python", "include"}:
            continue
        for match in call.finditer(COMMENT.sub("", path.read_text())):
            wrong.append(f"{path.relative_to(ROOT)}: {match.group(0)}")
    assert not wrong, "\n".join(wrong)


def test_maths_never_names_a_family():
    wrong = []
    for path in sources():
        if room_of(path) in {"decoder", "kernels"}:
            for match in FAMILIES.finditer(str(path.relative_to(ROOT)) + path.read_text()):
                wrong.append(f"{path.relative_to(ROOT)}: {match.group(0)}")
    assert not wrong, "\n".join(wrong)


def test_heavy_libraries_stay_behind_their_doors():
    doors = {
        r"#\s*include\s*<nlohmann/": {"core/json_parse.cpp", "demos/", "server/request_json.h"},
        r"#\s*include\s*<libav|#\s*include\s*<libsw": {"encoders/media/"},
        r"#\s*include\s*<libheif": {"encoders/media/"},
        r"#\s*include\s*<opencv2": {"encoders/"},
        r"#\s*include\s*<sentencepiece": {"fusion/tokenizer_sentencepiece.cpp"},
        r"#\s*include\s*<pcre2|PCRE2_CODE_UNIT_WIDTH": {"fusion/"},
        r"#\s*include\s*<pybind11": {"python/"},
        r"#\s*include\s*<curl": {"demos/cli/"},
        r"#\s*include\s*<immintrin": {"kernels/cpu/"},
    }
    wrong = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        text = path.read_text()
        for pattern, allowed in doors.items():
            if re.search(pattern, text) and not any(name.startswith(a) for a in allowed):
                wrong.append(f"{name}: {pattern}")
    assert not wrong, "\n".join(wrong)


def test_no_paths_of_a_machine():
    pattern = re.compile(r"(?<![\w.])/(?:work|root|farm|opt/peers)/|/home/[a-z]")
    wrong = []
    for path in tracked():
        if path == pathlib.Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if pattern.search(text):
            wrong.append(str(path.relative_to(ROOT)))
    assert not wrong, wrong


def test_no_unfinished_places():
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    wrong = [str(p.relative_to(ROOT)) for p in sources() if pattern.search(p.read_text())]
    assert not wrong, wrong
