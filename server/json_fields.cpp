#include "server/json_fields.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

#include "onnuri/error.h"

namespace onnuri {
namespace {

std::string range_text(const char* what, double least, double most) {
  std::ostringstream text;
  text << what << " in [" << least << ", " << most << "]";
  return text.str();
}

}  // namespace

std::string kind_of(const OrderedJson& value) {
  switch (value.type()) {
    case OrderedJson::value_t::null: return "null";
    case OrderedJson::value_t::object: return "an object";
    case OrderedJson::value_t::array: return "a list";
    case OrderedJson::value_t::string: return "a string";
    case OrderedJson::value_t::boolean: return value.get<bool>() ? "true" : "false";
    default: return value.is_number() ? value.dump() : "something else";
  }
}

void refuse_field(const std::string& expected, const std::string& where, const OrderedJson& found) {
  throw Error(ErrorCode::kInvalidArgument,
              "expected " + expected + " at " + where + ", found " + kind_of(found));
}

JsonFields::JsonFields(const OrderedJson& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object())
    refuse_field("an object", where_.empty() ? "the body of the request" : where_, object);
}

const OrderedJson* JsonFields::find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

const OrderedJson& JsonFields::at(const char* key) const {
  const OrderedJson* value = find(key);
  if (value == nullptr)
    throw Error(ErrorCode::kInvalidArgument,
                "expected " + where(key) + " in the request, found nothing");
  return *value;
}

std::string JsonFields::where(const char* key) const {
  return where_.empty() ? key : where_ + "." + key;
}

std::optional<std::string> JsonFields::text(const char* key) const {
  const OrderedJson* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_field("a string", where(key), *value);
  return value->get<std::string>();
}

std::optional<bool> JsonFields::flag(const char* key) const {
  const OrderedJson* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse_field("true or false", where(key), *value);
  return value->get<bool>();
}

std::optional<double> JsonFields::number(const char* key, double least, double most) const {
  const OrderedJson* value = find(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= least && number <= most))
    refuse_field(range_text("a number", least, most), where(key), *value);
  return number;
}

std::optional<int64_t> JsonFields::integer(const char* key, int64_t least, int64_t most) const {
  const OrderedJson* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto refuse = [&] {
    refuse_field("a whole number in [" + std::to_string(least) + ", " + std::to_string(most) + "]",
                 where(key), *value);
  };
  int64_t number = 0;
  if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) {
    refuse();
  } else if (value->is_number_integer()) {
    number = value->get<int64_t>();
  } else if (value->is_number_float() && value->get<double>() == std::floor(value->get<double>()) &&
             std::abs(value->get<double>()) < 9e15) {
    number = static_cast<int64_t>(value->get<double>());
  } else {
    refuse();
  }
  if (number < least || number > most) refuse();
  return number;
}

void JsonFields::allow_only(std::span<const char* const> keys,
                            std::span<const char* const> more) const {
  for (const auto& [key, value] : object_.items()) {
    const auto is_key = [&key = key](const char* name) { return key == name; };
    const bool known = std::any_of(keys.begin(), keys.end(), is_key) ||
                       std::any_of(more.begin(), more.end(), is_key);
    if (!known && !value.is_null())
      throw Error(ErrorCode::kInvalidArgument,
                  "expected only fields that are known in the request, found \"" +
                      where(key.c_str()) + "\"");
  }
}

}  // namespace onnuri
