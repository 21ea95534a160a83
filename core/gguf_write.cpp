#include "core/gguf_write.h"

#include <cstring>

#include "core/check.h"
#include "core/gguf_types.h"
#include "core/mapped_file.h"

namespace onnuri {
namespace {

constexpr int64_t kAlignment = 32;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out.append(text);
}

template <typename T>
std::string array_of(uint32_t type, std::span<const T> values) {
  std::string out;
  put<uint32_t>(out, kGgufArray);
  put<uint32_t>(out, type);
  put<uint64_t>(out, values.size());
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return out;
}

template <typename T>
GgufPair scalar(std::string key, uint32_t type, T value) {
  GgufPair pair{std::move(key), {}};
  put<uint32_t>(pair.value, type);
  put(pair.value, value);
  return pair;
}

int64_t padding(int64_t bytes) { return (kAlignment - bytes % kAlignment) % kAlignment; }

std::string make_head(std::span<const GgufPair> pairs, std::span<const GgufTensor> tensors) {
  std::string head = "GGUF";
  put<uint32_t>(head, 3);
  put<uint64_t>(head, tensors.size());
  put<uint64_t>(head, pairs.size());
  for (const GgufPair& pair : pairs) {
    put_text(head, pair.key);
    head += pair.value;
  }
  int64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    put_text(head, tensor.name);
    put<uint32_t>(head, static_cast<uint32_t>(tensor.shape.rank()));
    for (int axis = tensor.shape.rank() - 1; axis >= 0; --axis) {  // the fastest first
      put<uint64_t>(head, static_cast<uint64_t>(tensor.shape[axis]));
    }
    put<uint32_t>(head, gguf_type_id(tensor.dtype));
    put<uint64_t>(head, static_cast<uint64_t>(offset));
    const int64_t bytes = dtype_bytes(tensor.dtype, tensor.shape.num_elements());
    offset += bytes + padding(bytes);
  }
  head.append(static_cast<size_t>(padding(static_cast<int64_t>(head.size()))), '\0');
  return head;
}

/// Walks the pairs of a file that the reader has accepted; still checks every step.
class PairScanner {
 public:
  PairScanner(std::span<const std::byte> bytes, const std::string& path)
      : bytes_(bytes), path_(path) {}

  std::vector<GgufPair> scan() {
    skip(16);  // magic, version, tensor count
    const uint64_t count = number<uint64_t>();
    std::vector<GgufPair> pairs;
    for (uint64_t i = 0; i < count; ++i) {
      GgufPair pair;
      pair.key = text();
      const uint64_t begin = position_;
      skip_value(number<uint32_t>());
      pair.value.assign(reinterpret_cast<const char*>(bytes_.data()) + begin, position_ - begin);
      pairs.push_back(std::move(pair));
    }
    return pairs;
  }

 private:
  void skip(uint64_t count) {
    if (count > bytes_.size() - position_) {
      fail(ErrorCode::kCorruptData, path_, ": expected ", count, " bytes at offset ", position_);
    }
    position_ += count;
  }
  template <typename T>
  T number() {
    const uint64_t begin = position_;
    skip(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + begin, sizeof(value));
    return value;
  }
  std::string text() {
    const auto length = number<uint64_t>();
    const uint64_t begin = position_;
    skip(length);
    return {reinterpret_cast<const char*>(bytes_.data()) + begin, length};
  }
  void skip_value(uint32_t type) {
    if (type == kGgufString) {
      text();
    } else if (type == kGgufArray) {
      const auto element = number<uint32_t>();
      const auto count = number<uint64_t>();
      if (element == kGgufArray || count > bytes_.size()) {
        fail(ErrorCode::kCorruptData, path_, ": array of ", count, " elements of type ", element);
      }
      if (element == kGgufString) {
        for (uint64_t i = 0; i < count; ++i) text();
      } else {
        skip(count * gguf_value_bytes(element));
      }
    } else {
      skip(gguf_value_bytes(type));
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t position_ = 0;
};

}  // namespace

GgufPair gguf_u32(std::string key, uint32_t value) {
  return scalar(std::move(key), kGgufU32, value);
}
GgufPair gguf_f32(std::string key, float value) { return scalar(std::move(key), kGgufF32, value); }
GgufPair gguf_bool(std::string key, bool value) {
  return scalar(std::move(key), kGgufBool, static_cast<uint8_t>(value ? 1 : 0));
}

GgufPair gguf_string(std::string key, std::string_view value) {
  GgufPair pair{std::move(key), {}};
  put<uint32_t>(pair.value, kGgufString);
  put_text(pair.value, value);
  return pair;
}

GgufPair gguf_strings(std::string key, std::span<const std::string> values) {
  GgufPair pair{std::move(key), {}};
  put<uint32_t>(pair.value, kGgufArray);
  put<uint32_t>(pair.value, kGgufString);
  put<uint64_t>(pair.value, values.size());
  for (const std::string& value : values) put_text(pair.value, value);
  return pair;
}

GgufPair gguf_i32s(std::string key, std::span<const int32_t> values) {
  return {std::move(key), array_of(kGgufI32, values)};
}
GgufPair gguf_f32s(std::string key, std::span<const float> values) {
  return {std::move(key), array_of(kGgufF32, values)};
}
GgufPair gguf_bools(std::string key, const std::vector<bool>& values) {
  std::vector<uint8_t> bytes(values.begin(), values.end());
  return {std::move(key), array_of(kGgufBool, std::span<const uint8_t>(bytes))};
}

std::vector<GgufPair> read_gguf_pairs(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  return PairScanner(file.bytes(), path).scan();
}

GgufWriter::GgufWriter(const std::string& path, std::span<const GgufPair> pairs,
                       std::vector<GgufTensor> tensors)
    : file_(path), tensors_(std::move(tensors)) {
  file_.append(make_head(pairs, tensors_));
}

void GgufWriter::append(std::span<const std::byte> bytes) {
  ONNURI_CHECK(current_ < tensors_.size());
  const GgufTensor& tensor = tensors_[current_];
  const int64_t size = dtype_bytes(tensor.dtype, tensor.shape.num_elements());
  written_ += static_cast<int64_t>(bytes.size());
  ONNURI_CHECK(written_ <= size);
  file_.append(bytes);
  if (written_ < size) return;
  const std::byte zeros[kAlignment] = {};
  file_.append(std::span(zeros, static_cast<size_t>(padding(size))));
  ++current_;
  written_ = 0;
}

void GgufWriter::commit() {
  ONNURI_CHECK(current_ == tensors_.size());
  file_.commit();
}

}  // namespace onnuri
