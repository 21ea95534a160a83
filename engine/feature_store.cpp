#include "engine/feature_store.h"

#include <cstring>

#include "core/check.h"

namespace onnuri {
namespace {

Tensor stack(const std::vector<const Tensor*>& parts) {
  int64_t rows = 0;
  for (const Tensor* part : parts) rows += part->shape()[0];
  const int64_t cols = parts.front()->shape()[1];
  Tensor out(DType::kF32, {rows, cols});
  float* to = out.f32();
  for (const Tensor* part : parts) {
    const auto count = static_cast<size_t>(part->shape()[0] * cols);
    std::memcpy(to, part->f32(), count * sizeof(float));
    to += count;
  }
  return out;
}

}  // namespace

ContentKey key_of_parts(std::span<const ContentKey> parts) {
  ContentHash hash;
  for (const ContentKey& part : parts) hash.add(std::span<const uint8_t>(part));
  return hash.finish();
}

SharedMedia join_parts(const std::vector<SharedMedia>& parts) {
  if (parts.empty()) return std::make_shared<const EncodedMedia>();
  if (parts.size() == 1) return parts.front();
  EncodedMedia out;
  std::vector<const Tensor*> rows;
  for (const SharedMedia& part : parts) rows.push_back(&part->rows);
  out.rows = stack(rows);
  for (size_t k = 0; k < parts.front()->deep_rows.size(); ++k) {
    rows.clear();
    for (const SharedMedia& part : parts) {
      ONNURI_CHECK(part->deep_rows.size() == parts.front()->deep_rows.size());
      rows.push_back(&part->deep_rows[k]);
    }
    out.deep_rows.push_back(stack(rows));
  }
  return std::make_shared<const EncodedMedia>(std::move(out));
}

}  // namespace onnuri
