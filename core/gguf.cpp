// The GGUF reader, versions 2 and 3 (the format document of ggml: docs/gguf.md).
//
// magic, version, counts; key-value pairs; tensor records; padding; data. Every count is compared
// with the bytes that are left before anything is allocated for it.
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "core/check.h"
#include "core/checkpoint_table.h"
#include "core/gguf_types.h"
#include "core/printable.h"

namespace onnuri {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 1024;
constexpr uint64_t kMaxMetadataValues = uint64_t{1} << 24;  // all array elements together
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kMinPairBytes = 8 + 1 + 4 + 1;        // key length, key, type, value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;  // name length, name, rank, type, offset

/// Reads forward through the header. Every read is checked.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  T read(std::string_view field) {
    require(sizeof(T), field);
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  std::string_view read_string(std::string_view field, uint64_t max_bytes) {
    const auto length = read<uint64_t>(field);
    if (length > max_bytes) {
      fail(ErrorCode::kCorruptData, path_, ": ", field, ": expected a string of at most ",
           max_bytes, " bytes, found ", length);
    }
    require(length, field);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return text;
  }

  /// A count of things of which each takes at least `min_bytes` here.
  uint64_t read_count(std::string_view field, uint64_t min_bytes) {
    const auto count = read<uint64_t>(field);
    if (count > remaining() / min_bytes) {
      fail(ErrorCode::kCorruptData, path_, ": ", field, ": ", count, " cannot fit the remaining ",
           remaining(), " bytes");
    }
    return count;
  }

 private:
  void require(uint64_t num_bytes, std::string_view field) const {
    if (num_bytes > remaining()) {
      fail(ErrorCode::kCorruptData, path_, ": ", field, ": expected ", num_bytes,
           " bytes at offset ", position_, ", found the end after ", remaining());
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t position_ = 0;
};

struct TypeEntry {
  uint32_t id;
  std::string_view name;
  std::optional<DType> dtype;
};

/// ggml's numbering. Types without a DType are known by name, for the message.
constexpr TypeEntry kTensorTypes[] = {{0, "F32", DType::kF32},
                                      {1, "F16", DType::kF16},
                                      {2, "Q4_0", DType::kQ4_0},
                                      {3, "Q4_1", DType::kQ4_1},
                                      {6, "Q5_0", DType::kQ5_0},
                                      {7, "Q5_1", DType::kQ5_1},
                                      {8, "Q8_0", DType::kQ8_0},
                                      {9, "Q8_1", {}},
                                      {10, "Q2_K", DType::kQ2_K},
                                      {11, "Q3_K", DType::kQ3_K},
                                      {12, "Q4_K", DType::kQ4_K},
                                      {13, "Q5_K", DType::kQ5_K},
                                      {14, "Q6_K", DType::kQ6_K},
                                      {15, "Q8_K", {}},
                                      {16, "IQ2_XXS", {}},
                                      {17, "IQ2_XS", {}},
                                      {18, "IQ3_XXS", {}},
                                      {19, "IQ1_S", {}},
                                      {20, "IQ4_NL", DType::kIQ4_NL},
                                      {21, "IQ3_S", {}},
                                      {22, "IQ2_S", {}},
                                      {23, "IQ4_XS", DType::kIQ4_XS},
                                      {24, "I8", DType::kI8},
                                      {25, "I16", DType::kI16},
                                      {26, "I32", DType::kI32},
                                      {27, "I64", DType::kI64},
                                      {28, "F64", {}},
                                      {29, "IQ1_M", {}},
                                      {30, "BF16", DType::kBF16},
                                      {34, "TQ1_0", {}},
                                      {35, "TQ2_0", {}},
                                      {39, "MXFP4", DType::kMXFP4},
                                      {40, "NVFP4", DType::kNVFP4}};

DType parse_tensor_type(uint32_t id, const std::string& where) {
  for (const TypeEntry& entry : kTensorTypes) {
    if (entry.id != id) continue;
    if (entry.dtype) return *entry.dtype;
    fail(ErrorCode::kUnsupported, where, ": type ", entry.name, " is not supported");
  }
  fail(ErrorCode::kUnsupported, where, ": type number ", id, " is not known");
}

class GgufReader {
 public:
  GgufReader(MappedFile file, CheckpointParts parts)
      : file_(std::move(file)), path_(file_.path()), parts_(parts), cursor_(file_.bytes(), path_) {}

  std::shared_ptr<const Checkpoint> read() {
    read_head();
    read_metadata();
    const uint64_t alignment = read_alignment();
    std::vector<StoredTensor> tensors = read_tensors(alignment);
    place_tensors(tensors, alignment);
    check_disjoint(tensors, path_);
    auto table = std::make_shared<CheckpointTable>(CheckpointFormat::kGguf, path_);
    for (StoredTensor& tensor : tensors) table->add_tensor(std::move(tensor.name), tensor.view);
    table->set_metadata(std::move(metadata_));
    table->add_file(std::move(file_));
    table->finish();
    return table;
  }

 private:
  void read_head() {
    static_assert(std::endian::native == std::endian::little);
    if (cursor_.read<uint32_t>("magic") != 0x46554747) {
      fail(ErrorCode::kCorruptData, path_, ": magic: expected \"GGUF\"");
    }
    const auto version = cursor_.read<uint32_t>("version");
    if (version != 2 && version != 3) {
      fail(ErrorCode::kUnsupported, path_, ": version: expected 2 or 3, found ", version,
           (version & 0xffff) == 0 ? " (big endian)" : "");
    }
    // The tensor records come after the pairs, so both minima must fit together.
    num_tensors_ = cursor_.read_count("tensor count", kMinTensorBytes);
    num_pairs_ = cursor_.read_count("key count", kMinPairBytes);
  }

  void read_metadata() {
    JsonValue::Object pairs;
    pairs.reserve(num_pairs_);
    for (uint64_t i = 0; i < num_pairs_; ++i) {
      std::string key(cursor_.read_string("key " + std::to_string(i), kMaxKeyBytes));
      if (key.empty()) fail(ErrorCode::kCorruptData, path_, ": key ", i, " is empty");
      const std::string field = "key " + in_quotes(key);
      const auto type = cursor_.read<uint32_t>(field);
      pairs.emplace_back(std::move(key), read_value(type, field));
    }
    std::vector<std::string_view> keys;
    for (const auto& pair : pairs) keys.push_back(pair.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) {
      fail(ErrorCode::kCorruptData, path_, ": key ", in_quotes(*twice), " occurs twice");
    }
    metadata_ = std::move(pairs);
  }

  JsonValue read_value(uint32_t type, const std::string& field) {
    switch (type) {
      case kGgufArray: return read_array(field);
      case kGgufString: return std::string(cursor_.read_string(field, cursor_.remaining()));
      default: return read_scalar(type, field);
    }
  }

  JsonValue read_scalar(uint32_t type, const std::string& field) {
    const auto integer = [&](auto v) { return JsonValue(static_cast<int64_t>(v)); };
    switch (type) {
      case kGgufU8: return integer(cursor_.read<uint8_t>(field));
      case kGgufI8: return integer(cursor_.read<int8_t>(field));
      case kGgufU16: return integer(cursor_.read<uint16_t>(field));
      case kGgufI16: return integer(cursor_.read<int16_t>(field));
      case kGgufU32: return integer(cursor_.read<uint32_t>(field));
      case kGgufI32: return integer(cursor_.read<int32_t>(field));
      case kGgufI64: return integer(cursor_.read<int64_t>(field));
      case kGgufF32: return JsonValue(static_cast<double>(cursor_.read<float>(field)));
      case kGgufF64: return JsonValue(cursor_.read<double>(field));
      case kGgufBool: return read_bool(field);
      case kGgufU64: {
        const auto v = cursor_.read<uint64_t>(field);
        return v >> 63 ? JsonValue(static_cast<double>(v)) : integer(v);
      }
      default:
        fail(ErrorCode::kCorruptData, path_, ": ", field, ": value type ", type, " is not known");
    }
  }

  JsonValue read_bool(const std::string& field) {
    const auto byte = cursor_.read<uint8_t>(field);
    if (byte > 1) {
      fail(ErrorCode::kCorruptData, path_, ": ", field, ": expected a boolean, found ", int{byte});
    }
    return JsonValue(byte == 1);
  }

  JsonValue read_array(const std::string& field) {
    const auto type = cursor_.read<uint32_t>(field);
    if (type >= kNumGgufTypes) {
      fail(ErrorCode::kCorruptData, path_, ": ", field, ": value type ", type, " is not known");
    }
    if (type == kGgufArray) {
      fail(ErrorCode::kUnsupported, path_, ": ", field, ": arrays of arrays are not supported");
    }
    const uint64_t count = cursor_.read_count(field, gguf_value_bytes(type));
    num_values_ += count;  // both below 2^61
    if (num_values_ > kMaxMetadataValues) {
      fail(ErrorCode::kCorruptData, path_, ": ", field, ": expected at most ", kMaxMetadataValues,
           " array elements in the file, found ", num_values_);
    }
    JsonValue::Array values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(read_value(type, field));
    return values;
  }

  uint64_t read_alignment() {
    const JsonValue* value = metadata_.find("general.alignment");
    if (value == nullptr) return 32;
    const int64_t alignment = value->as_int(path_ + ": general.alignment");
    if (alignment < 8 || alignment > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      fail(ErrorCode::kCorruptData, path_, ": general.alignment: expected a power of two in [8, ",
           kMaxAlignment, "], found ", alignment);
    }
    return static_cast<uint64_t>(alignment);
  }

  std::vector<StoredTensor> read_tensors(uint64_t alignment) {
    if (num_tensors_ > cursor_.remaining() / kMinTensorBytes) {
      fail(ErrorCode::kCorruptData, path_, ": tensor count: ", num_tensors_,
           " cannot fit the remaining ", cursor_.remaining(), " bytes");
    }
    if (const JsonValue* parts = metadata_.find("split.count")) {
      if (parts->as_int(path_ + ": split.count") > 1) {
        fail(ErrorCode::kUnsupported, path_, ": split.count: files split in parts must be merged");
      }
    }
    std::vector<StoredTensor> tensors;
    tensors.reserve(num_tensors_);
    for (uint64_t i = 0; i < num_tensors_; ++i) tensors.push_back(read_tensor(i, alignment));
    return tensors;
  }

  StoredTensor read_tensor(uint64_t index, uint64_t alignment) {
    StoredTensor tensor;
    const std::string ordinal = "tensor " + std::to_string(index);
    tensor.name = std::string(cursor_.read_string(ordinal + " name", kMaxTensorNameBytes));
    if (tensor.name.empty()) fail(ErrorCode::kCorruptData, path_, ": ", ordinal, " has no name");
    const std::string field = "tensor " + in_quotes(tensor.name);
    const std::string where = path_ + ": " + field;
    const auto rank = cursor_.read<uint32_t>(field);
    if (rank > 4) fail(ErrorCode::kCorruptData, where, ": expected at most 4 axes, found ", rank);
    std::vector<int64_t> extents(rank);
    for (uint32_t axis = 0; axis < rank; ++axis) {
      const auto extent = cursor_.read<uint64_t>(field);
      if (extent == 0 || extent >> 63) {
        fail(ErrorCode::kCorruptData, where, ": extent of axis ", axis, ": found ", extent);
      }
      extents[rank - 1 - axis] = static_cast<int64_t>(extent);  // the file has the fastest first
    }
    const DType dtype = parse_tensor_type(cursor_.read<uint32_t>(field), where);
    tensor.view = {nullptr, dtype, Shape{std::span<const int64_t>(extents)}};
    tensor.begin = cursor_.read<uint64_t>(field);
    if (tensor.begin % alignment != 0) {
      fail(ErrorCode::kCorruptData, where, ": offset: expected a multiple of ", alignment,
           ", found ", tensor.begin);
    }
    const uint64_t bytes = byte_count(tensor.view, where);
    if (__builtin_add_overflow(tensor.begin, bytes, &tensor.end)) {
      fail(ErrorCode::kCorruptData, where, ": offset ", tensor.begin, " and size overflow");
    }
    return tensor;
  }

  static uint64_t byte_count(const TensorView& view, const std::string& where) {
    const DTypeInfo& info = dtype_info(view.dtype);
    const int64_t row = view.shape.rank() == 0 ? 1 : view.shape[-1];
    if (row % info.block_elements != 0) {
      fail(ErrorCode::kCorruptData, where, ": expected rows of whole ", info.name,
           " blocks, found ", view.shape.to_string());
    }
    int64_t bytes = info.block_bytes;
    bool overflow = __builtin_mul_overflow(bytes, row / info.block_elements, &bytes);
    int64_t elements = row;
    for (int i = 0; i + 1 < view.shape.rank(); ++i) {
      overflow = overflow || __builtin_mul_overflow(bytes, view.shape[i], &bytes) ||
                 __builtin_mul_overflow(elements, view.shape[i], &elements);
    }
    if (overflow) {
      fail(ErrorCode::kCorruptData, where, ": size overflow in shape ", view.shape.to_string());
    }
    return static_cast<uint64_t>(bytes);
  }

  // After this the cursor looks into a file that may be gone.
  void place_tensors(std::vector<StoredTensor>& tensors, uint64_t alignment) {
    const uint64_t head_end = cursor_.position();
    const uint64_t data_begin = (head_end + alignment - 1) / alignment * alignment;
    if (parts_ == CheckpointParts::kHeaders) {
      constexpr uint64_t kMostBytes = uint64_t{1} << 46;  // no address space has more to spare
      uint64_t end = 0;
      for (const StoredTensor& tensor : tensors) end = std::max(end, tensor.end);
      if (end < kMostBytes && data_begin + end > file_.bytes().size())
        file_ = MappedFile::open_extended(path_, data_begin + end);
    }
    const auto bytes = file_.bytes();
    if (data_begin > bytes.size()) {
      if (tensors.empty()) return;
      fail(ErrorCode::kCorruptData, path_, ": data section: expected to begin at ", data_begin,
           ", found the end at ", bytes.size());
    }
    const uint64_t data_bytes = bytes.size() - data_begin;
    for (StoredTensor& tensor : tensors) {
      if (tensor.end > data_bytes) {
        fail(ErrorCode::kCorruptData, path_, ": tensor ", in_quotes(tensor.name), ": bytes [",
             tensor.begin, ", ", tensor.end, ") lie outside the data section of ", data_bytes);
      }
      tensor.view.data = bytes.data() + data_begin + tensor.begin;
      tensor.view.file = file_.pages();
    }
  }

  MappedFile file_;
  std::string path_;
  CheckpointParts parts_;
  Cursor cursor_;
  uint64_t num_tensors_ = 0;
  uint64_t num_pairs_ = 0;
  uint64_t num_values_ = 0;
  JsonValue metadata_;
};

}  // namespace

uint64_t gguf_value_bytes(uint32_t type) {
  static constexpr uint8_t kBytes[kNumGgufTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  if (type >= kNumGgufTypes) {
    fail(ErrorCode::kCorruptData, "expected a GGUF value type, found ", type);
  }
  return kBytes[type];
}

uint32_t gguf_type_id(DType dtype) {
  for (const TypeEntry& entry : kTensorTypes) {
    if (entry.dtype == dtype) return entry.id;
  }
  fail(ErrorCode::kUnsupported, "expected a type that GGUF has, found ", dtype_name(dtype));
}

std::shared_ptr<const Checkpoint> open_gguf(MappedFile file, CheckpointParts parts) {
  return GgufReader(std::move(file), parts).read();
}

}  // namespace onnuri
