"""`onnuri pull` against a small hub on this machine: resume, checksums, redirects, refusals."""

import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_program():
    candidates = [
        os.environ.get("ONNURI_CLI"),
        pathlib.Path(sys.executable).parent / "onnuri",
        *sorted(ROOT.glob("build*/**/onnuri")),
        shutil.which("onnuri"),
    ]
    for path in candidates:
        if path and pathlib.Path(path).is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


PROGRAM = find_program()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="the onnuri program is not built")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(http.server.ThreadingHTTPServer):
    """One repository, org/tiny. Faults are switched on by the tests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "config.json": b'{"model_type": "tiny"}',
            "tokenizer.json": b"{}",
            "chat_template.jinja": b"{{ messages }}",
            "README.md": b"not wanted",
            "model.safetensors": WEIGHTS,
            "consolidated.safetensors": b"not wanted",
            "onnx/model.onnx": b"not wanted",
        }
        self.large = {"model.safetensors"}  # have a sha256 in the listing
        self.extra_siblings = []
        self.raw_listing = None  # sent as it is
        self.served = {}  # what is sent, where it differs from what is listed
        self.cut_after = None  # bytes of each large answer before the connection drops
        self.stall_after = None  # bytes of each large answer before it waits for `release`
        self.release = threading.Event()
        self.ranges = True
        self.token = None
        self.status = {}  # path -> [status, ...] answered before the real answer
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def listing(self):
        siblings = list(self.extra_siblings)
        for name, data in self.files.items():
            entry = {"rfilename": name, "size": len(data), "blobId": git_blob(data)}
            if name in self.large:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
                entry["blobId"] = git_blob(b"pointer")
            siblings.append(entry)
        return {"sha": COMMIT, "siblings": siblings}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cut_after
        if cut is not None and len(body) > cut:
            self.wfile.write(body[:cut])
            self.wfile.flush()
            self.connection.close()
            return
        stall = self.server.stall_after
        if stall is not None and len(body) > stall:
            self.wfile.write(body[:stall])
            self.wfile.flush()
            self.server.release.wait(60)
            body = b""
        self.wfile.write(body)

    def do_GET(self):
        hub = self.server
        path = self.path.split("?")[0]
        hub.requests.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, b"gated")
        if hub.status.get(path):
            return self.answer(hub.status[path].pop(0), b"wrong body")
        if path in ("/api/models/org/tiny/revision/main", "/api/models/org/tiny/revision/v%2F1"):
            body = hub.raw_listing
            return self.answer(200, json.dumps(hub.listing()).encode() if body is None else body)
        match = re.fullmatch(rf"/(org/tiny/resolve/{COMMIT}|storage)/(.+)", path)
        if not match or match[2] not in hub.files:
            return self.answer(404, b"none")
        if match[1] != "storage" and match[2] in hub.large:
            return self.answer(302, b"", [("Location", f"{hub.url}/storage/{match[2]}")])
        data = hub.served.get(match[2], hub.files[match[2]])
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if begin and hub.ranges:
            start = int(begin[1])
            if start >= len(data):
                return self.answer(416)
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.answer(206, data[start:], [("Content-Range", span)])
        self.answer(200, data)


@pytest.fixture
def hub():
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


def pull_environment(hub, cache, **more):
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k[:3] != "HF_"}
    return {**env, "HF_ENDPOINT": hub.url + "/", "ONNURI_CACHE": str(cache), **more}


def pull(hub, cache, *arguments, **environment):
    return subprocess.run(
        [PROGRAM, "pull", "-q", *arguments],
        env=pull_environment(hub, cache, **environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


def folder(result):
    assert result.returncode == 0, result.stderr
    return pathlib.Path(result.stdout.strip())


def parts(cache):
    return sorted(p.name for p in cache.rglob("*.part"))


def test_brings_the_model_and_then_needs_no_network(hub, tmp_path):
    path = folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert (path / "config.json").read_bytes() == hub.files["config.json"]
    assert (path / "chat_template.jinja").exists()
    for unwanted in ("README.md", "consolidated.safetensors", "onnx"):
        assert not (path / unwanted).exists()
    assert parts(tmp_path) == []
    before = len(hub.requests)
    assert folder(pull(hub, tmp_path, "org/tiny", HF_HUB_OFFLINE="1")) == path
    assert pull(hub, tmp_path, "--check", "org/tiny").returncode == 0
    assert len(hub.requests) == before


def test_refresh_fetches_only_what_changed(hub, tmp_path):
    folder(pull(hub, tmp_path, "org/tiny"))
    hub.files["config.json"] = b'{"model_type": "newer"}'
    hub.requests.clear()
    path = folder(pull(hub, tmp_path, "--refresh", "org/tiny"))
    assert (path / "config.json").read_bytes() == hub.files["config.json"]
    assert not any("model.safetensors" in r[0] for r in hub.requests)


def test_a_changed_file_is_noticed(hub, tmp_path):
    path = folder(pull(hub, tmp_path, "org/tiny"))
    (path / "config.json").write_bytes(b"tampered")
    assert pull(hub, tmp_path, "--check", "org/tiny").returncode == 1
    folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "config.json").read_bytes() == hub.files["config.json"]


def test_dropped_connections_resume_by_range(hub, tmp_path):
    hub.cut_after = 700_000
    path = folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    starts = [r[1] for r in hub.requests if r[0].endswith("storage/model.safetensors")]
    assert starts[0] is None and len(starts) >= 3
    assert all(re.fullmatch(r"bytes=[1-9]\d*-", s) for s in starts[1:])


def test_a_kept_part_resumes_in_the_next_call(hub, tmp_path):
    hub.served["model.safetensors"] = WEIGHTS
    hub.status["/storage/model.safetensors"] = [403]
    assert pull(hub, tmp_path, "org/tiny").returncode == 1
    target = next(tmp_path.rglob("config.json")).parent
    (target / "model.safetensors.part").write_bytes(WEIGHTS[:1_000_000])
    path = folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.requests[-1][1] == "bytes=1000000-"


def test_interrupted_it_leaves_the_part_and_resumes(hub, tmp_path):
    hub.stall_after = 1_500_000
    process = subprocess.Popen(
        [PROGRAM, "pull", "-q", "org/tiny"],
        env=pull_environment(hub, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    part = tmp_path / "hub" / "org+tiny@main" / "model.safetensors.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 1_000_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    kept = part.stat().st_size
    assert 1_000_000 < kept < len(WEIGHTS)
    hub.stall_after = None
    hub.release.set()
    path = folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.requests[-1][1] == f"bytes={kept}-"


def test_a_server_without_ranges_starts_over(hub, tmp_path):
    hub.ranges = False
    target = tmp_path / "hub" / "org+tiny@main"
    target.mkdir(parents=True)
    (target / "model.safetensors.part").write_bytes(b"x" * 1_000_000)
    path = folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_wrong_bytes_never_reach_the_cache(hub, tmp_path, name):
    right = hub.files[name]
    hub.served[name] = right[:-1] + b"!"
    result = pull(hub, tmp_path, "org/tiny")
    assert result.returncode == 1 and "corrupt_data" in result.stderr and name in result.stderr
    assert not list(tmp_path.rglob(name)) and parts(tmp_path) == []
    hub.served.clear()
    assert (folder(pull(hub, tmp_path, "org/tiny")) / name).read_bytes() == right


def test_more_bytes_than_promised_are_refused(hub, tmp_path):
    hub.served["model.safetensors"] = WEIGHTS + b"more"
    result = pull(hub, tmp_path, "org/tiny")
    assert result.returncode == 1 and "found more" in result.stderr
    assert not list(tmp_path.rglob("model.safetensors"))


def test_busy_servers_are_asked_again(hub, tmp_path):
    hub.status["/api/models/org/tiny/revision/main"] = [503]
    hub.status["/storage/model.safetensors"] = [500, 429]
    path = folder(pull(hub, tmp_path, "org/tiny"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS


def test_gated_models_need_the_token(hub, tmp_path):
    hub.token = "secret"
    result = pull(hub, tmp_path, "org/tiny")
    assert result.returncode == 1 and "HF_TOKEN" in result.stderr
    folder(pull(hub, tmp_path, "org/tiny", HF_TOKEN="secret"))
    assert "secret" not in result.stderr


def test_one_file_by_name_and_by_revision(hub, tmp_path):
    hub.files = {"q4/a.gguf": b"GGUF4", "b.gguf": b"GGUF8"}
    hub.large = set()
    result = pull(hub, tmp_path, "org/tiny")
    assert result.returncode == 1 and "--file" in result.stderr and "q4/a.gguf" in result.stderr
    path = folder(pull(hub, tmp_path, "org/tiny", "--file", "q4/a.gguf"))
    assert path.name == "a.gguf" and path.read_bytes() == b"GGUF4"
    assert pull(hub, tmp_path, "org/tiny", "--file", "c.gguf").returncode == 1
    del hub.files["b.gguf"]
    assert folder(pull(hub, tmp_path, "org/tiny@v/1")).read_bytes() == b"GGUF4"


def test_names_from_the_server_stay_in_the_cache(hub, tmp_path):
    for name in ("../evil.json", "/evil.json", "a/../../evil.json", ".pulled.json", "a\\evil.json", ""):
        hub.extra_siblings.append({"rfilename": name, "size": 4, "blobId": git_blob(b"evil")})
        hub.files.setdefault(name, b"evil")
    cache = tmp_path / "cache"
    folder(pull(hub, cache, "org/tiny"))
    assert not list(tmp_path.rglob("evil.json"))
    assert not any("evil" in r[0] for r in hub.requests)
    for file in ("../x.gguf", "/etc/hosts", ".lock"):
        assert pull(hub, cache, "org/tiny", "--file", file).returncode == 1


def test_listings_that_make_no_sense(hub, tmp_path):
    for listing in (b"", b"[]", b"{}", b'{"sha": "../..", "siblings": []}', b'{"sha": 1, "siblings": 2}'):
        hub.raw_listing = listing
        result = pull(hub, tmp_path, "org/tiny")
        assert result.returncode == 1 and "corrupt_data" in result.stderr, listing


def test_offline_and_unknown_names_are_plain_errors(hub, tmp_path):
    result = pull(hub, tmp_path, "org/tiny", HF_HUB_OFFLINE="1")
    assert result.returncode == 1 and "HF_HUB_OFFLINE" in result.stderr
    assert hub.requests == []
    assert "not_found" in pull(hub, tmp_path, "org/none").stderr
    assert "smollm2-135m" in pull(hub, tmp_path, "nonsense").stderr
    for name in ("../x", "a/b/c", "org/tiny@../..", "org/", "/tiny", "-o/x"):
        assert pull(hub, tmp_path, "--", name).returncode == 1
    assert all(".." not in r[0] for r in hub.requests)


def test_the_list_names_every_packaged_model(hub, tmp_path):
    result = pull(hub, tmp_path, "--list", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {
        "smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "whisper-base",
    }
    assert all(row["path"] is None and row["license"] and row["bytes"] > 0 for row in rows.values())
