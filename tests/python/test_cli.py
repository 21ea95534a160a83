"""The command line's contract: exit codes, one clear line on failure, JSON that parses."""

import json
import os
import pathlib
import subprocess

import pytest

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text"
COMMANDS = ["chat", "complete", "transcribe", "describe", "inspect", "plan", "batch", "perplexity", "bench",
            "devices", "pull", "quantize"]
pytestmark = pytest.mark.skipif(not CLI, reason="ONNURI_CLI names no command")


def onnuri(*args):
    return subprocess.run([CLI, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120)


def assert_fails(result, *words):
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("onnuri: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command):
    result = onnuri(command, "--help")
    assert result.returncode == 0 and f"Examples:\n  onnuri {command}" in result.stdout


def test_wrong_usage_is_exit_code_2():
    unknown = onnuri("bogus")
    assert unknown.returncode == 2 and '"bogus"' in unknown.stderr
    for args in [(), ("chat",), ("complete", "model"), ("inspect", "m", "--no-such-option")]:
        assert onnuri(*args).returncode == 2


def test_json_parses():
    assert json.loads(onnuri("inspect", GOLDEN / "qwen2", "--json").stdout)["family"] == "qwen2"
    assert "cpu" in json.loads(onnuri("devices", "--json").stdout)
    assert json.loads(onnuri("pull", "--list", "--json").stdout)


def test_bad_checkpoints_fail_with_one_line(tmp_path):
    assert_fails(onnuri("complete", tmp_path / "none.gguf", "x"), "not_found", "none.gguf")
    assert_fails(onnuri("complete", tmp_path, "x"), "config.json", "found neither")
    text = tmp_path / "text.gguf"
    text.write_text("hello\n")
    assert_fails(onnuri("complete", text, "x"), "GGUF", "text.gguf")


@pytest.mark.parametrize("path", ["./nothing", "../nothing", "/nothing/here", "nothing.gguf",
                                  "here/nothing.gguf", "here/model.safetensors", "here/"])
def test_missing_paths_are_not_asked_for_at_a_hub(path):
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}
    result = subprocess.run([CLI, "inspect", path], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=120, env=env)
    assert_fails(result, "not_found", f'found nothing at "{path}"')


def copy_of(family, folder):
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((GOLDEN / family / name).read_bytes())
    return folder


def test_unknown_family_and_truncated_weights(tmp_path):
    odd = copy_of("qwen2", tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    config.update(model_type="zzz", architectures=["ZzzForCausalLM"])
    (odd / "config.json").write_text(json.dumps(config))
    assert_fails(onnuri("complete", odd, "x"), "zzz")
    cut = copy_of("qwen2", tmp_path / "cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[:len(whole) // 2])
    assert_fails(onnuri("complete", cut, "x"), "corrupt_data", "model.safetensors")


@pytest.mark.parametrize("command", [("describe",), ("inspect",), ("complete",)])
def test_what_is_no_model_is_told_what_one_is(command, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a model")
    rest = ["x"] if command[0] != "inspect" else []
    assert_fails(onnuri(*command, file, *rest), "checkpoint folder", ".gguf", "notes.txt")
    assert_fails(onnuri(*command, tmp_path, *rest), "checkpoint folder", "config.json", ".gguf")
    assert_fails(onnuri(*command, tmp_path / "gone", *rest), "checkpoint folder", ".gguf")


def test_pull_help_names_its_environment():
    text = onnuri("pull", "--help").stdout
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "ONNURI_CACHE"):
        assert name in text


@pytest.mark.parametrize("broken", [b"\xff", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xea\xb0"])
def test_perplexity_refuses_what_is_not_utf8_before_the_model_loads(tmp_path, broken):
    text = tmp_path / "text.txt"
    text.write_bytes("한글 😀 é\n".encode() + broken)
    assert_fails(onnuri("perplexity", tmp_path / "none.gguf", text), "UTF-8", "text.txt", "byte 15")
    text.write_bytes("한글 😀 é\n".encode())
    assert_fails(onnuri("perplexity", tmp_path / "none.gguf", text), "none.gguf")


def test_inspect_names_what_is_not_loaded_and_compares_totals(tmp_path):
    facts = json.loads(onnuri("inspect", GOLDEN / "exaone_moe_mtp", "--json").stdout)
    assert facts["ignored"] == [{"prefix": "mtp.", "tensors": 15}]
    assert facts["stored_parameters"] == facts["parameters"]
    assert "15 tensors of mtp." in onnuri("inspect", GOLDEN / "exaone_moe_mtp").stdout
    for folder in sorted(GOLDEN.iterdir()):
        facts = json.loads(onnuri("inspect", folder, "--json").stdout)
        assert facts.get("stored_parameters", facts["parameters"]) == facts["parameters"], folder.name
    odd = copy_of("llama", tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    assert "the config asks for" in onnuri("inspect", odd).stdout


def test_quantize_help_names_the_families_that_gguf_knows(tmp_path):
    known = " ".join(onnuri("quantize", "--help").stdout.split())
    refused = onnuri("quantize", GOLDEN / "motif", tmp_path / "out.gguf").stderr
    families = refused.split("has a place for (")[1].split(")")[0]
    assert "llama" in families and "motif" not in families and f"out of: {families}" in known


def test_perplexity_is_that_of_the_module(tmp_path):
    import onnuri as module

    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 6)
    engine = module.Engine(GOLDEN / "qwen2", compute_dtype="float32")
    ids = engine.tokenize(text.read_text(), parse_special_tokens=False)
    nll = [v for begin in range(0, len(ids), 32) if len(ids[begin:begin + 32]) > 1
           for v in engine.token_nll(ids[begin:begin + 32])]
    options = (GOLDEN / "qwen2", text, "--compute", "float32", "--json")
    found = json.loads(onnuri("perplexity", *options, "-c", "32").stdout)
    assert found["scored_tokens"] == len(nll)
    assert found["mean_nll"] == pytest.approx(sum(nll) / len(nll), abs=1e-5)
    sliding = json.loads(onnuri("perplexity", *options, "-c", "32", "--stride", "8").stdout)
    assert sliding["scored_tokens"] == len(ids) - 1
    half = json.loads(onnuri("perplexity", *options, "-c", "32", "--second-half").stdout)
    assert half["scored_tokens"] == len(ids) // 32 * 15


def test_structured_output(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}')
    base = ("complete", GOLDEN / "qwen2", "x", "--json", "-n", "60")
    assert len(json.loads(json.loads(onnuri(*base, "--json-schema", schema).stdout)["text"])) == 2
    assert json.loads(onnuri(*base, "--choice", "yes", "--choice", "no").stdout)["text"] in ("yes", "no")
    result = json.loads(onnuri(*base, "--regex", "[ab]{3}", "--choices", "2", "--temperature", "1", "--logprobs", "2").stdout)
    assert len(result["text"]) == 3 and len(result["more_choices"]) == 1
    assert len(result["logprobs"][0]["top"]) == 2
    assert_fails(onnuri(*base, "--regex", "(?=a)"), "look-around")
