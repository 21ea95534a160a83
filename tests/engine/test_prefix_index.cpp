#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>

#include "engine/prefix_index.h"

namespace onnuri {
namespace {

using Text = std::vector<int>;

// Any hash will do: here one that knows all tokens before the boundary.
PrefixChain chain_of(const Text& text) {
  PrefixChain out;
  uint64_t hash = 7;
  for (size_t i = 0; i < text.size(); ++i) {
    hash = (hash ^ static_cast<uint64_t>(text[i])) * 0x100000001b3u + 1;
    if (static_cast<int64_t>(i) + 1 == PrefixIndex::boundary(out.size())) out.push_back(hash);
  }
  return out;
}

int64_t shared(const Text& a, const Text& b) {
  const size_t most = std::min(a.size(), b.size());
  const auto end = a.begin() + static_cast<std::ptrdiff_t>(most);
  return std::mismatch(a.begin(), end, b.begin()).first - a.begin();
}

TEST(PrefixIndex, BoundariesGrow) {
  EXPECT_EQ(PrefixIndex::boundary(0), 1);
  EXPECT_EQ(PrefixIndex::boundary(5), 32);
  EXPECT_EQ(PrefixIndex::boundary(6), 64);
  EXPECT_EQ(PrefixIndex::boundary(7), 128);
  EXPECT_EQ(PrefixIndex::boundary(8), 192);
}

TEST(PrefixIndex, VisitsWhatSharesMostFirst) {
  std::mt19937 random(5);
  std::map<uint64_t, Text> texts;
  PrefixIndex index;
  const auto any_text = [&] {
    Text text;
    if (!texts.empty() && random() % 3 != 0) {
      const Text& other = std::next(texts.begin(), random() % texts.size())->second;
      text.assign(other.begin(),
                  other.begin() + static_cast<std::ptrdiff_t>(random() % other.size()));
    }
    for (auto more = 1 + random() % 150; more > 0; --more)
      text.push_back(static_cast<int>(random() % 3));
    return text;
  };
  for (uint64_t number = 0; number < 300; ++number) {
    const Text text = any_text();
    const PrefixChain chain = chain_of(text);
    std::vector<uint64_t> visited;
    int64_t last = std::numeric_limits<int64_t>::max();
    index.visit(chain, [&](uint64_t other, int64_t limit) {
      EXPECT_LE(limit, last);
      EXPECT_LT(shared(text, texts.at(other)), limit);
      last = limit;
      visited.push_back(other);
      return true;
    });
    std::vector<uint64_t> expected;
    for (const auto& [other, words] : texts)
      if (shared(text, words) > 0) expected.push_back(other);
    std::sort(visited.begin(), visited.end());
    EXPECT_EQ(visited, expected);

    const std::vector<uint64_t> relatives = index.relatives(chain);
    for (const auto& [other, words] : texts) {
      const int64_t same = shared(text, words);
      if (same == static_cast<int64_t>(std::min(text.size(), words.size()))) {
        EXPECT_TRUE(std::binary_search(relatives.begin(), relatives.end(), other));
      }
    }
    index.add(number, chain);
    texts[number] = text;
    if (texts.size() > 40) {
      const auto gone = std::next(texts.begin(), random() % texts.size());
      index.remove(gone->first, chain_of(gone->second), random() % 2 == 0);
      texts.erase(gone);
    }
  }
  for (const auto& [number, text] : texts) index.remove(number, chain_of(text), false);
  EXPECT_EQ(index.num_hashes(), 0u);
}

TEST(PrefixIndex, EndsWhenToldTo) {
  PrefixIndex index;
  for (uint64_t i = 0; i < 5; ++i) index.add(i, chain_of({1, 2, 3}));
  int calls = 0;
  index.visit(chain_of({1, 2, 3}), [&](uint64_t, int64_t) { return ++calls < 2; });
  EXPECT_EQ(calls, 2);
}

TEST(PrefixIndex, RemembersWhatIsForgotten) {
  PrefixIndex index;
  const Text text(130, 4);
  index.add(1, chain_of(text));
  EXPECT_EQ(index.forgotten(chain_of(text)), 0);
  index.remove(1, chain_of(text), true);
  EXPECT_EQ(index.forgotten(chain_of(text)), 128);
  EXPECT_EQ(index.forgotten(chain_of(Text(70, 4))), 64);
  EXPECT_EQ(index.forgotten(chain_of(Text(70, 5))), 0);
  for (int i = 0; i < 5000; ++i) index.remove(2, chain_of({i + 9, i, i, i}), true);
  EXPECT_EQ(index.forgotten(chain_of(text)), 128);
  for (int i = 0; i < 2000; ++i) index.remove(2, chain_of({i + 9, i, i, i}), true);
  EXPECT_EQ(index.forgotten(chain_of(text)), 0);  // long ago
}

}  // namespace
}  // namespace onnuri
