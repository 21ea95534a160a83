// Checksums of files while they arrive.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace onnuri::cli {

enum class DigestKind { kSha1, kSha256 };

class Digest {
 public:
  explicit Digest(DigestKind kind);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void update(const void* data, size_t size);
  /// Lower-case hexadecimal; call once.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Throws kNotFound.
std::string file_digest(DigestKind kind, const std::string& path, const std::string& prefix = "");

}  // namespace onnuri::cli
