#!/usr/bin/env bash
# Kernel benchmarks, then whole models where their weights are in the cache.
. "$(dirname "$0")/common.sh"
for program in "$build_dir"/benchmarks/bench_*; do
  [ -x "$program" ] && [ -f "$program" ] || continue
  say "$(basename "$program")"
  "$program" --benchmark_min_time=0.2
done
for model in smollm2-135m gemma3-270m qwen2.5-coder-0.5b qwen2.5-coder-1.5b; do
  if "$venv/bin/onnuri" pull --check "$model" >/dev/null 2>&1; then
    say "$model"
    "$venv/bin/onnuri" bench "$model"
  fi
done
