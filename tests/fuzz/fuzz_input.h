// What the fuzz targets share: an input as a file, for the parsers that map files.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/check.h"

namespace onnuri {

/// One file, rewritten for every input and removed at the end.
class InputFile {
 public:
  explicit InputFile(const std::string& extension) {
    const char* folder = std::getenv("TMPDIR");
    path_ = std::string(folder != nullptr ? folder : "/tmp") + "/onnuri-fuzz-" +
            std::to_string(getpid()) + extension;
  }
  ~InputFile() { std::remove(path_.c_str()); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& write(const uint8_t* data, size_t size) {
    std::FILE* file = std::fopen(path_.c_str(), "wb");
    const bool written = file != nullptr && std::fwrite(data, 1, size, file) == size;
    const bool closed = file != nullptr && std::fclose(file) == 0;
    if (!written || !closed) std::abort();  // no room for the input: nothing was tested
    return path_;
  }

 private:
  std::string path_;
};

/// Runs a parser: an Error is an answer, anything else is a finding.
template <typename Call>
void expect_error_or_nothing(Call&& call) {
  try {
    call();
  } catch (const Error&) {
  }
}

}  // namespace onnuri
