#include "engine/state_file.h"

#include <cmath>
#include <cstring>
#include <functional>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/mapped_file.h"

namespace onnuri {
namespace {

constexpr std::string_view kMagic("onnuri state 2\n", 16);
constexpr size_t kBlock = size_t{1} << 20;  // of the checksum

ContentKey checksum(std::span<const std::byte> bytes) {
  ContentHash hash;
  for (size_t at = 0; at < bytes.size(); at += kBlock) {
    const auto block = bytes.subspan(at, std::min(kBlock, bytes.size() - at));
    hash.add(std::span(reinterpret_cast<const uint8_t*>(block.data()), block.size()));
  }
  return hash.finish();
}

/// Puts bytes into a file and into its checksum, block by block.
class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path) {}

  void put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t count = std::min(kBlock - block_.size(), bytes.size());
      block_.insert(block_.end(), bytes.begin(),
                    bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      if (block_.size() == kBlock) flush();
    }
  }
  void put(int64_t value) { put(std::as_bytes(std::span(&value, 1))); }
  template <typename T>
  void put_all(std::span<const T> values) {
    put(static_cast<int64_t>(values.size()));
    put(std::as_bytes(values));
  }
  void commit() {
    flush();
    const ContentKey key = hash_.finish();
    file_.append(std::as_bytes(std::span(key)));
    file_.commit();
  }

 private:
  void flush() {
    if (block_.empty()) return;
    hash_.add(std::span(reinterpret_cast<const uint8_t*>(block_.data()), block_.size()));
    file_.append(block_);
    block_.clear();
  }

  AtomicFile file_;
  ContentHash hash_;
  std::vector<std::byte> block_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& path) : rest_(bytes), path_(path) {}

  std::span<const std::byte> take(int64_t size, const char* what) {
    if (size < 0 || static_cast<uint64_t>(size) > rest_.size())
      fail(ErrorCode::kCorruptData, "expected ", size, " bytes of ", what, " in ", path_,
           ", found ", rest_.size());
    const auto out = rest_.first(static_cast<size_t>(size));
    rest_ = rest_.subspan(static_cast<size_t>(size));
    return out;
  }
  int64_t number(const char* what, int64_t low, int64_t high) {
    int64_t value = 0;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    if (value < low || value > high)
      fail(ErrorCode::kCorruptData, "expected ", what, " in [", low, ", ", high, "] in ", path_,
           ", found ", value);
    return value;
  }
  template <typename T>
  std::vector<T> all(const char* what, int64_t low, int64_t high) {
    const int64_t count = number(what, low, high);
    const auto bytes = take(count * static_cast<int64_t>(sizeof(T)), what);
    std::vector<T> out(static_cast<size_t>(count));
    if (count > 0) std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
  const std::string& path_;
};

constexpr int64_t kMostTenantBytes = 4096;
constexpr int64_t kMostSnapshots = 4096;
constexpr int64_t kFar = int64_t{1} << 40;

void put_span(const MediaSpan& span, const ContentKey& key, Writer& out) {
  for (const int64_t value :
       {span.first_token, span.num_tokens, span.grid_t, span.grid_h, span.grid_w,
        static_cast<int64_t>(span.kind), span.medium, span.first_cell, span.group})
    out.put(value);
  out.put(std::as_bytes(std::span(key)));
}

MediaSpan take_span(Reader& in, int64_t first, int64_t tokens, ContentKey& key) {
  MediaSpan span;
  span.first_token = in.number("the first token of a medium", first, tokens - 1);
  span.num_tokens = in.number("the tokens of a medium", 1, kFar);
  span.grid_t = in.number("a grid", 0, kFar);
  span.grid_h = in.number("a grid", 0, kFar);
  span.grid_w = in.number("a grid", 0, kFar);
  span.kind = static_cast<SpanKind>(in.number("the kind of a medium", 0, 2));
  span.medium = in.number("the number of a medium", 0, kFar);
  span.first_cell = in.number("the first cell of a medium", 0, kFar);
  span.group = in.number("the group of a medium", -1, kFar);
  std::memcpy(key.data(), in.take(static_cast<int64_t>(key.size()), "a content hash").data(),
              key.size());
  return span;
}

void check_content(const PromptContent& content, const StateLimits& limits,
                   const std::string& path) {
  const int64_t tokens = content.size();
  for (const int32_t id : content.ids)
    if (id < 0 || (id >= limits.vocab_size && content.spans.empty()))
      fail(ErrorCode::kCorruptData, "expected token ids below ", limits.vocab_size, " in ", path,
           ", found ", id);
  for (const float position : content.positions)
    if (!std::isfinite(position))
      fail(ErrorCode::kCorruptData, "expected finite positions in ", path, ", found ", position);
  if (!content.visible_ends.empty() && static_cast<int64_t>(content.visible_ends.size()) != tokens)
    fail(ErrorCode::kCorruptData, "expected what ", tokens, " tokens see in ", path, ", found ",
         content.visible_ends.size());
  for (size_t i = 0; i < content.visible_ends.size(); ++i)
    if (content.visible_ends[i] <= static_cast<int64_t>(i) ||
        (i > 0 && content.visible_ends[i] < content.visible_ends[i - 1]))
      fail(ErrorCode::kCorruptData, "expected ascending ends of what tokens see in ", path,
           ", found ", content.visible_ends[i], " at token ", i);
}

PromptContent take_content(Reader& in, const StateLimits& limits, const std::string& path) {
  PromptContent out;
  const int64_t most = limits.context_size;
  const std::vector<char> tenant = in.all<char>("the tenant", 0, kMostTenantBytes);
  out.tenant.assign(tenant.begin(), tenant.end());
  out.num_axes = in.number("axes of positions", limits.num_axes, limits.num_axes);
  out.prompt_tokens = in.number("tokens of the prompt", 1, most);
  out.ids = in.all<int32_t>("token ids", 1, most);
  const int64_t tokens = out.size();
  out.positions = in.all<float>("positions", out.num_axes * tokens, out.num_axes * tokens);
  out.visible_ends = in.all<int32_t>("what tokens see", 0, tokens);
  const int64_t spans = in.number("media", 0, tokens);
  for (int64_t i = 0, next = 0; i < spans; ++i) {
    ContentKey key{};
    out.spans.push_back(take_span(in, next, tokens, key));
    out.keys.push_back(key);
    next = out.spans.back().first_token + 1;
  }
  check_content(out, limits, path);
  return out;
}

}  // namespace

void write_state(const std::string& path, const ContentKey& model, const KvCache& cache,
                 const KeptText& text) {
  const PromptContent& content = text.content;
  Writer out(path);
  out.put(std::as_bytes(std::span(kMagic)));
  out.put(std::as_bytes(std::span(model)));
  out.put(static_cast<int64_t>(cache.options().dtype));
  out.put(cache.options().page_rows);
  out.put_all(std::span<const char>(content.tenant));
  out.put(content.num_axes);
  out.put(content.prompt_tokens);
  out.put_all(std::span<const int32_t>(content.ids));
  out.put_all(std::span<const float>(content.positions));
  out.put_all(std::span<const int32_t>(content.visible_ends));
  out.put(static_cast<int64_t>(content.spans.size()));
  for (size_t i = 0; i < content.spans.size(); ++i)
    put_span(content.spans[i], content.keys[i], out);
  out.put(cache.prefix_bytes(content.size()));
  cache.read_rows(*text.prefix, [&](std::span<const std::byte> rows) { out.put(rows); });
  out.put(static_cast<int64_t>(text.windows.size()));
  for (const WindowSnapshot& windows : text.windows) {
    out.put(windows.num_tokens);
    out.put(windows.folded);
    out.put_all(std::span<const std::byte>(windows.rows));
  }
  out.commit();
}

KeptText read_state(const std::string& path, const StateLimits& limits, KvCache& cache,
                    const std::function<bool()>& make_room) {
  const MappedFile file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file.bytes();
  ContentKey stored{};
  if (bytes.size() < kMagic.size() + 2 * stored.size() ||
      std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    fail(ErrorCode::kCorruptData, "expected a saved state of this version, found none in ", path);
  const auto covered = bytes.first(bytes.size() - stored.size());
  std::memcpy(stored.data(), bytes.data() + covered.size(), stored.size());
  if (checksum(covered) != stored)
    fail(ErrorCode::kCorruptData, "expected a whole state in ", path, ", found it damaged");
  Reader in(covered.subspan(kMagic.size()), path);
  if (std::memcmp(in.take(static_cast<int64_t>(limits.model.size()), "the model").data(),
                  limits.model.data(), limits.model.size()) != 0)
    fail(ErrorCode::kUnsupported,
         "expected a state of this model, compute type and kernels, found another's in ", path);
  if (in.number("a type of keys", 0, 1 << 10) != static_cast<int64_t>(cache.options().dtype) ||
      in.number("rows of a page", 1, 1 << 20) != cache.options().page_rows)
    fail(ErrorCode::kUnsupported, "expected keys and values of the engine's type, found others in ",
         path);
  KeptText out;
  out.content = take_content(in, limits, path);
  const int64_t tokens = out.content.size(), size = cache.prefix_bytes(tokens);
  in.number("bytes of rows", size, size);
  Reader rows(in.take(size, "rows"), path);
  const auto next = [&](std::span<std::byte> to) {
    std::memcpy(to.data(), rows.take(static_cast<int64_t>(to.size()), "rows").data(), to.size());
  };
  while (!(out.prefix = cache.write_rows(tokens, next)))
    if (!make_room())
      fail(ErrorCode::kOutOfMemory, "expected room for ", tokens, " tokens of ", path,
           ", found the memory for keys and values full");
  const int64_t snapshots = in.number("snapshots", 0, kMostSnapshots);
  for (int64_t i = 0; i < snapshots; ++i) {
    WindowSnapshot windows;
    windows.num_tokens = in.number("tokens of a snapshot", 0, tokens);
    windows.folded = in.number("tokens of the states", 0, windows.num_tokens);
    if (!cache.is_possible(windows))
      fail(ErrorCode::kCorruptData, "expected states close before token ", windows.num_tokens,
           " in ", path, ", found ", windows.folded);
    const int64_t expected = cache.snapshot_bytes(windows.num_tokens, windows.folded);
    windows.rows = in.all<std::byte>("rows of a snapshot", expected, expected);
    out.windows.push_back(std::move(windows));
  }
  if (!in.at_end())
    fail(ErrorCode::kCorruptData, "expected the end of the state in ", path, ", found more");
  return out;
}

}  // namespace onnuri
