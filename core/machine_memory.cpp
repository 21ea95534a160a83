#include "core/machine_memory.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace onnuri {
namespace {

// The number after `key` in a file of "Key:   12345 kB" lines.
std::optional<int64_t> kilobytes_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    int64_t value = 0;
    if (word == key && file >> value) return value * 1024;
  }
  return std::nullopt;
}

// The only number in a file; "max" is none.
std::optional<int64_t> number_in(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::optional<int64_t> rest_of_group(const char* limit_path, const char* used_path) {
  const std::optional<int64_t> limit = number_in(limit_path);
  const std::optional<int64_t> used = number_in(used_path);
  if (!limit || !used) return std::nullopt;
  return std::max<int64_t>(0, *limit - *used);
}

}  // namespace

int64_t anonymous_bytes() { return kilobytes_of("/proc/self/status", "RssAnon:").value_or(0); }

void return_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

int64_t available_bytes() {
  int64_t bytes = kilobytes_of("/proc/meminfo", "MemAvailable:").value_or(0);
  for (const std::optional<int64_t>& rest :
       {rest_of_group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        rest_of_group("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                      "/sys/fs/cgroup/memory/memory.usage_in_bytes")})
    if (rest) bytes = std::min(bytes, *rest);
  return bytes;
}

}  // namespace onnuri
