"""The command line's contract: exit codes, one clear line on failure, JSON that parses."""

import json
import os
import pathlib
import subprocess

import pytest

CLI = os.environ.get("ONNURI_CLI")
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text"
COMMANDS = ["chat", "complete", "transcribe", "describe", "inspect", "perplexity", "bench", "devices", "pull"]
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
