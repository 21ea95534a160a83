#!/usr/bin/env bash
# fuzz.sh [SECONDS]: runs every fuzz target in turn, an hour over all by default. What they find lies
# in build/asan/findings; inputs that reach new code are kept in build/asan/corpus for the next run.
# The small corpus of tests/fuzz/corpus starts them off.
. "$(dirname "$0")/common.sh"
seconds="${1:-3600}"
build_dir="$root/build/asan"

[ -f "$build_dir/build.ninja" ] || cmake --preset asan >/dev/null
cmake --build "$build_dir" --target fuzzers -j "$jobs"
export TMPDIR="$build_dir/tmp"
mkdir -p "$TMPDIR" "$build_dir/findings"
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1

mapfile -t targets < <(find tests/fuzz -name 'fuzz_*.cpp' -printf '%f\n' | sort | sed 's/\.cpp$//')
share=$((seconds / ${#targets[@]}))
[ "$share" -ge 1 ] || share=1
failed=()
for target in "${targets[@]}"; do
  name="${target#fuzz_}"
  kept="$build_dir/corpus/$name"
  mkdir -p "$kept"
  say "$target, $share s"
  log="$build_dir/$target.log"
  # An input may cost a second, and memory in proportion to itself.
  if ! "$build_dir/tests/fuzz/$target" -max_total_time="$share" -timeout=10 -rss_limit_mb=2048 \
      -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 \
      -artifact_prefix="$build_dir/findings/$name-" "$kept" "tests/fuzz/corpus/$name" >"$log" 2>&1
  then
    failed+=("$target")
    grep -E 'ERROR|SUMMARY|runtime error|Test unit written' "$log" >&2 || tail -5 "$log" >&2
  fi
  grep -E 'number_of_executed_units' "$log" | sed "s/^/$target /" || true
done
[ "${#failed[@]}" -eq 0 ] || die "findings in $build_dir/findings of: ${failed[*]}"
