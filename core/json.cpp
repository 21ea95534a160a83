// Reads of the value tree. Parsing is in json_parse.cpp, writing in json_write.cpp.
#include "core/json.h"

#include <cmath>

#include "core/check.h"
#include "core/printable.h"

namespace onnuri {
namespace {

std::string_view kind_of(const JsonValue& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "a boolean";
  if (value.is_int()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  return value.is_array() ? "an array" : "an object";
}

[[noreturn]] void fail_kind(std::string_view expected, std::string_view where,
                            const JsonValue& value) {
  if (value.is_number() && !value.is_int()) {
    fail(ErrorCode::kCorruptData, where, ": expected ", expected, ", found ",
         value.as_double(where));
  }
  fail(ErrorCode::kCorruptData, where, ": expected ", expected, ", found ", kind_of(value));
}

}  // namespace

bool JsonValue::as_bool(std::string_view where) const {
  if (const bool* v = std::get_if<bool>(&value_)) return *v;
  fail_kind("a boolean", where, *this);
}

int64_t JsonValue::as_int(std::string_view where) const {
  if (const int64_t* v = std::get_if<int64_t>(&value_)) return *v;
  if (const double* v = std::get_if<double>(&value_)) {
    constexpr double kLimit = 9223372036854775808.0;  // 2^63
    if (*v >= -kLimit && *v < kLimit && std::trunc(*v) == *v) return static_cast<int64_t>(*v);
  }
  fail_kind("an integer", where, *this);
}

double JsonValue::as_double(std::string_view where) const {
  if (const double* v = std::get_if<double>(&value_)) return *v;
  if (const int64_t* v = std::get_if<int64_t>(&value_)) return static_cast<double>(*v);
  fail_kind("a number", where, *this);
}

const std::string& JsonValue::as_string(std::string_view where) const {
  if (const std::string* v = std::get_if<std::string>(&value_)) return *v;
  fail_kind("a string", where, *this);
}

const JsonValue::Array& JsonValue::as_array(std::string_view where) const {
  if (const Array* v = std::get_if<Array>(&value_)) return *v;
  fail_kind("an array", where, *this);
}

const JsonValue::Object& JsonValue::as_object(std::string_view where) const {
  if (const Object* v = std::get_if<Object>(&value_)) return *v;
  fail_kind("an object", where, *this);
}

const JsonValue* JsonValue::find(std::string_view key) const {
  const Object* object = std::get_if<Object>(&value_);
  if (object == nullptr) return nullptr;
  for (const Member& member : *object) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

const JsonValue& JsonValue::at(std::string_view key, std::string_view where) const {
  if (!is_object()) fail_kind("an object", where, *this);
  const JsonValue* value = find(key);
  if (value == nullptr || value->is_null()) {
    fail(ErrorCode::kCorruptData, where, ": expected the key ", in_quotes(key), ", found ",
         value == nullptr ? "none" : "null");
  }
  return *value;
}

void JsonValue::set(std::string key, JsonValue value) {
  if (is_null()) value_ = Object{};
  Object* object = std::get_if<Object>(&value_);
  ONNURI_CHECK(object != nullptr);
  for (Member& member : *object) {
    if (member.first == key) {
      member.second = std::move(value);
      return;
    }
  }
  object->emplace_back(std::move(key), std::move(value));
}

}  // namespace onnuri
