// JSON schemas to grammars of the JSON texts that they accept.
//
// Members come in the order of the schema; members that it does not declare only where
// additionalProperties says so. Everything that comes out is valid; not everything that is valid
// can come out (one spelling of a number, at most a line break and an indent between two tokens).
#include <algorithm>
#include <cmath>
#include <map>

#include "core/check.h"
#include "fusion/grammar.h"
#include "fusion/grammar_numbers.h"
#include "fusion/json_schema.h"

namespace onnuri {
namespace {

constexpr int kMaxDepth = 100;
constexpr int64_t kMaxIndent = 24;

const char* format_pattern(const std::string& format) {
  static const std::map<std::string, const char*> kPatterns = {
      {"date",
       "^(19|20)[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|"
       "(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))$"},
      {"time",
       "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-"
       "9])$"},
      {"date-time",
       "^(19|20)[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|"
       "30)|"
       "02-(0[1-9]|1[0-9]|2[0-8]))T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
       "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"},
      {"duration", "^P([0-9]{1,4}D(T[0-9]{1,2}H)?|T[0-9]{1,3}(H|M|S)|[0-9]{1,3}W)$"},
      {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"},
      {"ipv4",
       "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}"
       "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"},
      {"ipv6", "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
      {"hostname", "^[a-z]([a-z0-9]|-[a-z0-9]){0,20}(\\.[a-z]([a-z0-9]|-[a-z0-9]){0,20}){0,4}$"},
      {"email",
       "^[A-Za-z0-9]([A-Za-z0-9_+-]|\\.[A-Za-z0-9_+-]){0,40}@[a-z]([a-z0-9]|-[a-z0-9]){0,20}"
       "(\\.[a-z]([a-z0-9]|-[a-z0-9]){0,10}){0,2}\\.[a-z]{2,10}$"},
      {"uri",
       "^https?://[a-z]([a-z0-9]|-[a-z0-9]){0,20}(\\.[a-z]([a-z0-9]|-[a-z0-9]){0,10}){0,3}"
       "(/[A-Za-z0-9._~-]{0,40}){0,8}$"},
  };
  const auto it = kPatterns.find(format);
  return it == kPatterns.end() ? nullptr : it->second;
}

class SchemaReader {
 public:
  explicit SchemaReader(JsonValue root) : document_(std::move(root)) {}

  Grammar read() {
    value_rule_ = g_.add_rule("value");
    string_rule_ = g_.add_rule("string");
    define_basics();
    g_.set_root(reference("#"));
    return std::move(g_);
  }

 private:
  // ---- Pieces of JSON ----

  Expr gap() {
    return g_.optional(
        g_.choice({g_.literal(" "),
                   g_.sequence({g_.literal("\n"), g_.repeat(g_.literal(" "), 0, kMaxIndent)})}));
  }
  Expr colon() { return g_.sequence({g_.literal(":"), g_.optional(g_.literal(" "))}); }
  Expr comma() { return g_.sequence({g_.literal(","), gap()}); }

  Expr plain_chars(const CharSet& without = {}) {
    CharSet special(0, 0x1F);
    special.add('"', '"');
    special.add('\\', '\\');
    special.add(without);
    return g_.chars(special.complement());
  }

  // One character of a string in any spelling; a pair of surrogates is one character.
  Expr string_char() {
    const Expr digit = g_.byte_range('0', '9');
    const auto range = [&](char low, char high) {
      return g_.byte_range(static_cast<uint8_t>(low), static_cast<uint8_t>(high));
    };
    const Expr hex = g_.choice({digit, range('a', 'f'), range('A', 'F')});
    const Expr not_d =
        g_.choice({digit, range('a', 'c'), range('A', 'C'), range('e', 'f'), range('E', 'F')});
    const Expr d = g_.choice({g_.literal("d"), g_.literal("D")});
    const Expr upper = g_.choice({range('8', '9'), range('a', 'b'), range('A', 'B')});
    const Expr lower = g_.choice({range('c', 'f'), range('C', 'F')});
    const Expr unit =
        g_.choice({g_.sequence({not_d, hex, hex, hex}), g_.sequence({d, range('0', '7'), hex, hex}),
                   g_.sequence({d, upper, hex, hex, g_.literal("\\u"), d, lower, hex, hex})});
    std::vector<Expr> escapes;
    for (const char c : std::string_view("\"\\/bfnrt")) escapes.push_back(g_.literal({&c, 1}));
    escapes.push_back(g_.sequence({g_.literal("u"), unit}));
    return g_.choice({plain_chars(), g_.sequence({g_.literal("\\"), g_.choice(escapes)})});
  }

  Expr quoted(Expr content) { return g_.sequence({g_.literal("\""), content, g_.literal("\"")}); }

  Expr object(std::vector<Expr> inside) {
    return g_.sequence(
        {g_.literal("{"), gap(), g_.sequence(std::move(inside)), gap(), g_.literal("}")});
  }
  Expr empty_object() { return g_.literal("{}"); }

  void define_basics() {
    char_ = string_char();
    g_.define(string_rule_, quoted(g_.repeat(char_, 0, -1)));
    const Expr value = g_.call(value_rule_);
    const Expr pair = g_.sequence({g_.call(string_rule_), colon(), value});
    const auto list = [&](Expr item) {
      return g_.sequence({item, g_.repeat(g_.sequence({comma(), item}), 0, -1)});
    };
    g_.define(
        value_rule_,
        g_.choice({g_.call(string_rule_), number_expr(g_, {}), g_.literal("true"),
                   g_.literal("false"), g_.literal("null"), empty_object(), object({list(pair)}),
                   g_.literal("[]"),
                   g_.sequence({g_.literal("["), gap(), list(value), gap(), g_.literal("]")})}));
  }

  // ---- Schemas ----

  Expr reference(const std::string& path) {
    const auto it = rules_.find(path);
    if (it != rules_.end()) return g_.call(it->second);
    const int32_t rule = rules_[path] = g_.add_rule(path);
    g_.define(rule, schema(document_.resolve(path)));
    return g_.call(rule);
  }

  Expr schema(const JsonValue& given) {
    if (given.is_bool()) return given.as_bool("") ? g_.call(value_rule_) : g_.nothing();
    if (!given.is_object())
      fail(ErrorCode::kInvalidArgument, "expected an object or a boolean as JSON schema, found ",
           given.dump().substr(0, 40));
    if (++depth_ > kMaxDepth)
      fail(ErrorCode::kUnsupported, "expected a JSON schema at most ", kMaxDepth,
           " deep, found a deeper one");
    const Expr out = object_schema(given);
    --depth_;
    return out;
  }

  static bool only_annotations_beside(const JsonValue& schema, const std::string& key) {
    const auto& members = schema.as_object("JSON schema");
    return std::all_of(members.begin(), members.end(), [&](const auto& member) {
      return member.first == key || is_annotation(member.first);
    });
  }

  Expr object_schema(const JsonValue& given) {
    if (const JsonValue* ref = given.find("$ref"); ref && only_annotations_beside(given, "$ref"))
      return reference(ref->as_string("JSON schema: $ref"));
    const JsonValue flat = document_.flatten(given);
    if (!flat.is_object()) return schema(flat);
    check_schema_keywords(flat);
    for (const char* key : {"anyOf", "oneOf"})
      if (const JsonValue* branches = flat.find(key)) return alternatives(flat, key, *branches);
    JsonValue storage;
    if (const JsonValue* constants = schema_constants(flat, storage))
      return constant(flat, *constants);
    std::vector<std::string> types = schema_types(flat);
    if (types.empty()) {
      if (const JsonValue* type = flat.find("type"); type) return g_.nothing();
      return g_.call(value_rule_);
    }
    std::vector<Expr> options;
    for (const std::string& type : types) {
      // Whole numbers are numbers already.
      if (type == "integer" && std::find(types.begin(), types.end(), "number") != types.end())
        continue;
      options.push_back(typed(flat, type));
    }
    return g_.choice(std::move(options));
  }

  Expr alternatives(const JsonValue& flat, const std::string& key, const JsonValue& branches) {
    JsonValue rest{JsonValue::Object{}};
    for (const auto& [name, value] : flat.as_object("JSON schema"))
      if (name != key) rest.set(name, value);
    const auto& list = branches.as_array("JSON schema: " + key);
    if (list.empty())
      fail(ErrorCode::kInvalidArgument, "expected branches at \"", key,
           "\" of the JSON schema, found none");
    const bool alone = only_annotations_beside(flat, key);
    std::vector<Expr> options;
    for (size_t i = 0; i < list.size(); ++i) {
      for (size_t j = 0; key == "oneOf" && j < i; ++j)
        if (!document_.disjoint(alone ? list[i] : document_.merge(rest, list[i]),
                                alone ? list[j] : document_.merge(rest, list[j])))
          fail(ErrorCode::kUnsupported,
               "expected branches of \"oneOf\" that exclude one another (by type, "
               "by a required constant, or by members), found branches ",
               j, " and ", i, " that may overlap: use \"anyOf\"");
      options.push_back(alone ? schema(list[i]) : schema(document_.merge(rest, list[i])));
    }
    return g_.choice(std::move(options));
  }

  Expr constant(const JsonValue& flat, const JsonValue& constants) {
    static const char* const kChecked[] = {"minLength",
                                           "maxLength",
                                           "minimum",
                                           "maximum",
                                           "pattern",
                                           "exclusiveMinimum",
                                           "exclusiveMaximum",
                                           "multipleOf",
                                           "properties",
                                           "required",
                                           "items",
                                           "minItems",
                                           "maxItems",
                                           "minProperties",
                                           "maxProperties",
                                           "additionalProperties"};
    for (const char* key : kChecked)
      if (flat.find(key))
        fail(ErrorCode::kUnsupported, "expected no \"", key,
             "\" beside constants in the JSON schema");
    const std::vector<std::string> types = schema_types(flat);
    std::vector<Expr> options;
    for (const JsonValue& value : constants.as_array("JSON schema: enum")) {
      const std::string type = json_type(value);
      const bool fits = !flat.find("type") ||
                        std::any_of(types.begin(), types.end(),
                                    [&](const std::string& t) { return type_fits(type, t); });
      if (fits) options.push_back(g_.literal(value.dump()));
    }
    return g_.choice(std::move(options));
  }

  Expr typed(const JsonValue& flat, const std::string& type) {
    if (type == "null") return g_.literal("null");
    if (type == "boolean") return g_.choice({g_.literal("true"), g_.literal("false")});
    if (type == "integer") return integer(flat);
    if (type == "number") return number(flat);
    if (type == "string") return quoted_string(flat);
    return type == "array" ? array(flat) : members(flat);
  }

  // ---- Numbers ----

  static std::optional<double> bound(const JsonValue& flat, const char* key) {
    const JsonValue* value = flat.find(key);
    if (!value) return std::nullopt;
    return value->as_double(std::string("JSON schema: ") + key);
  }

  /// One side of a range: the value that bounds it, or null.
  struct Side {
    const JsonValue* value = nullptr;
    bool exclusive = false;
  };

  // With the draft-4 spelling, where exclusiveMinimum is a flag.
  static Side side(const JsonValue& flat, bool is_low) {
    const std::string name = is_low ? "minimum" : "maximum";
    const std::string strict = is_low ? "exclusiveMinimum" : "exclusiveMaximum";
    Side out{flat.find(name), false};
    const JsonValue* found = flat.find(strict);
    if (!found) return out;
    if (found->is_bool()) {
      out.exclusive = found->as_bool("");
      return out;
    }
    if (out.value) {
      const int order = compare_numbers(*out.value, *found, "JSON schema: " + strict);
      if (is_low ? order > 0 : order < 0) return out;
    }
    return {found, true};
  }

  static NumberBounds bounds(const JsonValue& flat) {
    const Side low = side(flat, true);
    const Side high = side(flat, false);
    NumberBounds out;
    if (low.value) out.low = low.value->as_double("JSON schema: minimum");
    if (high.value) out.high = high.value->as_double("JSON schema: maximum");
    out.low_exclusive = low.exclusive;
    out.high_exclusive = high.exclusive;
    return out;
  }

  // The outermost whole number inside a side; null where every int64 is.
  static std::optional<int64_t> whole(const Side& side, bool is_low) {
    if (!side.value) return std::nullopt;
    constexpr double kEnd = 9.2e18;
    const double bound =
        side.value->as_double(is_low ? "JSON schema: minimum" : "JSON schema: maximum");
    if (is_low ? bound < -kEnd : bound > kEnd) return std::nullopt;
    if (is_low ? bound > kEnd : bound < -kEnd)
      fail(ErrorCode::kUnsupported,
           "expected bounds of integers within -9.2e18 and 9.2e18 in the JSON schema, found ",
           bound);
    const int64_t step = is_low ? 1 : -1;
    if (side.value->is_int()) return side.value->as_int("") + (side.exclusive ? step : 0);
    const double x = is_low ? std::ceil(bound) : std::floor(bound);
    return static_cast<int64_t>(x) + (side.exclusive && x == bound ? step : 0);
  }

  Expr integer(const JsonValue& flat) {
    const std::optional<int64_t> low = whole(side(flat, true), true);
    const std::optional<int64_t> high = whole(side(flat, false), false);
    if (low && high && *low > *high) return g_.nothing();
    const std::optional<double> step = bound(flat, "multipleOf");
    if (!step || *step == 1.0) return integer_expr(g_, low, high);
    constexpr double kMaxListed = 10000;
    constexpr double kMaxStep = 1e15;
    if (*step < 1 || *step != std::floor(*step) || *step > kMaxStep || !low || !high ||
        (static_cast<double>(*high) - static_cast<double>(*low)) / *step > kMaxListed)
      fail(ErrorCode::kUnsupported,
           "expected \"multipleOf\" as a whole number between bounds with at most ", kMaxListed,
           " multiples in the JSON schema, found another one");
    const auto n = static_cast<int64_t>(*step);
    std::vector<Expr> options;
    // Bounds and step leave room for one step more in an int64.
    int64_t value = *low / n * n;
    if (value < *low) value += n;
    for (; value <= *high; value += n) options.push_back(g_.literal(std::to_string(value)));
    return g_.choice(std::move(options));
  }

  Expr number(const JsonValue& flat) {
    if (const std::optional<double> step = bound(flat, "multipleOf")) {
      if (*step == std::floor(*step)) return integer(flat);
      fail(ErrorCode::kUnsupported,
           "expected \"multipleOf\" as a whole number in the JSON schema, found ", *step);
    }
    return number_expr(g_, bounds(flat));
  }

  // ---- Strings ----

  static int64_t count(const JsonValue& flat, const char* key, int64_t missing) {
    const JsonValue* value = flat.find(key);
    if (!value) return missing;
    const int64_t n = value->as_int(std::string("JSON schema: ") + key);
    if (n < 0) fail(ErrorCode::kInvalidArgument, "expected ", key, " of at least 0, found ", n);
    return n;
  }

  Expr quoted_string(const JsonValue& flat) {
    const int64_t low = count(flat, "minLength", 0);
    const int64_t high = count(flat, "maxLength", -1);
    if (high >= 0 && high < low) return g_.nothing();
    std::vector<Expr> contents;
    if (const JsonValue* pattern = flat.find("pattern"))
      contents.push_back(
          regex_expr(g_, pattern->as_string("JSON schema: pattern"), Spelling::kJsonString, true));
    if (const JsonValue* format = flat.find("format"); format && format->is_string())
      if (const char* pattern = format_pattern(format->as_string("")))
        contents.push_back(regex_expr(g_, pattern, Spelling::kJsonString, true));
    if (contents.empty() && low == 0 && high < 0) return g_.call(string_rule_);
    if (contents.empty() || low > 0 || high >= 0) contents.push_back(g_.repeat(char_, low, high));
    Expr content = contents[0];
    for (size_t i = 1; i < contents.size(); ++i) content = g_.both(content, contents[i]);
    return quoted(content);
  }

  // ---- Arrays ----

  Expr array(const JsonValue& flat) {
    const JsonValue* prefix = flat.find("prefixItems");
    const JsonValue* items = flat.find("items");
    if (items && items->is_array()) std::swap(prefix, items);  // older drafts
    std::vector<Expr> first;
    if (prefix)
      for (const JsonValue& item : prefix->as_array("JSON schema: prefixItems"))
        first.push_back(schema(item));
    const auto given = static_cast<int64_t>(first.size());
    const int64_t low = count(flat, "minItems", 0);
    int64_t high = count(flat, "maxItems", -1);
    const bool closed = items && items->is_bool() && !items->as_bool("");
    if (closed && (high < 0 || high > given)) high = given;
    if (high >= 0 && high < low) return g_.nothing();
    // From the last possible element to the first: what may follow `i` elements.
    const Expr more = closed ? g_.nothing() : items ? schema(*items) : g_.call(value_rule_);
    const Expr next = g_.sequence({comma(), more});
    const int64_t fixed = high >= 0 ? std::min(given, high) : given;
    const auto rest = [&](int64_t have) {  // after `have` >= fixed elements
      const int64_t from = std::max<int64_t>(low - have, 0);
      if (high >= 0 && high == have) return g_.empty();
      return g_.repeat(next, from, high < 0 ? -1 : high - have);
    };
    Expr tail;
    if (fixed > 0) {
      tail = rest(fixed);
      for (int64_t i = fixed - 1; i > 0; --i) {
        const Expr step = g_.sequence({comma(), first[static_cast<size_t>(i)], tail});
        tail = low <= i ? g_.optional(step) : step;
      }
      tail = g_.sequence({first[0], tail});
    } else if (high == 0) {
      return g_.literal("[]");
    } else {
      tail = g_.sequence({more, rest(1)});
    }
    const Expr filled = g_.sequence({g_.literal("["), gap(), tail, gap(), g_.literal("]")});
    return low == 0 ? g_.choice({g_.literal("[]"), filled}) : filled;
  }

  // ---- Objects ----

  struct Member {
    std::string name;
    Expr pair = -1;
    bool required = false;
  };

  // A key that is none of `names`, without escapes.
  Expr other_key(const std::vector<std::string>& names, size_t pos) {
    std::map<unsigned char, std::vector<std::string>> next;
    bool ends = false;
    for (const std::string& name : names) {
      if (name.size() == pos)
        ends = true;
      else
        next[static_cast<unsigned char>(name[pos])].push_back(name);
    }
    CharSet taken;
    for (const auto& [byte, group] : next) taken.add(byte, byte);
    taken.add(0x80, 0x10FFFF);  // names of other letters differ in bytes; keep to ASCII here
    CharSet ascii(0x20, 0x7E);
    std::vector<Expr> options;
    const CharSet free = ascii.without(taken);
    options.push_back(
        g_.sequence({plain_chars(free.complement()), g_.repeat(plain_chars(), 0, -1)}));
    for (const auto& [byte, group] : next) {
      if (byte < 0x20 || byte >= 0x7F || byte == '"' || byte == '\\') continue;
      const char c = static_cast<char>(byte);
      options.push_back(g_.sequence({g_.literal({&c, 1}), other_key(group, pos + 1)}));
    }
    if (!ends) options.push_back(g_.empty());
    return g_.choice(std::move(options));
  }

  // A pair that the schema does not declare; nothing when there may be none.
  std::optional<Expr> additional_pair(const JsonValue& flat,
                                      const std::vector<std::string>& names) {
    const JsonValue* extra = flat.find("additionalProperties");
    const JsonValue* key_schema = flat.find("propertyNames");
    const bool declared = !names.empty();
    if (!extra && declared) return std::nullopt;  // allowed, but never asked for
    if (const JsonValue* open = flat.find("unevaluatedProperties");
        !extra && open && open->is_bool() && !open->as_bool(""))
      return std::nullopt;
    if (extra && extra->is_bool() && !extra->as_bool("")) return std::nullopt;
    Expr key = declared ? quoted(other_key(names, 0)) : g_.call(string_rule_);
    if (key_schema && key_schema->is_object()) {
      JsonValue of_string = document_.flatten(*key_schema);
      of_string.set("type", "string");
      const Expr allowed = schema(of_string);
      key = declared ? g_.both(key, allowed) : allowed;
    }
    const Expr value = extra ? schema(*extra) : g_.call(value_rule_);
    return g_.sequence({key, colon(), value});
  }

  Expr members(const JsonValue& flat) {
    std::vector<Member> list;
    std::vector<std::string> names;
    if (const JsonValue* properties = flat.find("properties")) {
      for (const auto& [name, sub] : properties->as_object("JSON schema: properties")) {
        names.push_back(name);
        list.push_back(
            {name, g_.sequence({g_.literal(JsonValue(name).dump()), colon(), schema(sub)}), false});
      }
    }
    if (const JsonValue* required = flat.find("required")) {
      for (const JsonValue& item : required->as_array("JSON schema: required")) {
        const std::string& name = item.as_string("JSON schema: required");
        const auto it =
            std::find_if(list.begin(), list.end(), [&](const Member& m) { return m.name == name; });
        if (it != list.end()) {
          it->required = true;
          continue;
        }
        const JsonValue* extra = flat.find("additionalProperties");
        const Expr value = extra ? schema(*extra) : g_.call(value_rule_);
        names.push_back(name);
        list.push_back(
            {name, g_.sequence({g_.literal(JsonValue(name).dump()), colon(), value}), true});
      }
    }
    return member_list(flat, list, additional_pair(flat, names));
  }

  // Declared members in order, then others: one rule for each (next member, number so far).
  Expr member_list(const JsonValue& flat, const std::vector<Member>& list,
                   std::optional<Expr> extra) {
    const int64_t low = count(flat, "minProperties", 0);
    const int64_t high = count(flat, "maxProperties", -1);
    const auto size = static_cast<int64_t>(list.size());
    constexpr int64_t kMaxRules = 200000;
    // Beyond `cap` the number makes no difference.
    const int64_t cap = high >= 0 ? std::min(high, size)
                                  : std::min(std::max<int64_t>(low, 1), std::max<int64_t>(size, 1));
    if ((cap + 1) * (size + 1) > kMaxRules)
      fail(ErrorCode::kUnsupported,
           "expected an object with fewer members in the JSON schema, found ", size,
           " with a bound on their number");
    std::vector<Expr> after(static_cast<size_t>(cap) +
                            1);  // what follows member i, by number so far
    for (int64_t have = 0; have <= cap; ++have)
      after[static_cast<size_t>(have)] = tail(have, low, high, extra);
    for (int64_t i = size - 1; i >= 0; --i) {
      const Member& member = list[static_cast<size_t>(i)];
      std::vector<Expr> before(after.size());
      for (int64_t have = 0; have <= cap; ++have) {
        std::vector<Expr> options;
        const bool room = high < 0 || have < high;
        if (room) {
          const int64_t now = std::min(have + 1, cap);
          std::vector<Expr> parts;
          if (have > 0) parts.push_back(comma());
          parts.push_back(member.pair);
          parts.push_back(after[static_cast<size_t>(now)]);
          options.push_back(g_.sequence(std::move(parts)));
        }
        if (!member.required) options.push_back(after[static_cast<size_t>(have)]);
        const int32_t rule = g_.add_rule(member.name);
        g_.define(rule, g_.choice(std::move(options)));
        before[static_cast<size_t>(have)] = g_.call(rule);
      }
      after = std::move(before);
    }
    // An object without members has no room for a line break.
    const bool may_be_empty = low == 0 && std::none_of(list.begin(), list.end(),
                                                       [](const Member& m) { return m.required; });
    const Expr inside = g_.sequence({g_.literal("{"), gap(), after[0], gap(), g_.literal("}")});
    return may_be_empty ? g_.choice({empty_object(), inside}) : inside;
  }

  Expr tail(int64_t have, int64_t low, int64_t high, std::optional<Expr> extra) {
    if (!extra || (high >= 0 && have >= high)) return have >= low ? g_.empty() : g_.nothing();
    // Keys of others might repeat, so only one of them counts towards the minimum.
    if (have + 1 < low) return g_.nothing();
    const int64_t room = high < 0 ? -1 : high - have;
    const Expr more = g_.sequence({comma(), *extra});
    Expr others;
    if (have > 0) {
      others = g_.repeat(more, have < low ? 1 : 0, room);
    } else {
      others = g_.sequence({*extra, g_.repeat(more, 0, room < 0 ? -1 : room - 1)});
      if (low == 0) others = g_.optional(others);
    }
    return others;
  }

  SchemaDocument document_;
  Grammar g_;
  int32_t value_rule_ = -1;
  int32_t string_rule_ = -1;
  Expr char_ = -1;
  int depth_ = 0;
  std::map<std::string, int32_t> rules_;  // by reference
};

}  // namespace

Grammar grammar_from_json_schema(const std::string& schema) {
  JsonLimits limits;
  limits.max_bytes = size_t{1} << 20;
  limits.max_depth = 120;
  return SchemaReader(parse_json(schema, "the JSON schema", limits)).read();
}

}  // namespace onnuri
