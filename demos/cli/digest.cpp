#include "demos/cli/digest.h"

#include <openssl/evp.h>

#include <fstream>
#include <vector>

#include "onnuri/error.h"

namespace onnuri::cli {

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(DigestKind kind) : state_(std::make_unique<State>()) {
  const EVP_MD* md = kind == DigestKind::kSha1 ? EVP_sha1() : EVP_sha256();
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, md, nullptr) != 1) {
    throw Error(ErrorCode::kInternal, "cannot start a checksum");
  }
}

Digest::~Digest() = default;

void Digest::update(const void* data, size_t size) {
  if (EVP_DigestUpdate(state_->context, data, size) != 1) {
    throw Error(ErrorCode::kInternal, "cannot compute a checksum");
  }
}

std::string Digest::finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (EVP_DigestFinal_ex(state_->context, bytes, &length) != 1) {
    throw Error(ErrorCode::kInternal, "cannot finish a checksum");
  }
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    text += kHex[bytes[i] >> 4];
    text += kHex[bytes[i] & 15];
  }
  return text;
}

std::string file_digest(DigestKind kind, const std::string& path, const std::string& prefix) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorCode::kNotFound, path + ": cannot read the file");
  Digest digest(kind);
  digest.update(prefix.data(), prefix.size());
  std::vector<char> buffer(1 << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
    digest.update(buffer.data(), static_cast<size_t>(in.gcount()));
  }
  return digest.finish();
}

}  // namespace onnuri::cli
