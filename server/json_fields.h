// Typed reads from a request, with the field's name in every error.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "server/request_json.h"

namespace onnuri {

/// "expected a string at messages[0].role, found a number".
[[noreturn]] void refuse_field(const std::string& expected, const std::string& where,
                               const OrderedJson& found);

/// An object of a request. Absent and null fields are the same.
class JsonFields {
 public:
  /// Throws kInvalidArgument unless `object` is one. `where` is its name, "" for the body.
  JsonFields(const OrderedJson& object, std::string where);

  /// Null when it is absent.
  const OrderedJson* find(const char* key) const;
  /// Throws kInvalidArgument when it is absent.
  const OrderedJson& at(const char* key) const;
  std::string where(const char* key) const;

  std::optional<std::string> text(const char* key) const;
  std::optional<bool> flag(const char* key) const;
  std::optional<double> number(const char* key, double least, double most) const;
  std::optional<int64_t> integer(const char* key, int64_t least, int64_t most) const;

  /// Throws kInvalidArgument naming the first field that is in neither list.
  void allow_only(std::span<const char* const> keys, std::span<const char* const> more) const;

 private:
  const OrderedJson& object_;
  std::string where_;
};

/// "a string", "null", "a number", ...
std::string kind_of(const OrderedJson& value);

}  // namespace onnuri
