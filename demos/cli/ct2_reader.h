// Reads CTranslate2's model.bin, binary version 6.
//
// u32 version; spec name; u32 revision; u32 count; then per variable: name, u8 rank, u32 extents,
// u8 type, u32 bytes, data; then aliases, which are not needed. Strings: u16 length with the NUL.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace onnuri::cli {

enum class Ct2Type : uint8_t { kF32 = 0, kI8 = 1, kI16 = 2, kI32 = 3, kF16 = 4 };

/// A variable; `data` points into the reader's buffer.
struct Ct2Variable {
  std::vector<uint32_t> shape;
  Ct2Type type = Ct2Type::kF32;
  std::string_view data;
};

class Ct2Model {
 public:
  /// Throws kCorruptData naming the file and the field.
  explicit Ct2Model(const std::string& path);

  const std::string& spec() const { return spec_; }
  bool has(const std::string& name) const { return variables_.contains(name); }
  /// Throws kCorruptData when absent.
  const Ct2Variable& at(const std::string& name) const;
  /// The value of a variable with one integer element.
  int64_t integer(const std::string& name) const;

 private:
  std::string path_;
  std::string buffer_;
  std::string spec_;
  std::map<std::string, Ct2Variable> variables_;
};

}  // namespace onnuri::cli
