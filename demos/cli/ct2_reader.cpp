#include "demos/cli/ct2_reader.h"

#include <cstring>

#include "demos/cli/pull_cache.h"
#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

constexpr uint64_t kMaxModelBytes = uint64_t{8} << 30;

uint64_t type_bytes(Ct2Type type) {
  switch (type) {
    case Ct2Type::kF32:
    case Ct2Type::kI32: return 4;
    case Ct2Type::kI16:
    case Ct2Type::kF16: return 2;
    case Ct2Type::kI8: return 1;
  }
  return 0;
}

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  template <typename T>
  T read(const char* field) {
    const std::string_view raw = take(sizeof(T), field);
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  std::string_view take(uint64_t size, const char* field) {
    if (size > bytes_.size()) {
      throw Error(ErrorCode::kCorruptData, path_ + ": " + field + ": expected " +
                                               std::to_string(size) + " bytes, found " +
                                               std::to_string(bytes_.size()));
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  std::string text(const char* field) {
    const std::string_view raw = take(read<uint16_t>(field), field);
    return std::string(raw.substr(0, raw.find('\0')));
  }

 private:
  std::string_view bytes_;
  const std::string& path_;
};

}  // namespace

Ct2Model::Ct2Model(const std::string& path)
    : path_(path), buffer_(read_whole_file(path, kMaxModelBytes)) {
  Reader reader(buffer_, path_);
  const auto version = reader.read<uint32_t>("version");
  if (version != 6) {
    throw Error(ErrorCode::kUnsupported,
                path_ + ": version: expected 6, found " + std::to_string(version));
  }
  spec_ = reader.text("specification");
  reader.read<uint32_t>("revision");
  const auto count = reader.read<uint32_t>("number of variables");
  for (uint32_t i = 0; i < count; ++i) {
    const std::string name = reader.text("variable name");
    Ct2Variable variable;
    uint64_t elements = 1;
    for (auto rank = reader.read<uint8_t>("rank"); rank > 0; --rank) {
      variable.shape.push_back(reader.read<uint32_t>("extent"));
      if (__builtin_mul_overflow(elements, variable.shape.back(), &elements)) elements = 0;
    }
    variable.type = static_cast<Ct2Type>(reader.read<uint8_t>("type"));
    const auto bytes = reader.read<uint32_t>("size");
    const uint64_t width = type_bytes(variable.type);
    if (width == 0 || bytes % width != 0 || bytes / width != elements) {
      throw Error(ErrorCode::kCorruptData, path_ + ": " + name + ": " + std::to_string(bytes) +
                                               " bytes do not match the shape and type");
    }
    variable.data = reader.take(bytes, "data");
    variables_[name] = std::move(variable);
  }
}

const Ct2Variable& Ct2Model::at(const std::string& name) const {
  const auto it = variables_.find(name);
  if (it == variables_.end()) {
    throw Error(ErrorCode::kCorruptData, path_ + ": expected the variable " + name);
  }
  return it->second;
}

int64_t Ct2Model::integer(const std::string& name) const {
  const Ct2Variable& variable = at(name);
  const char* data = variable.data.data();
  if (variable.data.size() == 1) return static_cast<signed char>(*data);
  if (variable.data.size() == 2 && variable.type == Ct2Type::kI16) {
    int16_t value;
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  if (variable.data.size() == 4 && variable.type == Ct2Type::kI32) {
    int32_t value;
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  throw Error(ErrorCode::kCorruptData, path_ + ": " + name + ": expected one integer");
}

}  // namespace onnuri::cli
