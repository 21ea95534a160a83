#include "fusion/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int kMaxDepth = 64;
constexpr int64_t kMaxMerges = 20000;

using Strings = std::vector<std::string>;

bool contains(const Strings& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

[[noreturn]] void cannot_merge(const std::string& key) {
  fail(ErrorCode::kUnsupported, "expected JSON schemas that can be combined, found two with \"",
       key, "\"");
}

JsonValue common_constants(const JsonValue& a, const JsonValue& b) {
  JsonValue::Array out;
  for (const JsonValue& x : a.as_array("JSON schema: enum"))
    for (const JsonValue& y : b.as_array("JSON schema: enum"))
      if (x.dump() == y.dump()) {
        out.push_back(x);
        break;
      }
  return out;
}

JsonValue common_types(const JsonValue& a, const JsonValue& b) {
  JsonValue left;
  left.set("type", a);
  JsonValue right;
  right.set("type", b);
  JsonValue::Array out;
  for (const std::string& x : schema_types(left)) {
    for (const std::string& y : schema_types(right)) {
      if (type_fits(x, y))
        out.emplace_back(x);
      else if (type_fits(y, x))
        out.emplace_back(y);
    }
  }
  return out;
}

JsonValue united(const JsonValue& a, const JsonValue& b) {
  JsonValue::Array out = a.as_array("JSON schema: required");
  for (const JsonValue& item : b.as_array("JSON schema: required")) out.push_back(item);
  return out;
}

}  // namespace

bool is_annotation(const std::string& key) {
  static constexpr std::array<const char*, 16> kKeys = {
      "title",    "description", "default", "examples",         "$schema",
      "$id",      "$comment",    "$defs",   "definitions",      "deprecated",
      "readOnly", "writeOnly",   "$anchor", "contentMediaType", "contentEncoding",
      "example"};
  return std::any_of(kKeys.begin(), kKeys.end(), [&](const char* k) { return key == k; });
}

void check_schema_keywords(const JsonValue& schema) {
  static constexpr std::array<const char*, 17> kUncovered = {"patternProperties",
                                                             "dependentRequired",
                                                             "dependentSchemas",
                                                             "dependencies",
                                                             "if",
                                                             "then",
                                                             "else",
                                                             "not",
                                                             "contains",
                                                             "minContains",
                                                             "maxContains",
                                                             "unevaluatedItems",
                                                             "additionalItems",
                                                             "$dynamicRef",
                                                             "$recursiveRef",
                                                             "contentSchema",
                                                             "disallow"};
  for (const char* key : kUncovered)
    if (schema.find(key))
      fail(ErrorCode::kUnsupported, "expected a JSON schema without \"", key,
           "\", which no grammar here covers");
  const JsonValue* unique = schema.find("uniqueItems");
  if (unique && unique->as_bool("JSON schema: uniqueItems"))
    fail(ErrorCode::kUnsupported,
         "expected a JSON schema without \"uniqueItems\", which no grammar "
         "here covers");
}

std::string json_type(const JsonValue& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "boolean";
  if (value.is_number()) {
    const double number = value.as_double("");
    return value.is_int() || number == std::floor(number) ? "integer" : "number";  // 1.0 is whole
  }
  if (value.is_string()) return "string";
  return value.is_array() ? "array" : "object";
}

int compare_numbers(const JsonValue& a, const JsonValue& b, const std::string& where) {
  if (a.is_int() && b.is_int()) {
    const int64_t x = a.as_int(where);
    const int64_t y = b.as_int(where);
    return x < y ? -1 : x > y ? 1 : 0;
  }
  const double x = a.as_double(where);
  const double y = b.as_double(where);
  return x < y ? -1 : x > y ? 1 : 0;
}

bool type_fits(const std::string& type, const std::string& wanted) {
  return type == wanted || (type == "integer" && wanted == "number");
}

std::vector<std::string> schema_types(const JsonValue& schema) {
  static const Strings kKnown = {"string", "number", "integer", "boolean",
                                 "null",   "array",  "object"};
  Strings out;
  const auto add = [&](const JsonValue& type) {
    const std::string& name = type.as_string("JSON schema: type");
    if (!contains(kKnown, name))
      fail(ErrorCode::kInvalidArgument,
           "expected a JSON type at \"type\" of the JSON schema, found \"", name, "\"");
    if (!contains(out, name)) out.push_back(name);
  };
  if (const JsonValue* type = schema.find("type")) {
    if (type->is_array()) {
      for (const JsonValue& item : type->as_array("JSON schema: type")) add(item);
    } else {
      add(*type);
    }
    return out;
  }
  const auto any = [&](std::initializer_list<const char*> keys) {
    return std::any_of(keys.begin(), keys.end(), [&](const char* k) { return schema.find(k); });
  };
  // Keywords without a type mean that type: a narrower reading, never a wrong one.
  if (any({"properties", "required", "additionalProperties", "minProperties", "maxProperties",
           "propertyNames", "unevaluatedProperties"}))
    out.push_back("object");
  if (any({"items", "prefixItems", "minItems", "maxItems"})) out.push_back("array");
  if (any({"pattern", "minLength", "maxLength", "format"})) out.push_back("string");
  if (any({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}))
    out.push_back("number");
  return out;
}

const JsonValue* schema_constants(const JsonValue& schema, JsonValue& storage) {
  if (const JsonValue* value = schema.find("const")) {
    storage = JsonValue(JsonValue::Array{*value});
    if (const JsonValue* list = schema.find("enum")) storage = common_constants(storage, *list);
    return &storage;
  }
  return schema.find("enum");
}

const JsonValue& SchemaDocument::resolve(const std::string& reference) const {
  if (reference.empty() || reference[0] != '#' || (reference.size() > 1 && reference[1] != '/'))
    fail(ErrorCode::kUnsupported,
         "expected a reference inside the JSON schema (\"#/...\"), found \"", reference, "\"");
  const JsonValue* at = &root_;
  for (size_t pos = 1; pos < reference.size();) {
    size_t end = reference.find('/', pos + 1);
    if (end == reference.npos) end = reference.size();
    std::string key;
    for (size_t i = pos + 1; i < end; ++i) {
      const bool escaped = reference[i] == '~' && i + 1 < end;
      key += !escaped ? reference[i] : reference[++i] == '0' ? '~' : '/';
    }
    const JsonValue* next = at->find(key);
    if (!next && at->is_array() && !key.empty() && key.size() < 7 &&
        key.find_first_not_of("0123456789") == key.npos) {
      const auto& list = at->as_array("");
      const size_t index = std::stoul(key);
      next = index < list.size() ? &list[index] : nullptr;
    }
    if (!next)
      fail(ErrorCode::kInvalidArgument, "expected \"", key, "\" at the reference \"", reference,
           "\" of the JSON schema, found nothing");
    at = next;
    pos = end;
  }
  return *at;
}

JsonValue SchemaDocument::merge(const JsonValue& a, const JsonValue& b) const {
  // References that name one another twice per level double the work with every level.
  if (++num_merges_ > kMaxMerges)
    fail(ErrorCode::kUnsupported, "expected a JSON schema that needs at most ", kMaxMerges,
         " combinations of its parts, found one that needs more");
  if (a.is_bool()) return a.as_bool("") ? b : a;
  if (b.is_bool()) return b.as_bool("") ? a : b;
  JsonValue out = a;
  for (const auto& [key, value] : b.as_object("JSON schema")) {
    const JsonValue* known = a.find(key);
    const std::string where = "JSON schema: " + key;
    if (!known || is_annotation(key))
      out.set(key, value);
    else if (key == "type")
      out.set(key, common_types(*known, value));
    else if (key == "enum")
      out.set(key, common_constants(*known, value));
    else if (key == "required")
      out.set(key, united(*known, value));
    else if (key == "minimum" || key == "exclusiveMinimum" || key == "minLength" ||
             key == "minItems" || key == "minProperties")
      out.set(key, compare_numbers(*known, value, where) >= 0 ? *known : value);
    else if (key == "maximum" || key == "exclusiveMaximum" || key == "maxLength" ||
             key == "maxItems" || key == "maxProperties")
      out.set(key, compare_numbers(*known, value, where) <= 0 ? *known : value);
    else if (key == "properties") {
      JsonValue properties = *known;
      for (const auto& [name, schema] : value.as_object(where)) {
        const JsonValue* other = known->find(name);
        properties.set(name, other ? merge(*other, schema) : schema);
      }
      out.set(key, std::move(properties));
    } else if (known->dump() == value.dump()) {
      continue;
    } else if (key == "const") {
      out.set("enum", JsonValue::Array{});
    } else if (key == "anyOf" || key == "oneOf" || key == "allOf" || key == "$ref") {
      JsonValue::Array all;
      if (const JsonValue* list = out.find("allOf")) all = list->as_array("JSON schema: allOf");
      JsonValue part;
      part.set(key, value);
      all.push_back(std::move(part));
      out.set("allOf", std::move(all));
    } else if (key == "additionalProperties" || key == "items" || key == "propertyNames") {
      out.set(key, merge(*known, value));
    } else {
      cannot_merge(key);
    }
  }
  // A member that one side leaves to additionalProperties must obey that, too.
  const auto obey = [&](const JsonValue& rules, const JsonValue& members) {
    const JsonValue* extra = rules.find("additionalProperties");
    const JsonValue* theirs = members.find("properties");
    if (!extra || !theirs) return;
    const JsonValue* ours = rules.find("properties");
    JsonValue properties = out.at("properties", "JSON schema");
    for (const auto& [name, schema] : theirs->as_object("JSON schema: properties"))
      if (!ours || !ours->find(name)) properties.set(name, merge(properties.at(name, ""), *extra));
    out.set("properties", std::move(properties));
  };
  obey(a, b);
  obey(b, a);
  return out;
}

JsonValue SchemaDocument::flatten(const JsonValue& schema, int depth) const {
  if (depth > kMaxDepth)
    fail(ErrorCode::kUnsupported, "expected at most ", kMaxDepth,
         " references and combinations inside one another in the JSON schema, found more");
  if (!schema.is_object()) return schema;
  const JsonValue* reference = schema.find("$ref");
  const JsonValue* all = schema.find("allOf");
  if (!reference && !all) return schema;
  JsonValue rest{JsonValue::Object{}};
  for (const auto& [key, value] : schema.as_object("JSON schema"))
    if (key != "$ref" && key != "allOf") rest.set(key, value);
  if (reference)
    rest = merge(rest, flatten(resolve(reference->as_string("JSON schema: $ref")), depth + 1));
  if (all)
    for (const JsonValue& part : all->as_array("JSON schema: allOf"))
      rest = merge(rest, flatten(part, depth + 1));
  return flatten(rest, depth + 1);
}

bool SchemaDocument::disjoint(const JsonValue& left, const JsonValue& right) const {
  const JsonValue a = flatten(left);
  const JsonValue b = flatten(right);
  if (!a.is_object() || !b.is_object()) return false;
  JsonValue a_storage;
  JsonValue b_storage;
  const JsonValue* a_constants = schema_constants(a, a_storage);
  const JsonValue* b_constants = schema_constants(b, b_storage);
  if (a_constants && b_constants)
    return common_constants(*a_constants, *b_constants).as_array("").empty();
  const auto types_of = [](const JsonValue& schema, const JsonValue* constants) {
    if (!constants) return schema.find("type") ? schema_types(schema) : Strings{};
    Strings out;
    for (const JsonValue& value : constants->as_array("JSON schema: enum"))
      out.push_back(json_type(value));
    return out;
  };
  const Strings a_types = types_of(a, a_constants);
  const Strings b_types = types_of(b, b_constants);
  const bool share = std::any_of(a_types.begin(), a_types.end(), [&](const std::string& x) {
    return std::any_of(b_types.begin(), b_types.end(),
                       [&](const std::string& y) { return type_fits(x, y) || type_fits(y, x); });
  });
  if (!a_types.empty() && !b_types.empty() && !share) return true;
  if (a_types != Strings{"object"} || b_types != Strings{"object"}) return false;
  const auto required = [](const JsonValue& schema, const std::string& name) {
    const JsonValue* list = schema.find("required");
    if (!list) return false;
    const auto& names = list->as_array("JSON schema: required");
    return std::any_of(names.begin(), names.end(), [&](const JsonValue& item) {
      return item.is_string() && item.as_string("") == name;
    });
  };
  const auto forbids = [](const JsonValue& schema, const std::string& name) {
    const JsonValue* extra = schema.find("additionalProperties");
    const JsonValue* properties = schema.find("properties");
    return extra && extra->is_bool() && !extra->as_bool("") &&
           !(properties && properties->find(name));
  };
  const JsonValue* a_properties = a.find("properties");
  const JsonValue* b_properties = b.find("properties");
  for (const auto& [from, to] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    const JsonValue* names = from->find("required");
    if (!names) continue;
    for (const JsonValue& name : names->as_array("JSON schema: required"))
      if (name.is_string() && forbids(*to, name.as_string(""))) return true;
  }
  if (!a_properties || !b_properties) return false;
  for (const auto& [name, schema] : a_properties->as_object("JSON schema: properties")) {
    const JsonValue* other = b_properties->find(name);
    if (other && required(a, name) && required(b, name) && schema.is_object() &&
        disjoint(schema, *other))
      return true;
  }
  return false;
}

}  // namespace onnuri
