// JSON as a plain value tree: a thin door to the library that parses it.
//
// Parsing is bounded in bytes, depth and number of values, so a hostile file costs no more than its
// own size. Objects keep their order. GGUF metadata uses the same tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace onnuri {

class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Member = std::pair<std::string, JsonValue>;
  using Object = std::vector<Member>;

  JsonValue() = default;                                 // null
  JsonValue(bool v) : value_(v) {}                       // NOLINT(google-explicit-constructor)
  JsonValue(int64_t v) : value_(v) {}                    // NOLINT(google-explicit-constructor)
  JsonValue(int v) : value_(static_cast<int64_t>(v)) {}  // NOLINT(google-explicit-constructor)
  JsonValue(double v) : value_(v) {}                     // NOLINT(google-explicit-constructor)
  JsonValue(std::string v) : value_(std::move(v)) {}     // NOLINT(google-explicit-constructor)
  JsonValue(const char* v) : value_(std::string(v)) {}   // NOLINT(google-explicit-constructor)
  JsonValue(Array v) : value_(std::move(v)) {}           // NOLINT(google-explicit-constructor)
  JsonValue(Object v) : value_(std::move(v)) {}          // NOLINT(google-explicit-constructor)

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  // Typed reads. `where` names the value in the error (kCorruptData: expected a string at
  // "config.json: hidden_act", found a number). A whole double reads as an integer.
  bool as_bool(std::string_view where) const;
  int64_t as_int(std::string_view where) const;
  double as_double(std::string_view where) const;
  const std::string& as_string(std::string_view where) const;
  const Array& as_array(std::string_view where) const;
  const Object& as_object(std::string_view where) const;

  /// The member `key` of an object, or nullptr when it is absent or this is not an object.
  const JsonValue* find(std::string_view key) const;
  /// As find, but a missing or null member throws kCorruptData naming `where` and the key.
  const JsonValue& at(std::string_view key, std::string_view where) const;
  /// Sets or replaces a member of an object (null becomes an empty object first).
  void set(std::string key, JsonValue value);

  /// Compact text; non-ASCII is kept as UTF-8. `indent` < 0 is one line.
  std::string dump(int indent = -1) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

enum class DuplicateKeys { kLastWins, kReject };

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  size_t max_values = size_t{1} << 24;
  int max_depth = 128;
  DuplicateKeys duplicate_keys = DuplicateKeys::kLastWins;
};

/// Parses one JSON document (RFC 8259: no NaN, no Infinity, no comments). `where` names the source
/// in errors. Integers up to int64 stay integers, larger ones become doubles. Throws kCorruptData.
JsonValue parse_json(std::string_view text, std::string_view where, const JsonLimits& limits = {});

}  // namespace onnuri
