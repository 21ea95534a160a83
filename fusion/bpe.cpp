// See bpe.h.
#include "fusion/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kShortWord = 24;          // symbols that are rescanned rather than heaped
constexpr size_t kCacheWorthwhile = 2048;  // bytes of text
constexpr size_t kMaxCacheSlots = 1 << 15;
constexpr uint64_t kNoPair = ~uint64_t{0};
constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, the written space

// GPT-2's table: printable Latin-1 stands for itself, the rest follows from U+0100 on.
bool stands_for_itself(unsigned b) {
  return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

// Larger scores first: an order-preserving map of floats to integers, turned around.
uint32_t priority_of(float score) {
  const auto bits = std::bit_cast<uint32_t>(score);
  return ~((bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

char32_t byte_to_written(uint8_t byte) {
  if (stands_for_itself(byte)) return byte;
  if (byte <= 32) return 256U + byte;
  if (byte <= 160) return 256U + 33 + (byte - 127U);
  return 256U + 67;  // 173, the soft hyphen
}

int written_to_byte(char32_t c) {
  if (c < 256) return stands_for_itself(c) ? static_cast<int>(c) : -1;
  const char32_t n = c - 256;
  if (n <= 32) return static_cast<int>(n);
  if (n <= 66) return static_cast<int>(n - 33 + 127);
  return n == 67 ? 173 : -1;
}

void append_written(std::string_view bytes, std::string& out) {
  for (const char b : bytes) {
    const char32_t c = byte_to_written(static_cast<uint8_t>(b));
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else {
      out += static_cast<char>(0xC0 | c >> 6);
      out += static_cast<char>(0x80 | (c & 0x3F));
    }
  }
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void BpeScratch::reserve_cache(size_t text_size) {
  if (text_size >= kCacheWorthwhile)
    cache.resize(std::min(kMaxCacheSlots, std::bit_ceil(text_size / 16)));
}

struct BpeModel::ByRule {
  const Pair* pairs;
  size_t mask;
  uint64_t operator()(const BpeSymbol& a, const BpeSymbol& b) const {
    if (a.id < 0 || b.id < 0) return kNoPair;
    const uint64_t key =
        static_cast<uint64_t>(static_cast<uint32_t>(a.id)) << 32 | static_cast<uint32_t>(b.id);
    for (size_t i = slot_of(key, mask);; i = (i + 1) & mask) {
      const Pair& pair = pairs[i];
      if (pair.key == key)
        return static_cast<uint64_t>(pair.rank) << 32 | static_cast<uint32_t>(pair.id);
      if (pair.key == kEmpty) return kNoPair;
    }
  }
};

struct BpeModel::ByScore {
  const BpeModel* model;
  const char* text;
  uint64_t operator()(const BpeSymbol& a, const BpeSymbol& b) const {
    const std::string_view joined(text + a.begin, size_t{a.size} + b.size);
    const int32_t id = model->usable(model->vocabulary_.find(joined));
    if (id < 0) return kNoPair;
    return static_cast<uint64_t>(model->priorities_[static_cast<size_t>(id)]) << 32 |
           static_cast<uint32_t>(id);
  }
};

BpeModel::BpeModel(const Vocabulary& vocabulary, const BpeOptions& options,
                   std::vector<bool> blocked)
    : vocabulary_(vocabulary), options_(options), blocked_(std::move(blocked)) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (unsigned b = 0; b < 256; ++b) {
    std::string token;
    if (options_.byte_level) {
      utf8::append(token, byte_to_written(static_cast<uint8_t>(b)));
    } else {
      token = std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + '>';
    }
    byte_ids_[b] = vocabulary_.find(token);
  }
  reserve_rules(0);
}

void BpeModel::reserve_rules(size_t count) {
  pairs_.assign(std::bit_ceil(count * 2 + 16), Pair{});
  mask_ = pairs_.size() - 1;
}

void BpeModel::add_rule(std::string_view left, std::string_view right, std::string_view where) {
  const int32_t a = vocabulary_.find(left);
  const int32_t b = vocabulary_.find(right);
  if (a < 0 || b < 0)
    fail(ErrorCode::kCorruptData, "expected a merge of known tokens, found \"",
         utf8::lossy(a < 0 ? left : right), "\" at ", where, " rule ", num_rules_);
  std::string joined(left);
  joined += right.substr(std::min(right.size(), options_.prefix.size()));
  const int32_t id = vocabulary_.find(joined);
  if (id < 0)
    fail(ErrorCode::kCorruptData, "expected a merge whose result is a token, found \"",
         utf8::lossy(joined), "\" at ", where, " rule ", num_rules_);
  const uint32_t rank = num_rules_++;
  if (usable(id) < 0) return;
  if (size_t{num_rules_} * 2 > pairs_.size()) {
    std::vector<Pair> old(pairs_.size() * 2);
    old.swap(pairs_);
    mask_ = pairs_.size() - 1;
    for (const Pair& p : old) {
      if (p.key != kEmpty) insert(p.key, p.rank, p.id);
    }
  }
  insert(static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b), rank,
         id);
}

void BpeModel::insert(uint64_t key, uint32_t rank, int32_t id) {
  size_t i = slot_of(key, mask_);
  while (pairs_[i].key != kEmpty && pairs_[i].key != key) i = (i + 1) & mask_;
  pairs_[i] = {key, rank, id};
}

void BpeModel::use_scores(std::vector<float> scores) {
  priorities_.resize(static_cast<size_t>(vocabulary_.size()), ~uint32_t{0});
  const size_t n = std::min(priorities_.size(), scores.size());
  for (size_t i = 0; i < n; ++i) priorities_[i] = priority_of(scores[i]);
}

void BpeModel::finish() {
  if (options_.byte_level && priorities_.empty()) {
    const ByRule lookup{pairs_.data(), mask_};
    byte_pairs_.resize(size_t{1} << 16);
    for (size_t i = 0; i < byte_pairs_.size(); ++i)
      byte_pairs_[i] = lookup({byte_ids_[i >> 8], 0, 1}, {byte_ids_[i & 0xFF], 0, 1});
  }
  const bool may_drop =
      priorities_.empty() && options_.unk_id < 0 &&
      !(options_.byte_fallback &&
        std::all_of(byte_ids_.begin(), byte_ids_.end(), [](int32_t id) { return id >= 0; }));
  if (options_.byte_level || !options_.prefix.empty() || !options_.suffix.empty() ||
      options_.ignore_merges || may_drop || vocabulary_.find(kMark) < 0)
    return;
  cut_before_mark_ = true;
  const auto note = [&](int32_t id) {
    const std::string_view token = vocabulary_.text(id);
    for (size_t at = token.find(kMark); at != token.npos; at = token.find(kMark, at + 3)) {
      if (at > 0) joined_by_mark_[static_cast<uint8_t>(token[at - 1])] = true;
    }
  };
  if (!priorities_.empty()) {
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      if (usable(id) >= 0) note(id);
    }
  }
  for (const Pair& pair : pairs_) {
    if (pair.key != kEmpty) note(pair.id);
  }
}

template <typename Lookup>
void BpeModel::merge_short(const Lookup& lookup, std::string_view word, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& ranks = scratch.ranks;
  size_t n = symbols.size();
  ranks.resize(n);
  if (!byte_pairs_.empty() && n == word.size() && options_.suffix.empty() &&
      options_.prefix.empty()) {
    for (size_t i = 0; i + 1 < n; ++i)
      ranks[i] = byte_pairs_[size_t{static_cast<uint8_t>(word[i])} << 8 |
                             static_cast<uint8_t>(word[i + 1])];
  } else {
    for (size_t i = 0; i + 1 < n; ++i) ranks[i] = lookup(symbols[i], symbols[i + 1]);
  }
  while (n > 1) {
    size_t best = 0;
    uint64_t best_rank = ranks[0] >> 32;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranks[i] >> 32 < best_rank) {
        best = i;
        best_rank = ranks[i] >> 32;
      }
    }
    if (ranks[best] == kNoPair) break;
    symbols[best].id = static_cast<int32_t>(static_cast<uint32_t>(ranks[best]));
    symbols[best].size += symbols[best + 1].size;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
    }
    --n;
    if (best > 0) ranks[best - 1] = lookup(symbols[best - 1], symbols[best]);
    if (best + 1 < n) ranks[best] = lookup(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

template <typename Lookup>
void BpeModel::merge_long(const Lookup& lookup, BpeScratch& scratch) {
  auto& symbols = scratch.symbols;
  auto& links = scratch.links;
  auto& heap = scratch.heap;
  const auto n = static_cast<int32_t>(symbols.size());
  links.resize(symbols.size());
  heap.clear();
  const auto later = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    return a.priority != b.priority ? a.priority > b.priority : a.left > b.left;
  };
  const auto symbol = [&](int32_t i) -> BpeSymbol& { return symbols[static_cast<size_t>(i)]; };
  const auto link = [&](int32_t i) -> BpeScratch::Link& { return links[static_cast<size_t>(i)]; };
  const auto offer = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    ++scratch.steps;
    const uint64_t pair = lookup(symbol(left), symbol(right));
    if (pair == kNoPair) return;
    heap.push_back({static_cast<uint32_t>(pair >> 32), left, right,
                    symbol(left).size + symbol(right).size, static_cast<int32_t>(pair)});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  for (int32_t i = 0; i < n; ++i) link(i) = {i - 1, i + 1 < n ? i + 1 : -1};
  for (int32_t i = 0; i + 1 < n; ++i) offer(i, i + 1);
  while (!heap.empty()) {
    ++scratch.steps;
    std::pop_heap(heap.begin(), heap.end(), later);
    const BpeScratch::Candidate c = heap.back();
    heap.pop_back();
    // A merged-away symbol has size 0; one that grew gives another sum.
    if (symbol(c.left).size == 0 || symbol(c.right).size == 0 || link(c.left).next != c.right ||
        symbol(c.left).size + symbol(c.right).size != c.size)
      continue;
    symbol(c.left).id = c.id;
    symbol(c.left).size = c.size;
    symbol(c.right).size = 0;
    const int32_t after = link(c.right).next;
    link(c.left).next = after;
    if (after >= 0) link(after).prev = c.left;
    offer(link(c.left).prev, c.left);
    offer(c.left, after);
  }
  std::erase_if(symbols, [](const BpeSymbol& s) { return s.size == 0; });
}

template <typename Lookup>
void BpeModel::merge(const Lookup& lookup, std::string_view word, BpeScratch& scratch) const {
  if (scratch.symbols.size() < 2) return;
  if (scratch.symbols.size() <= kShortWord) {
    merge_short(lookup, word, scratch);
  } else {
    merge_long(lookup, scratch);
  }
}

// The id of one character as it is written at its place in the word.
int32_t BpeModel::affixed(std::string_view text, bool first, bool last) const {
  const bool prefixed = !first && !options_.prefix.empty();
  const bool suffixed = last && !options_.suffix.empty();
  if (!prefixed && !suffixed) return usable(vocabulary_.find(text));
  std::string written = prefixed ? options_.prefix : std::string();
  written += text;
  if (suffixed) written += options_.suffix;
  return usable(vocabulary_.find(written));
}

bool BpeModel::has_bytes(std::string_view text) const {
  return options_.byte_fallback && std::all_of(text.begin(), text.end(), [&](char b) {
           return byte_ids_[static_cast<uint8_t>(b)] >= 0;
         });
}

void BpeModel::split(std::string_view word, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  const bool affixes = !options_.prefix.empty() || !options_.suffix.empty();
  if (options_.byte_level && priorities_.empty()) {
    for (uint32_t i = 0; i < word.size(); ++i) {
      int32_t id = byte_ids_[static_cast<uint8_t>(word[i])];
      if (affixes) {
        std::string written;
        utf8::append(written, byte_to_written(static_cast<uint8_t>(word[i])));
        id = affixed(written, i == 0, i + 1 == word.size());
      }
      if (id >= 0) {
        symbols.push_back({id, i, 1});
      } else if (options_.unk_id >= 0) {
        symbols.push_back({options_.unk_id, i, 1});
      }
    }
    return;
  }
  for (size_t pos = 0; pos < word.size();) {
    const auto begin = static_cast<uint32_t>(pos);
    utf8::next(word, pos);
    const auto size = static_cast<uint32_t>(pos) - begin;
    const int32_t id = affixed(word.substr(begin, size), begin == 0, pos == word.size());
    if (id >= 0 || !drops(word.substr(begin, size))) symbols.push_back({id, begin, size});
  }
}

void BpeModel::emit(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const {
  bool after_unk = false;
  for (const BpeSymbol& s : scratch.symbols) {
    if (s.id >= 0) {
      out.push_back(s.id);
      after_unk = false;
      continue;
    }
    const std::string_view text = word.substr(s.begin, s.size);
    if (has_bytes(text)) {
      for (const char b : text) out.push_back(byte_ids_[static_cast<uint8_t>(b)]);
      after_unk = false;
    } else if (options_.unk_id >= 0) {
      if (!after_unk || !options_.fuse_unk) out.push_back(options_.unk_id);
      after_unk = true;
    }
  }
}

int32_t BpeModel::whole_word(std::string_view word, BpeScratch& scratch) const {
  if (!options_.byte_level) return usable(vocabulary_.find(word));
  scratch.written.clear();
  append_written(word, scratch.written);
  return usable(vocabulary_.find(scratch.written));
}

void BpeModel::encode_new(std::string_view word, BpeScratch& scratch,
                          std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    const int32_t id = whole_word(word, scratch);
    if (id >= 0) return out.push_back(id);
  }
  const bool by_score = !priorities_.empty();
  if (by_score && options_.byte_level) {
    scratch.written.clear();
    append_written(word, scratch.written);
    word = scratch.written;
  }
  split(word, scratch);
  if (by_score) {
    merge(ByScore{this, word.data()}, word, scratch);
  } else {
    merge(ByRule{pairs_.data(), mask_}, word, scratch);
  }
  emit(word, scratch, out);
}

void BpeModel::encode_word(std::string_view word, BpeScratch& scratch,
                           std::vector<int32_t>& out) const {
  using CachedWord = BpeScratch::CachedWord;
  if (scratch.cache.empty() || word.size() > CachedWord::kText)
    return encode_new(word, scratch, out);
  CachedWord& cached = scratch.cache[hash_bytes(word) & (scratch.cache.size() - 1)];
  if (cached.size == word.size() && std::memcmp(cached.text, word.data(), word.size()) == 0) {
    out.insert(out.end(), cached.ids, cached.ids + cached.count);
    return;
  }
  const size_t before = out.size();
  encode_new(word, scratch, out);
  const size_t count = out.size() - before;
  if (count > CachedWord::kIds) return;
  cached.size = static_cast<uint8_t>(word.size());
  cached.count = static_cast<uint8_t>(count);
  std::memcpy(cached.text, word.data(), word.size());
  std::copy_n(out.begin() + static_cast<ptrdiff_t>(before), count, cached.ids);
}

void BpeModel::encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (word.empty()) return;
  if (!cut_before_mark_) {
    encode_word(word, scratch, out);
    return;
  }
  // Where no token has the mark behind such a byte, nothing merges across the place.
  size_t begin = 0;
  for (size_t at = word.find(kMark, 1); at != word.npos; at = word.find(kMark, at + 3)) {
    if (joined_by_mark_[static_cast<uint8_t>(word[at - 1])] ||
        (at >= 3 && word.substr(at - 3, 3) == kMark))
      continue;
    encode_word(word.substr(begin, at - begin), scratch, out);
    begin = at;
  }
  encode_word(word.substr(begin), scratch, out);
}

}  // namespace onnuri
