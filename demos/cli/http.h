// HTTP GET by libcurl: small bodies to memory, large files resumed on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace onnuri::cli {

struct HttpRequest {
  std::string url;
  std::string bearer_token;  ///< sent to the first host only, not after a redirect to another
};

/// Returns the body. Throws kNotFound (status, network), kCorruptData above `max_bytes`.
std::string http_get(const HttpRequest& request, uint64_t max_bytes);

/// Brings `path` to exactly `size` bytes, continuing what is there by Range. Transient failures are
/// tried again. `on_bytes(have)` returns false to cancel. Throws kNotFound, kCorruptData,
/// kCancelled.
void http_download(const HttpRequest& request, const std::string& path, uint64_t size,
                   const std::function<bool(uint64_t have)>& on_bytes);

}  // namespace onnuri::cli
