// Filters of templates that work on collections. Behaviour follows Jinja's documentation; `tojson`
// follows transformers (non-ASCII kept, nothing escaped for HTML).
#include "fusion/jinja_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/check.h"
#include "fusion/jinja_text.h"
#include "fusion/utf8.h"

namespace onnuri::jinja {

namespace {

const std::string kComma = ",";

Value text(std::string s) { return Value::string(std::move(s)); }
// Python computes the items of a generator when they are asked for: an error in one of them must
// not show before.
template <typename Make>
Value generator(const Make& make) {
  List items;
  std::exception_ptr error;
  try {
    make(items);
  } catch (const Error&) {
    error = std::current_exception();
  }
  return Value::generator(std::move(items), std::move(error));
}

// A dotted path such as "function.name", or a number.
Value path(Interpreter& in, Value value, const Value& attribute) {
  if (!attribute.is_string()) return in.subscript(value, attribute);
  std::string_view rest = attribute.as_string();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    int64_t index = 0;
    const auto end = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = end.ec == std::errc() && end.ptr == part.data() + part.size();
    value = in.subscript(value, number ? Value::integer(index) : text(part));
    if (dot == rest.npos) return value;
    rest.remove_prefix(dot + 1);
  }
}

// The sort key of Jinja: strings without case unless asked.
Value sort_key(Interpreter& in, const Value& item, const Value& attribute, bool case_sensitive) {
  Value key = attribute.is_none() ? item : path(in, item, attribute);
  return key.is_string() && !case_sensitive ? text(utf8::lower(key.as_string())) : key;
}

Value tojson(Interpreter& in, const Value& v, const Args& args) {
  const Value indent = args.get(1, "indent", Value::none());
  const Value separators = args.get(2, "separators", Value::none());
  const bool pretty = indent.is_integral();
  if (pretty && (indent.as_int() < 0 || indent.as_int() > 64)) in.error("indent out of range");
  std::string item = pretty ? "," : ", ";
  std::string key = ": ";
  if (separators.is_sequence() && separators.as_list().size() == 2) {
    item = separators.as_list()[0].str();
    key = separators.as_list()[1].str();
  }
  std::string out = to_json(v, pretty ? static_cast<int>(indent.as_int()) : -1, item, key,
                            args.get(3, "sort_keys", Value::boolean(false)).truth(),
                            args.get(0, "ensure_ascii", Value::boolean(false)).truth());
  in.charge(out.size());
  return text(std::move(out));
}

Value default_value(Interpreter&, const Value& v, const Args& args) {
  const bool by_truth = args.get(1, "boolean", Value::boolean(false)).truth();
  if (v.is_undefined() || (by_truth && !v.truth())) return args.get(0, "default_value", text(""));
  return v;
}

Value length(Interpreter& in, const Value& v, const Args&) {
  if (v.is_string()) return Value::integer(static_cast<int64_t>(utf8::count(v.as_string())));
  if (v.is_sequence() || (v.is_view() && !v.is_generator()))
    return Value::integer(static_cast<int64_t>(v.as_list().size()));
  if (v.is_dict()) return Value::integer(static_cast<int64_t>(v.as_dict().size()));
  if (v.is_undefined()) return Value::integer(0);
  in.error("expected something with a length, found " + std::string(v.type_name()));
}

// One part that is safe for HTML makes the whole so, the others being escaped.
Value join_escaped(Interpreter& in, const Value& v, const Value& between, const Value& attribute) {
  List items;
  bool markup = between.is_markup();
  for (const Value& item : in.iterate(v)) {
    items.push_back(attribute.is_none() ? item : path(in, item, attribute));
    markup = markup || items.back().is_markup();
  }
  const auto shown = [&](const Value& part) {
    return markup ? apply_filter(in, "escape", part, {}).as_string() : part.str();
  };
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string piece = (i > 0 ? shown(between) : std::string()) + shown(items[i]);
    in.charge(piece.size());
    out += piece;
  }
  return markup ? Value::markup(std::move(out)) : text(std::move(out));
}

Value join(Interpreter& in, const Value& v, const Args& args) {
  const std::string between = args.get(0, "d", text("")).str();
  const Value attribute = args.get(1, "attribute", Value::none());
  if (in.escapes()) return join_escaped(in, v, args.get(0, "d", text("")), attribute);
  std::string out;
  bool first = true;
  for (const Value& item : in.iterate(v)) {
    const std::string piece = (attribute.is_none() ? item : path(in, item, attribute)).str();
    in.charge(piece.size() + between.size());
    if (!first) out += between;
    first = false;
    out += piece;
  }
  return text(std::move(out));
}

Value map(Interpreter& in, const Value& v, const Args& args) {
  const Value* attribute = nullptr;
  const Value* fallback = nullptr;
  for (const auto& [name, value] : args.named) {
    if (name == "attribute") attribute = &value;
    if (name == "default") fallback = &value;
  }
  return generator([&](List& out) {
    for (const Value& item : v.truth() ? in.iterate(v) : List()) {
      in.charge(sizeof(Value));
      if (attribute != nullptr) {
        Value got = path(in, item, *attribute);
        out.push_back(got.is_undefined() && fallback != nullptr ? *fallback : std::move(got));
        continue;
      }
      if (args.positional.empty()) in.error("map needs a filter or an attribute");
      Args rest;
      rest.positional.assign(args.positional.begin() + 1, args.positional.end());
      rest.named = args.named;
      out.push_back(apply_filter(in, args.positional[0].str(), item, rest));
    }
  });
}

void add_selected(Interpreter& in, const Value& v, const Args& args, bool by_attribute, bool keep,
                  List& out) {
  const size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && args.positional.empty()) in.error("expected the name of an attribute");
  Args rest;
  if (args.positional.size() > skip + 1)
    rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(skip) + 1,
                           args.positional.end());
  for (const Value& item : v.truth() ? in.iterate(v) : List()) {
    in.charge(sizeof(Value));
    const Value subject = by_attribute ? path(in, item, args.positional[0]) : item;
    const bool holds = args.positional.size() > skip
                           ? apply_test(in, args.positional[skip].str(), subject, rest)
                           : subject.truth();
    if (holds == keep) out.push_back(item);
  }
}

template <bool kByAttribute, bool kKeep>
Value select(Interpreter& in, const Value& v, const Args& args) {
  return generator([&](List& out) { add_selected(in, v, args, kByAttribute, kKeep, out); });
}

Value first(Interpreter& in, const Value& v, const Args&) {
  if (v.is_generator()) return v.take_first().value_or(Value::undefined("first"));
  const List items = in.iterate(v);
  return items.empty() ? Value::undefined("first") : items.front();
}
Value last(Interpreter& in, const Value& v, const Args&) {
  if (v.is_generator()) in.error("expected something with an end, found a generator");
  const List items = in.iterate(v);
  return items.empty() ? Value::undefined("last") : items.back();
}
Value list(Interpreter& in, const Value& v, const Args&) { return Value::list(in.iterate(v)); }

Value items(Interpreter& in, const Value& v, const Args&) {
  return generator([&](List& out) {
    if (v.is_undefined()) return;
    if (!v.is_dict()) in.error("expected a mapping, found " + std::string(v.type_name()));
    for (const auto& [key, value] : v.as_dict()) out.push_back(Value::tuple({key, value}));
  });
}

Value dictsort(Interpreter& in, const Value& v, const Args& args) {
  const bool case_sensitive = args.get(0, "case_sensitive", Value::boolean(false)).truth();
  const bool by_value = args.get(1, "by", text("key")).str() == "value";
  const bool reverse = args.get(2, "reverse", Value::boolean(false)).truth();
  if (v.is_undefined()) in.error("\"" + v.undefined_name() + "\" is undefined");
  List out = in.iterate(items(in, v, {}));
  const auto key = [&](const Value& pair) {
    return sort_key(in, pair.as_list()[by_value ? 1 : 0], Value::none(), case_sensitive);
  };
  std::stable_sort(out.begin(), out.end(), [&](const Value& a, const Value& b) {
    in.step();
    const int order = compare(key(a), key(b));
    return reverse ? order > 0 : order < 0;
  });
  return Value::list(std::move(out));
}

// The keys are lists of one or, for "a,b", several attributes.
Value sort(Interpreter& in, const Value& v, const Args& args) {
  const bool reverse = args.get(0, "reverse", Value::boolean(false)).truth();
  const bool case_sensitive = args.get(1, "case_sensitive", Value::boolean(false)).truth();
  const Value attribute = args.get(2, "attribute", Value::none());
  List attributes = {attribute};
  if (attribute.is_string()) attributes = split(in, attribute.as_string(), &kComma, -1, false);
  const auto key = [&](const Value& item) {
    List keys;
    for (const Value& one : attributes) keys.push_back(sort_key(in, item, one, case_sensitive));
    return Value::list(std::move(keys));
  };
  List out = in.iterate(v);
  std::stable_sort(out.begin(), out.end(), [&](const Value& a, const Value& b) {
    in.step(attributes.size());
    const int order = compare(key(a), key(b));
    return reverse ? order > 0 : order < 0;
  });
  return Value::list(std::move(out));
}

Value unique(Interpreter& in, const Value& v, const Args& args) {
  const bool case_sensitive = args.get(0, "case_sensitive", Value::boolean(false)).truth();
  const Value attribute = args.get(1, "attribute", Value::none());
  return generator([&](List& out) {
    List seen;
    for (const Value& item : in.iterate(v)) {
      Value key = sort_key(in, item, attribute, case_sensitive);
      in.require_hashable(key);
      in.step(seen.size());
      if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equals(s, key); }))
        continue;
      seen.push_back(std::move(key));
      out.push_back(item);
    }
  });
}

// Items with the same key, in the order of the keys.
Value groupby(Interpreter& in, const Value& v, const Args& args) {
  const Value attribute = args.get(0, "attribute", Value::none());
  const Value fallback = args.get(1, "default", Value::none());
  const bool case_sensitive = args.get(2, "case_sensitive", Value::boolean(false)).truth();
  if (attribute.is_none()) in.error("groupby needs an attribute");
  const auto key = [&](const Value& item) {
    Value got = path(in, item, attribute);
    return got.is_undefined() && !fallback.is_none() ? fallback : got;
  };
  const auto folded = [&](const Value& item) {
    return sort_key(in, key(item), Value::none(), case_sensitive);
  };
  List all = in.iterate(v);
  std::stable_sort(all.begin(), all.end(), [&](const Value& a, const Value& b) {
    in.step();
    return compare(folded(a), folded(b)) < 0;
  });
  in.charge(all.size() * sizeof(Value));
  List out;
  for (size_t i = 0; i < all.size();) {
    List same = {all[i]};
    const Value now = folded(all[i]);
    for (++i; i < all.size() && equals(folded(all[i]), now); ++i) same.push_back(all[i]);
    Value name = key(same.front());
    out.push_back(Value::group(std::move(name), std::move(same)));
  }
  return Value::list(std::move(out));
}

Value extreme(Interpreter& in, const Value& v, const Args& args, int sign) {
  const bool case_sensitive = args.get(0, "case_sensitive", Value::boolean(false)).truth();
  const Value attribute = args.get(1, "attribute", Value::none());
  Value best = Value::undefined("max");
  for (const Value& item : in.iterate(v)) {
    if (best.is_undefined() || sign * compare(sort_key(in, item, attribute, case_sensitive),
                                              sort_key(in, best, attribute, case_sensitive)) >
                                   0)
      best = item;
  }
  return best;
}
Value max(Interpreter& in, const Value& v, const Args& a) { return extreme(in, v, a, 1); }
Value min(Interpreter& in, const Value& v, const Args& a) { return extreme(in, v, a, -1); }

Value sum(Interpreter& in, const Value& v, const Args& args) {
  const Value attribute = args.get(0, "attribute", Value::none());
  Value total = args.get(1, "start", Value::integer(0));
  for (const Value& item : in.iterate(v))
    total = in.binary("+", total, attribute.is_none() ? item : path(in, item, attribute));
  return total;
}

Value reverse(Interpreter& in, const Value& v, const Args&) {
  List items = in.iterate(v);
  std::reverse(items.begin(), items.end());
  if (v.is_generator()) return Value::list(std::move(items));
  if (!v.is_string()) return Value::generator(std::move(items));
  std::string out;
  for (const Value& c : items) out += c.as_string();
  return text(std::move(out));
}

int64_t size_argument(Interpreter& in, const Args& args, std::string_view name) {
  const Value count = args.get(0, name, Value::none());
  if (!count.is_integral() || count.as_int() < 1 || count.as_int() > 1'000'000)
    in.error("expected a number of items above zero");
  return count.as_int();
}

// Rows of a given length.
Value batch(Interpreter& in, const Value& v, const Args& args) {
  return generator([&](List& out) {
    const auto size = static_cast<size_t>(size_argument(in, args, "linecount"));
    const Value fill = args.get(1, "fill_with", Value::none());
    List row;
    for (const Value& item : in.iterate(v)) {
      if (row.size() == size) out.push_back(Value::list(std::exchange(row, {})));
      row.push_back(item);
    }
    if (row.empty()) return;
    if (!fill.is_none()) {
      in.charge(size * sizeof(Value));
      row.resize(size, fill);
    }
    out.push_back(Value::list(std::move(row)));
  });
}

// A given number of rows.
Value slice(Interpreter& in, const Value& v, const Args& args) {
  return generator([&](List& out) {
    const List all = in.iterate(v);
    const auto count = static_cast<size_t>(size_argument(in, args, "slices"));
    const Value fill = args.get(1, "fill_with", Value::none());
    in.charge(count * sizeof(Value));
    for (size_t i = 0, begin = 0; i < count; ++i) {
      const bool longer = i < all.size() % count;
      const size_t end = begin + all.size() / count + (longer ? 1 : 0);
      List row(all.begin() + static_cast<ptrdiff_t>(begin),
               all.begin() + static_cast<ptrdiff_t>(end));
      if (!longer && !fill.is_none()) row.push_back(fill);
      out.push_back(Value::list(std::move(row)));
      begin = end;
    }
  });
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"tojson", tojson},
    {"default", default_value},
    {"d", default_value},
    {"length", length},
    {"count", length},
    {"join", join},
    {"map", map},
    {"select", select<false, true>},
    {"reject", select<false, false>},
    {"selectattr", select<true, true>},
    {"rejectattr", select<true, false>},
    {"first", first},
    {"last", last},
    {"list", list},
    {"items", items},
    {"dictsort", dictsort},
    {"sort", sort},
    {"unique", unique},
    {"max", max},
    {"min", min},
    {"sum", sum},
    {"reverse", reverse},
    {"batch", batch},
    {"slice", slice},
    {"groupby", groupby},
};

}  // namespace

Value apply_filter(Interpreter& in, const std::string& name, const Value& input, const Args& args) {
  in.step(1 + (input.is_string() ? input.as_string().size() / kBytesPerStep : 0));
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter(in, input, args);
  }
  if (const Filter filter = find_scalar_filter(name)) return filter(in, input, args);
  fail(ErrorCode::kUnsupported, "expected a filter of the chat template subset, found \"", name,
       "\"");
}

}  // namespace onnuri::jinja
