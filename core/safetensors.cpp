// The safetensors reader: u64 header length, a JSON header {name: {dtype, shape, data_offsets}},
// then the data section.
//
// As strict as the format's own library: ranges must tile the data section without gap or overlap.
// Shards are joined through the weight_map of model.safetensors.index.json.
#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>

#include "core/check.h"
#include "core/checkpoint_table.h"
#include "core/printable.h"

namespace onnuri {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are little endian");

constexpr uint64_t kMaxHeaderBytes = uint64_t{100} << 20;  // the limit of the format's own library

DType parse_dtype(const std::string& name, const std::string& where) {
  static constexpr std::pair<std::string_view, DType> kTypes[] = {
      {"F32", DType::kF32},        {"F16", DType::kF16},        {"BF16", DType::kBF16},
      {"F8_E4M3", DType::kF8E4M3}, {"F8_E5M2", DType::kF8E5M2}, {"F8_E8M0", DType::kU8},
      {"I64", DType::kI64},        {"I32", DType::kI32},        {"I16", DType::kI16},
      {"I8", DType::kI8},          {"U8", DType::kU8},          {"BOOL", DType::kBool}};
  for (const auto& [text, dtype] : kTypes) {
    if (text == name) return dtype;
  }
  fail(ErrorCode::kUnsupported, where, ": element type ", in_quotes(name), " is not supported");
}

/// The header of one file, read and checked.
struct ShardHeader {
  std::vector<StoredTensor> tensors;
  JsonValue metadata = JsonValue::Object{};
};

uint64_t parse_offset(const JsonValue& value, const std::string& where, uint64_t data_bytes) {
  const int64_t offset = value.as_int(where);
  if (offset < 0 || static_cast<uint64_t>(offset) > data_bytes) {
    fail(ErrorCode::kCorruptData, where, ": expected an offset in the ", data_bytes,
         " bytes of the data section, found ", offset);
  }
  return static_cast<uint64_t>(offset);
}

StoredTensor parse_entry(const std::string& name, const JsonValue& entry, const std::string& path,
                         uint64_t data_bytes) {
  const std::string where = path + ": tensor " + in_quotes(name);
  std::vector<int64_t> extents;
  for (const JsonValue& extent : entry.at("shape", where).as_array(where + ": shape")) {
    extents.push_back(extent.as_int(where + ": shape"));
    if (extents.back() < 0) {
      fail(ErrorCode::kCorruptData, where, ": shape: negative extent ", extents.back());
    }
  }
  if (extents.size() > static_cast<size_t>(Shape::kMaxRank)) {
    fail(ErrorCode::kUnsupported, where, ": expected at most ", Shape::kMaxRank, " axes, found ",
         extents.size());
  }
  const DType dtype = parse_dtype(entry.at("dtype", where).as_string(where + ": dtype"), where);
  const JsonValue::Array& offsets =
      entry.at("data_offsets", where).as_array(where + ": data_offsets");
  if (offsets.size() != 2) {
    fail(ErrorCode::kCorruptData, where, ": data_offsets: expected 2 numbers, found ",
         offsets.size());
  }
  StoredTensor tensor;
  tensor.name = name;
  tensor.begin = parse_offset(offsets[0], where + ": data_offsets", data_bytes);
  tensor.end = parse_offset(offsets[1], where + ": data_offsets", data_bytes);
  const Shape shape{std::span<const int64_t>(extents)};
  int64_t bytes = dtype_info(dtype).block_bytes;
  const bool overflow = std::any_of(extents.begin(), extents.end(), [&bytes](int64_t extent) {
    return __builtin_mul_overflow(bytes, extent, &bytes);
  });
  if (overflow || tensor.end < tensor.begin ||
      tensor.end - tensor.begin != static_cast<uint64_t>(bytes)) {
    fail(ErrorCode::kCorruptData, where, ": data_offsets: expected the bytes of ",
         dtype_name(dtype), " ", shape.to_string(), ", found [", tensor.begin, ", ", tensor.end,
         ")");
  }
  tensor.view = {nullptr, dtype, shape};
  return tensor;
}

// Returns the end of the last one.
uint64_t check_tiling(std::vector<StoredTensor>& tensors, const std::string& path) {
  check_disjoint(tensors, path);
  uint64_t end = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin != end) {
      fail(ErrorCode::kCorruptData, path, ": tensor ", in_quotes(tensor.name),
           ": data_offsets: expected to begin at ", end, ", found ", tensor.begin);
    }
    end = tensor.end;
  }
  return end;
}

// Where parts may be missing, `file` is exchanged for one that is as long as its header says.
ShardHeader read_header(MappedFile& file, CheckpointParts parts) {
  const auto bytes = file.bytes();
  const std::string path = file.path();
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) {
    fail(ErrorCode::kCorruptData, path, ": header length: expected 8 bytes, found ", bytes.size());
  }
  std::memcpy(&length, bytes.data(), sizeof(length));
  const uint64_t limit = std::min<uint64_t>(bytes.size() - sizeof(length), kMaxHeaderBytes);
  if (length > limit) {
    fail(ErrorCode::kCorruptData, path, ": header length: expected at most ", limit, ", found ",
         length);
  }
  const auto header = bytes.subspan(sizeof(length), length);
  const uint64_t data_begin = sizeof(length) + length;
  const uint64_t found_bytes = bytes.size() - data_begin;
  constexpr uint64_t kMostBytes = uint64_t{1} << 46;  // more than any address space has to spare
  const uint64_t data_bytes =
      parts == CheckpointParts::kWhole ? found_bytes : std::max(found_bytes, kMostBytes);
  JsonLimits limits;
  limits.max_depth = 8;
  limits.duplicate_keys = DuplicateKeys::kReject;
  const JsonValue root = parse_json({reinterpret_cast<const char*>(header.data()), header.size()},
                                    path + ": header", limits);
  ShardHeader shard;
  for (const auto& [name, entry] : root.as_object(path + ": header")) {
    if (name == "__metadata__") {
      entry.as_object(path + ": __metadata__");
      shard.metadata = entry;
    } else {
      shard.tensors.push_back(parse_entry(name, entry, path, data_bytes));
    }
  }
  const uint64_t end = check_tiling(shard.tensors, path);
  if (parts == CheckpointParts::kHeaders && found_bytes < end)
    file = MappedFile::open_extended(path, data_begin + end);
  else if (end != found_bytes)
    fail(ErrorCode::kCorruptData, path, ": expected a data section of ", end, " bytes, found ",
         found_bytes);
  for (StoredTensor& tensor : shard.tensors) {
    tensor.view.data = file.bytes().data() + data_begin + tensor.begin;
    tensor.view.file = file.pages();
  }
  return shard;
}

/// A shard's path: a relative one that stays below the folder. Links inside it are followed, since
/// model caches are built of links.
std::filesystem::path shard_path(const std::filesystem::path& folder, const std::string& name,
                                 const std::string& where) {
  const std::filesystem::path relative(name);
  bool stays = !name.empty() && relative.is_relative() && name.find('\0') == std::string::npos;
  for (const auto& part : relative) stays = stays && part != "..";
  if (!stays) {
    fail(ErrorCode::kCorruptData, where, ": expected a file inside the folder, found ",
         in_quotes(name));
  }
  return folder / relative;
}

}  // namespace

std::shared_ptr<const Checkpoint> open_safetensors_file(MappedFile file, CheckpointParts parts) {
  auto table = std::make_shared<CheckpointTable>(CheckpointFormat::kSafetensors, file.path());
  ShardHeader shard = read_header(file, parts);
  for (StoredTensor& t : shard.tensors) table->add_tensor(t.name, t.view);
  table->set_metadata(std::move(shard.metadata));
  table->add_file(std::move(file));
  table->finish();
  return table;
}

std::shared_ptr<const Checkpoint> open_safetensors_files(const std::string& folder,
                                                         const std::vector<std::string>& paths,
                                                         CheckpointParts parts) {
  auto table = std::make_shared<CheckpointTable>(CheckpointFormat::kSafetensors, folder);
  for (size_t i = 0; i < paths.size(); ++i) {
    MappedFile file = MappedFile::open(paths[i]);
    ShardHeader shard = read_header(file, parts);
    for (StoredTensor& t : shard.tensors) table->add_tensor(t.name, t.view);
    if (i == 0) table->set_metadata(std::move(shard.metadata));
    table->add_file(std::move(file));
  }
  table->finish();
  return table;
}

std::shared_ptr<const Checkpoint> open_safetensors_index(const std::string& index_path,
                                                         CheckpointParts parts) {
  const std::filesystem::path folder = std::filesystem::path(index_path).parent_path();
  const JsonValue index = parse_json(read_text_file(index_path), index_path);
  const std::string where = index_path + ": weight_map";
  std::map<std::string, std::vector<std::string>> names_of_shard;
  for (const auto& [name, shard] : index.at("weight_map", index_path).as_object(where)) {
    names_of_shard[shard.as_string(where)].push_back(name);
  }
  auto table = std::make_shared<CheckpointTable>(CheckpointFormat::kSafetensors, folder.string());
  bool is_first = true;
  for (const auto& [shard_name, names] : names_of_shard) {
    MappedFile file = MappedFile::open(shard_path(folder, shard_name, where).string());
    ShardHeader shard = read_header(file, parts);
    std::sort(shard.tensors.begin(), shard.tensors.end(),
              [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
    for (const std::string& name : names) {
      const auto it =
          std::lower_bound(shard.tensors.begin(), shard.tensors.end(), name,
                           [](const StoredTensor& a, const std::string& b) { return a.name < b; });
      if (it == shard.tensors.end() || it->name != name) {
        fail(ErrorCode::kCorruptData, where, ": tensor ", in_quotes(name), " is not in ",
             in_quotes(shard_name));
      }
      table->add_tensor(name, it->view);
    }
    if (is_first) table->set_metadata(std::move(shard.metadata));
    is_first = false;
    table->add_file(std::move(file));
  }
  table->finish();
  return table;
}

}  // namespace onnuri
