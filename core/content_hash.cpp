// The door to libcrypto.
#include "core/content_hash.h"

#include <openssl/evp.h>

#include "core/check.h"

namespace onnuri {

struct ContentHash::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

ContentHash::ContentHash() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1)
    fail(ErrorCode::kInternal, "cannot start a hash");
}

ContentHash::~ContentHash() = default;
ContentHash::ContentHash(ContentHash&&) noexcept = default;
ContentHash& ContentHash::operator=(ContentHash&&) noexcept = default;

ContentHash& ContentHash::add_block(const void* data, size_t size) {
  const uint64_t length = size;
  if (EVP_DigestUpdate(state_->context, &length, sizeof length) != 1 ||
      EVP_DigestUpdate(state_->context, data, size) != 1)
    fail(ErrorCode::kInternal, "cannot hash ", size, " bytes");
  return *this;
}

ContentKey ContentHash::finish() {
  ContentKey key{};
  unsigned length = 0;
  if (EVP_DigestFinal_ex(state_->context, key.data(), &length) != 1 || length != key.size())
    fail(ErrorCode::kInternal, "cannot finish a hash");
  return key;
}

}  // namespace onnuri
