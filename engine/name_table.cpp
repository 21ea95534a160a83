#include "engine/name_table.h"

#include <cctype>

namespace onnuri {
namespace {

struct Parsed {
  std::string pattern;
  std::vector<std::string> numbers;
};

// "layers.12.experts.3.up" -> "layers.#.experts.#.up" and {12, 3}.
Parsed parse(const std::string& name) {
  Parsed out;
  size_t begin = 0;
  while (begin <= name.size()) {
    size_t end = name.find('.', begin);
    if (end == std::string::npos) end = name.size();
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    if (begin > 0) out.pattern += '.';
    out.pattern += number ? "#" : part;
    if (number) out.numbers.push_back(part);
    begin = end + 1;
  }
  return out;
}

TensorRef resolve(const StoredName& stored, const std::vector<std::string>& numbers) {
  TensorRef ref;
  size_t next = 0;
  for (char c : stored.pattern) {
    if (c == '#' && next < numbers.size())
      ref.name += numbers[next++];
    else
      ref.name += c;
  }
  if (stored.stacked && !numbers.empty()) ref.index = {std::stoll(numbers.back())};
  ref.row_begin = stored.row_begin;
  ref.row_count = stored.row_count;
  ref.row_step = stored.row_step;
  ref.transposed = stored.transposed;
  return ref;
}

}  // namespace

void NameTable::add(const std::string& canonical, const std::vector<StoredName>& stored) {
  auto& list = rules_[canonical];
  list.insert(list.end(), stored.begin(), stored.end());
}

void NameTable::derive(const std::string& canonical_from, const std::string& canonical_to,
                       const std::string& stored_from, const std::string& stored_to) {
  const auto rules = rules_;
  for (const auto& [canonical, list] : rules) {
    if (!canonical.starts_with(canonical_from)) continue;
    for (StoredName stored : list) {
      if (!stored.pattern.starts_with(stored_from)) continue;
      stored.pattern = stored_to + stored.pattern.substr(stored_from.size());
      add(canonical_to + canonical.substr(canonical_from.size()), {stored});
    }
  }
}

TensorNameMap NameTable::map() const {
  return [rules = rules_](const std::string& canonical) {
    std::vector<TensorRef> refs;
    const Parsed parsed = parse(canonical);
    const auto found = rules.find(parsed.pattern);
    if (found == rules.end()) return refs;
    for (const StoredName& stored : found->second) refs.push_back(resolve(stored, parsed.numbers));
    return refs;
  };
}

}  // namespace onnuri
