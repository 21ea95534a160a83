// The safetensors writer: header padded with spaces so that data begins at a multiple of 64.
#include <bit>
#include <cstring>
#include <unordered_set>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/checkpoint.h"
#include "core/printable.h"

namespace onnuri {
namespace {

const char* format_name(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
    case DType::kF8E4M3: return "F8_E4M3";
    case DType::kF8E5M2: return "F8_E5M2";
    case DType::kI64: return "I64";
    case DType::kI32: return "I32";
    case DType::kI16: return "I16";
    case DType::kI8: return "I8";
    case DType::kU8: return "U8";
    case DType::kBool: return "BOOL";
    default: return nullptr;
  }
}

std::string make_header(const std::vector<NamedTensor>& tensors, const std::string& path) {
  JsonValue::Object header;
  std::unordered_set<std::string> names;
  int64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    const char* type = format_name(tensor.view.dtype);
    if (type == nullptr || tensor.view.empty() || tensor.name == "__metadata__" ||
        !names.insert(tensor.name).second) {
      fail(ErrorCode::kInvalidArgument, path, ": tensor ", in_quotes(tensor.name),
           ": expected a plain tensor with a name of its own, found ",
           tensor.view.empty() ? "no data" : dtype_name(tensor.view.dtype));
    }
    JsonValue::Array shape;
    for (int i = 0; i < tensor.view.shape.rank(); ++i) shape.emplace_back(tensor.view.shape[i]);
    const int64_t end = offset + tensor.view.num_bytes();
    header.emplace_back(tensor.name,
                        JsonValue::Object{{"dtype", type},
                                          {"shape", std::move(shape)},
                                          {"data_offsets", JsonValue::Array{offset, end}}});
    offset = end;
  }
  std::string text = JsonValue(std::move(header)).dump();
  text.append((64 - (text.size() + sizeof(uint64_t)) % 64) % 64, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  static_assert(std::endian::native == std::endian::little);
  const std::string header = make_header(tensors, path);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.append(std::as_bytes(std::span(&length, 1)));
  file.append(header);
  for (const NamedTensor& tensor : tensors) {
    file.append({tensor.view.as<std::byte>(), static_cast<size_t>(tensor.view.num_bytes())});
  }
  file.commit();
}

}  // namespace onnuri
