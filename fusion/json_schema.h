// JSON schemas as data: references, combinations and what a schema says about types.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace onnuri {

/// Resolves references and merges schemas of one document.
class SchemaDocument {
 public:
  explicit SchemaDocument(JsonValue root) : root_(std::move(root)) {}

  const JsonValue& root() const { return root_; }
  /// The schema at a local reference ("#", "#/$defs/name"); others throw kUnsupported.
  const JsonValue& resolve(const std::string& reference) const;
  /// A schema that accepts what both accept. Throws kUnsupported naming a keyword that it cannot
  /// combine.
  JsonValue merge(const JsonValue& a, const JsonValue& b) const;
  /// The schema with its own $ref and allOf merged in; anyOf and oneOf are left.
  JsonValue flatten(const JsonValue& schema, int depth = 0) const;
  /// True when no value satisfies both, as far as types, constants and required members tell.
  bool disjoint(const JsonValue& a, const JsonValue& b) const;

 private:
  JsonValue root_;
  mutable int64_t num_merges_ = 0;  // so far; bounds the work of hostile documents
};

/// Throws kUnsupported for a keyword that would be needed and is not covered.
void check_schema_keywords(const JsonValue& schema);
/// True when a member of a schema only describes.
bool is_annotation(const std::string& key);
/// The values that `type` (or the other keywords) allow, of "string", "number", "integer",
/// "boolean", "null", "array", "object"; empty when nothing says.
std::vector<std::string> schema_types(const JsonValue& schema);
/// -1, 0 or 1; exact between integers. Throws kCorruptData naming `where` for other values.
int compare_numbers(const JsonValue& a, const JsonValue& b, const std::string& where);
/// The type of a value, "integer" for whole numbers, 1.0 among them.
std::string json_type(const JsonValue& value);
/// True when values of `type` are also of type `wanted`.
bool type_fits(const std::string& type, const std::string& wanted);
/// The constants of `const` or `enum`; null when the schema has neither.
const JsonValue* schema_constants(const JsonValue& schema, JsonValue& storage);

}  // namespace onnuri
