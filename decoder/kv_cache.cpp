#include "decoder/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/check.h"
#include "decoder/kv_disk.h"
#include "decoder/page_pool.h"
#include "kernels/kv_rows.h"

namespace onnuri {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Pages of one sequence's ring. A ring never needs more rows than the cache has tokens.
int64_t ring_pages(const LayerSpec& layer, const KvCacheOptions& options) {
  return ceil_div(std::min(layer.window + options.max_chunk, options.max_tokens),
                  options.page_rows);
}

// The indexer chooses keys by small differences: its own keys are never coded.
DType index_dtype(DType dtype) { return is_coded_kv(dtype) ? DType::kF16 : dtype; }

// What one token occupies in one layer.
struct RowShape {
  int64_t num_heads = 0;
  int64_t k_dim = 0;
  int64_t v_dim = 0;      // of values stored apart; 0: they are part of the keys
  int64_t index_dim = 0;  // of the indexer's key
  int64_t num_bytes(DType dtype) const {
    return num_heads * (kv_row_bytes(dtype, k_dim) + kv_row_bytes(dtype, v_dim)) +
           kv_row_bytes(index_dtype(dtype), index_dim);
  }
  KvDisk::PageBytes page_bytes(DType dtype, int64_t page_rows) const {
    return {page_rows * num_heads * kv_row_bytes(dtype, k_dim),
            page_rows * num_heads * kv_row_bytes(dtype, v_dim),
            page_rows * kv_row_bytes(index_dtype(dtype), index_dim)};
  }
};

// What a linear layer keeps of one sequence, in floats: one of its two halves.
struct StateShape {
  int64_t state = 0;
  int64_t log_row = 0;
  int64_t history = 0;  // rows before the first logged one
  int64_t logged(int64_t tokens) const { return (history + tokens) * log_row; }
  int64_t half() const { return state + logged(KvSequence::kMaxGuesses + 1); }
};

StateShape state_shape(const DecoderConfig& config, const LayerSpec& layer) {
  if (!layer.is_linear()) return {};
  const DeltaSpec& d = config.delta;
  const int64_t inputs = 2 * d.num_k_heads * d.k_dim + d.num_v_heads * d.v_dim + 2 * d.num_v_heads;
  return {d.num_v_heads * d.k_dim * d.v_dim, inputs, d.conv_taps - 1};
}

RowShape row_shape(const DecoderConfig& config, const LayerSpec& layer) {
  if (layer.is_linear()) return {};
  if (layer.mixer != MixerKind::kMla) return {config.num_kv_heads, config.head_dim, config.v_dim};
  return {1, config.mla.key_row(), 0, layer.sparse_index ? config.mla.index.head_dim : 0};
}

int64_t row_bytes(const DecoderConfig& config, const LayerSpec& layer, DType dtype) {
  return row_shape(config, layer).num_bytes(dtype);
}

void check_options(const KvCacheOptions& options) {
  if (!is_kv_dtype(options.dtype)) {
    fail(ErrorCode::kInvalidArgument,
         "expected a KV cache of f32, f16, bf16, i8, f8_e4m3 or q4_1, "
         "found ",
         dtype_name(options.dtype));
  }
  const auto check = [](const char* name, int64_t value, int64_t max) {
    if (value < 1 || value > max) {
      fail(ErrorCode::kInvalidArgument, "expected KV cache ", name, " in [1, ", max, "], found ",
           value);
    }
  };
  check("page_rows", options.page_rows, int64_t{1} << 16);
  check("max_tokens", options.max_tokens, int64_t{1} << 31);
  check("max_sequences", options.max_sequences, int64_t{1} << 16);
  check("max_chunk", options.max_chunk, int64_t{1} << 24);
}

int64_t rounded_tokens(const KvCacheOptions& options) {
  return ceil_div(options.max_tokens, options.page_rows) * options.page_rows;
}

// Where full layers go.
struct Placement {
  int64_t num_in_memory = 0;  // the first full layers
  int64_t memory_bytes = 0;   // with the region that the others take turns in
  int64_t disk_bytes = 0;
};

Placement place_full_layers(const DecoderConfig& config, const KvCacheOptions& options) {
  std::vector<int64_t> layers;
  for (const LayerSpec& layer : config.layers)
    if (layer.is_full())
      layers.push_back(rounded_tokens(options) * row_bytes(config, layer, options.dtype));
  const int64_t all = std::accumulate(layers.begin(), layers.end(), int64_t{0});
  const int64_t room = options.ram_bytes - KvCache::window_bytes(config, options) -
                       KvCache::state_bytes(config, options);
  if (options.disk_directory.empty() || layers.empty() || all <= room)
    return {static_cast<int64_t>(layers.size()), all, 0};
  const int64_t turns = *std::max_element(layers.begin(), layers.end());
  Placement out{0, turns, all};
  for (const int64_t bytes : layers) {
    if (out.memory_bytes + bytes > room) break;
    ++out.num_in_memory;
    out.memory_bytes += bytes;
    out.disk_bytes -= bytes;
  }
  return out;
}

}  // namespace

struct KvCache::Impl {
  struct Layer {
    RowShape shape;
    KvDisk::PageBytes page_bytes{};
    // Keys (pages, num_heads, page_rows, bytes of k_dim), values (the same of v_dim), the indexer's
    // keys (pages, 1, page_rows, bytes of index_dim); empty where there are none, or on disk.
    std::array<Tensor, 3> memory;
    int64_t disk_layer = -1;  // its number on disk; -1: in memory
    int64_t ring_pages = 0;   // of one sequence; 0: a full layer
    int64_t window = 0;
    StateShape state_shape;
    Tensor states;  // of a linear layer: (max_sequences, 2, floats of a half)

    bool is_linear() const { return state_shape.state > 0; }
    bool is_full() const { return ring_pages == 0 && !is_linear(); }
    /// The state, and behind it the log, of a sequence.
    float* half(int32_t slot, int number) {
      return states.f32() + (2 * slot + number) * state_shape.half();
    }
  };

  Impl(const DecoderConfig& c, const KvCacheOptions& o)
      : config(c), options(o), pool(ceil_div(o.max_tokens, o.page_rows)) {}

  DecoderConfig config;
  KvCacheOptions options;
  PagePool pool;
  std::vector<Layer> layers;
  bool has_states = false;
  std::unique_ptr<KvDisk> disk;        // null: all layers are in memory
  std::vector<int32_t> ring_numbers;   // 0, 1, 2, ...: rings of one layer follow one another
  std::vector<KvSequence*> sequences;  // (max_sequences) by ring slot, null when free
  std::vector<const KvPrefix*> prefixes;

  /// The pages of a part of a layer: 0 keys, 1 values, 2 keys of the indexer. Of a layer on disk
  /// those that were staged last.
  std::byte* pages(Layer& layer, size_t part) const {
    if (layer.disk_layer < 0) return layer.memory[part].bytes();
    return disk->rows(layer.disk_layer, part);
  }
  /// Makes sure that pages are in memory: KvDisk::stage.
  void stage(const Layer& layer, std::span<const int32_t> pages, size_t num_filled,
             size_t first_changed) const {
    if (layer.disk_layer >= 0) disk->stage(layer.disk_layer, pages, num_filled, first_changed);
  }
  static int64_t num_heads(const Layer& layer, size_t part) {
    return part == 2 ? 1 : layer.shape.num_heads;
  }

  /// Calls f(rows, row_bytes) for every run of bytes that the ring of `slot` keeps of `position`.
  template <typename F>
  void each_ring_row(Layer& layer, int32_t slot, int64_t position, F&& f) const {
    const int64_t row = position % (layer.ring_pages * options.page_rows);
    const int64_t page = slot * layer.ring_pages + row / options.page_rows;
    for (size_t part = 0; part < 3; ++part) {
      const int64_t page_bytes = layer.page_bytes[part], heads = num_heads(layer, part);
      if (page_bytes == 0) continue;
      const int64_t bytes = page_bytes / (heads * options.page_rows);
      std::byte* rows = layer.memory[part].bytes() + page * page_bytes;
      for (int64_t head = 0; head < heads; ++head)
        f(rows + (head * options.page_rows + row % options.page_rows) * bytes,
          static_cast<size_t>(bytes));
    }
  }
  /// Calls f(run of bytes) for the first `num_tokens` rows in these pages of all full layers.
  template <typename F>
  void each_full_row(std::span<const int32_t> held, int64_t num_tokens, bool writes, F&& f) {
    const auto num_pages = static_cast<size_t>(ceil_div(num_tokens, options.page_rows));
    for (Layer& layer : layers) {
      if (!layer.is_full()) continue;
      stage(layer, held.first(num_pages), writes ? 0 : num_pages, writes ? 0 : num_pages);
      for (size_t part = 0; part < 3; ++part) {
        const int64_t page_bytes = layer.page_bytes[part], heads = num_heads(layer, part);
        if (page_bytes == 0) continue;
        for (size_t i = 0; i < num_pages; ++i) {
          std::byte* page = pages(layer, part) + held[i] * page_bytes;
          const int64_t rows =
              std::min(options.page_rows, num_tokens - static_cast<int64_t>(i) * options.page_rows);
          for (int64_t head = 0; head < heads; ++head)
            f(std::span(page + head * (page_bytes / heads),
                        static_cast<size_t>(rows * (page_bytes / (heads * options.page_rows)))));
        }
      }
    }
  }
  /// The positions that a token behind `num_tokens` others sees in a window layer.
  static int64_t first_seen(const Layer& layer, int64_t num_tokens) {
    return std::max<int64_t>(0, num_tokens + 1 - layer.window);
  }
};

KvCache::KvCache(const DecoderConfig& config, const KvCacheOptions& options) {
  check_options(options);
  impl_ = std::make_unique<Impl>(config, options);
  const Placement placement = place_full_layers(config, options);
  const int64_t least =
      placement.memory_bytes + window_bytes(config, options) + state_bytes(config, options);
  if (placement.disk_bytes > 0 && least > options.ram_bytes)
    fail(ErrorCode::kInvalidArgument, "expected at least ", least,
         " bytes of memory for keys and values, the window layers and one full layer, found ",
         options.ram_bytes);
  int64_t longest = 0, num_full = 0;
  std::vector<KvDisk::PageBytes> on_disk;
  for (const LayerSpec& spec : config.layers) {
    Impl::Layer layer;
    layer.window = spec.window;
    if (spec.window > 0) layer.ring_pages = ring_pages(spec, options);
    const int64_t pages =
        spec.window > 0 ? layer.ring_pages * options.max_sequences : impl_->pool.num_pages();
    layer.shape = row_shape(config, spec);
    layer.page_bytes = layer.shape.page_bytes(options.dtype, options.page_rows);
    if (spec.is_full() && num_full++ >= placement.num_in_memory && !options.without_rows) {
      layer.disk_layer = static_cast<int64_t>(on_disk.size());
      on_disk.push_back(layer.page_bytes);
    }
    for (size_t part = 0; part < 3 && layer.disk_layer < 0; ++part) {
      const int64_t bytes = options.without_rows ? 1 : pages * layer.page_bytes[part];
      if (layer.page_bytes[part] > 0) layer.memory[part] = Tensor(DType::kU8, {bytes});
    }
    layer.state_shape = state_shape(config, spec);
    impl_->has_states = impl_->has_states || layer.is_linear();
    if (layer.is_linear() && !options.without_rows)
      layer.states = Tensor(DType::kF32, {options.max_sequences * 2 * layer.state_shape.half()});
    longest = std::max(longest, layer.ring_pages * options.max_sequences);
    impl_->layers.push_back(std::move(layer));
  }
  impl_->ring_numbers.resize(static_cast<size_t>(longest));
  std::iota(impl_->ring_numbers.begin(), impl_->ring_numbers.end(), 0);
  impl_->sequences.assign(static_cast<size_t>(options.max_sequences), nullptr);
  if (!on_disk.empty())
    impl_->disk = std::make_unique<KvDisk>(options.disk_directory, impl_->pool.num_pages(),
                                           std::move(on_disk));
}

KvCache::~KvCache() = default;

std::unique_ptr<KvSequence> KvCache::new_sequence() {
  auto& slots = impl_->sequences;
  const auto slot = std::find(slots.begin(), slots.end(), nullptr);
  if (slot == slots.end()) return nullptr;
  std::unique_ptr<KvSequence> sequence(
      new KvSequence(this, static_cast<int32_t>(slot - slots.begin())));
  *slot = sequence.get();
  for (Impl::Layer& layer : impl_->layers) {
    if (layer.states.empty()) continue;
    std::fill_n(layer.half(sequence->ring_slot_, 0),
                layer.state_shape.state + layer.state_shape.logged(0), 0.0f);
  }
  return sequence;
}

std::unique_ptr<KvSequence> KvCache::new_sequence(const KvPrefix& prefix,
                                                  const WindowSnapshot& windows) {
  ONNURI_CHECK(prefix.cache_ == this && windows.num_tokens <= prefix.num_tokens_);
  std::unique_ptr<KvSequence> out = new_sequence();
  if (!out) return nullptr;
  const int64_t tokens = windows.num_tokens;
  const auto pages = static_cast<size_t>(ceil_div(tokens, impl_->options.page_rows));
  out->full_pages_.assign(prefix.pages_.begin(),
                          prefix.pages_.begin() + static_cast<std::ptrdiff_t>(pages));
  impl_->pool.retain(out->full_pages_);
  out->num_tokens_ = out->high_water_ = out->restored_ = tokens;
  if (impl_->options.without_rows) return out;
  const std::byte* from = windows.rows.data();
  const std::byte* const end = from + windows.rows.size();
  out->folded_ = windows.folded;
  for (Impl::Layer& layer : impl_->layers) {
    if (layer.is_linear()) {
      const int64_t floats =
          layer.state_shape.state + layer.state_shape.logged(tokens - windows.folded);
      const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
      ONNURI_CHECK(bytes <= static_cast<size_t>(end - from));
      std::memcpy(layer.half(out->ring_slot_, 0), from, bytes);
      from += bytes;
    }
    if (layer.ring_pages == 0) continue;
    for (int64_t i = Impl::first_seen(layer, tokens); i < tokens; ++i)
      impl_->each_ring_row(layer, out->ring_slot_, i, [&](std::byte* row, size_t bytes) {
        ONNURI_CHECK(bytes <= static_cast<size_t>(end - from));
        std::memcpy(row, from, bytes);
        from += bytes;
      });
  }
  ONNURI_CHECK(from == end);
  return out;
}

std::unique_ptr<KvPrefix> KvCache::share(const KvPrefix& prefix) {
  std::unique_ptr<KvPrefix> out(new KvPrefix(this, prefix.num_tokens_));
  std::vector<int32_t> pages = prefix.pages_;
  impl_->prefixes.push_back(out.get());
  impl_->pool.retain(pages);
  out->pages_ = std::move(pages);
  return out;
}

bool KvCache::holds_alone(const KvPrefix& prefix) const {
  return std::any_of(prefix.pages_.begin(), prefix.pages_.end(),
                     [&](int32_t page) { return impl_->pool.num_holders(page) == 1; });
}

void KvCache::read_rows(const KvPrefix& prefix,
                        const std::function<void(std::span<const std::byte>)>& take) const {
  impl_->each_full_row(prefix.pages_, prefix.num_tokens_, false,
                       [&](std::span<std::byte> rows) { take(rows); });
}

std::unique_ptr<KvPrefix> KvCache::write_rows(
    int64_t num_tokens, const std::function<void(std::span<std::byte>)>& give) {
  std::unique_ptr<KvPrefix> out(new KvPrefix(this, num_tokens));
  impl_->prefixes.push_back(out.get());
  if (!impl_->pool.allocate(ceil_div(num_tokens, impl_->options.page_rows), out->pages_))
    return nullptr;
  impl_->each_full_row(out->pages_, num_tokens, true, give);
  return out;
}

int64_t KvCache::prefix_bytes(int64_t num_tokens) const {
  return num_tokens * bytes_per_token(impl_->config, impl_->options.dtype);
}

int64_t KvCache::snapshot_bytes(int64_t num_tokens, int64_t folded) const {
  int64_t bytes = 0;
  for (const Impl::Layer& layer : impl_->layers) {
    if (layer.is_linear())
      bytes += (layer.state_shape.state + layer.state_shape.logged(num_tokens - folded)) *
               static_cast<int64_t>(sizeof(float));
    if (layer.ring_pages > 0)
      bytes += (num_tokens - Impl::first_seen(layer, num_tokens)) *
               layer.shape.num_bytes(impl_->options.dtype);
  }
  return bytes;
}

bool KvCache::is_possible(const WindowSnapshot& snapshot) const {
  const int64_t logged = snapshot.num_tokens - snapshot.folded;
  if (!has_states()) return snapshot.folded == 0;
  return snapshot.folded >= 0 && logged >= 0 && logged <= KvSequence::kMaxGuesses + 1;
}

bool KvCache::needs_snapshots() const {
  return std::any_of(impl_->layers.begin(), impl_->layers.end(),
                     [](const Impl::Layer& layer) { return !layer.is_full(); });
}

bool KvCache::has_states() const { return impl_->has_states; }

const KvCacheOptions& KvCache::options() const { return impl_->options; }

int64_t KvCache::num_bytes() const {
  int64_t bytes = impl_->disk ? impl_->disk->memory_bytes() : 0;
  for (const Impl::Layer& layer : impl_->layers)
    for (const Tensor& part : layer.memory) bytes += part.num_bytes();
  for (const Impl::Layer& layer : impl_->layers) bytes += layer.states.num_bytes();
  return bytes;
}

int64_t KvCache::disk_read_bytes() const { return impl_->disk ? impl_->disk->read_bytes() : 0; }

int64_t KvCache::disk_written_bytes() const {
  return impl_->disk ? impl_->disk->written_bytes() : 0;
}

int64_t KvCache::num_free_pages() const { return impl_->pool.num_free(); }

int64_t KvCache::bytes_per_token(const DecoderConfig& config, DType dtype) {
  int64_t bytes = 0;
  for (const LayerSpec& layer : config.layers) {
    if (layer.is_full()) bytes += row_bytes(config, layer, dtype);
  }
  return bytes;
}

int64_t KvCache::state_bytes(const DecoderConfig& config, const KvCacheOptions& options) {
  check_options(options);
  int64_t floats = 0;
  for (const LayerSpec& layer : config.layers) floats += 2 * state_shape(config, layer).half();
  return floats * static_cast<int64_t>(sizeof(float)) * options.max_sequences;
}

int64_t KvCache::window_bytes(const DecoderConfig& config, const KvCacheOptions& options) {
  check_options(options);
  int64_t bytes = 0;
  for (const LayerSpec& layer : config.layers) {
    if (layer.window == 0) continue;
    bytes +=
        ring_pages(layer, options) * options.page_rows * row_bytes(config, layer, options.dtype);
  }
  return bytes * options.max_sequences;
}

int64_t KvCache::full_bytes(const DecoderConfig& config, const KvCacheOptions& options) {
  check_options(options);
  return place_full_layers(config, options).memory_bytes;
}

int64_t KvCache::disk_bytes(const DecoderConfig& config, const KvCacheOptions& options) {
  check_options(options);
  return place_full_layers(config, options).disk_bytes;
}

void KvCache::check_integrity() const {
  impl_->pool.check_integrity();
  std::vector<int32_t> holders(static_cast<size_t>(impl_->pool.num_pages()), 0);
  const auto count = [&](const std::vector<int32_t>& pages) {
    for (const int32_t page : pages) ++holders[static_cast<size_t>(page)];
  };
  for (size_t slot = 0; slot < impl_->sequences.size(); ++slot) {
    const KvSequence* sequence = impl_->sequences[slot];
    if (sequence == nullptr) continue;
    ONNURI_CHECK(static_cast<size_t>(sequence->ring_slot_) == slot);
    ONNURI_CHECK(sequence->num_tokens_ <= sequence->capacity());
    count(sequence->full_pages_);
  }
  for (const KvPrefix* prefix : impl_->prefixes) count(prefix->pages_);
  for (size_t page = 0; page < holders.size(); ++page)
    ONNURI_CHECK(holders[page] == impl_->pool.num_holders(static_cast<int32_t>(page)));
}

KvPrefix::~KvPrefix() {
  cache_->impl_->pool.release(pages_);
  std::erase(cache_->impl_->prefixes, this);
}

KvSequence::KvSequence(KvCache* cache, int32_t ring_slot) : cache_(cache), ring_slot_(ring_slot) {}

KvSequence::~KvSequence() {
  cache_->impl_->pool.release(full_pages_);
  cache_->impl_->sequences[static_cast<size_t>(ring_slot_)] = nullptr;
}

int64_t KvSequence::capacity() const {
  return static_cast<int64_t>(full_pages_.size()) * cache_->impl_->options.page_rows;
}

int64_t KvSequence::max_chunk() const { return cache_->impl_->options.max_chunk; }

bool KvSequence::reserve(int64_t count) {
  if (!own_last_page()) return false;
  const int64_t missing = num_tokens_ + count - capacity();
  if (missing <= 0) return true;
  KvCache::Impl& cache = *cache_->impl_;
  return cache.pool.allocate(ceil_div(missing, cache.options.page_rows), full_pages_);
}

// The page that the next token goes to is copied when others hold it too.
bool KvSequence::own_last_page() {
  KvCache::Impl& cache = *cache_->impl_;
  const auto last = static_cast<size_t>(num_tokens_ / cache.options.page_rows);
  if (last >= full_pages_.size() || cache.pool.num_holders(full_pages_[last]) < 2) return true;
  std::vector<int32_t> fresh;
  if (!cache.pool.allocate(1, fresh)) return false;
  const std::array<int32_t, 2> both = {full_pages_[last], fresh[0]};
  for (KvCache::Impl::Layer& layer : cache.layers) {
    if (!layer.is_full() || cache.options.without_rows) continue;
    cache.stage(layer, both, 1, 1);
    for (size_t part = 0; part < 3; ++part) {
      const int64_t bytes = layer.page_bytes[part];
      if (bytes == 0) continue;
      std::byte* pages = cache.pages(layer, part);
      std::memcpy(pages + both[1] * bytes, pages + both[0] * bytes, static_cast<size_t>(bytes));
    }
  }
  cache.pool.release(std::span(full_pages_).subspan(last, 1));
  full_pages_[last] = fresh[0];
  return true;
}

std::unique_ptr<KvPrefix> KvSequence::share(int64_t num_tokens) const {
  ONNURI_CHECK(num_tokens >= 0 && num_tokens <= num_tokens_);
  KvCache::Impl& cache = *cache_->impl_;
  std::unique_ptr<KvPrefix> out(new KvPrefix(cache_, num_tokens));
  const int64_t pages = ceil_div(num_tokens, cache.options.page_rows);
  std::vector<int32_t> held(full_pages_.begin(), full_pages_.begin() + pages);
  cache.prefixes.push_back(out.get());
  cache.pool.retain(held);
  out->pages_ = std::move(held);
  return out;
}

std::optional<WindowSnapshot> KvSequence::snapshot(int64_t num_tokens) const {
  ONNURI_CHECK(num_tokens >= 0 && num_tokens <= num_tokens_);
  if (!still_holds(num_tokens)) return std::nullopt;
  KvCache::Impl& cache = *cache_->impl_;
  WindowSnapshot out;
  out.num_tokens = num_tokens;
  out.folded = folded_;
  if (cache.options.without_rows) return out;
  for (const bool measures : {true, false}) {
    size_t size = 0;
    for (KvCache::Impl::Layer& layer : cache.layers) {
      const auto add = [&](const void* row, size_t bytes) {
        if (!measures) std::memcpy(out.rows.data() + size, row, bytes);
        size += bytes;
      };
      if (layer.is_linear()) {
        const int64_t floats =
            layer.state_shape.state + layer.state_shape.logged(num_tokens - folded_);
        add(layer.half(ring_slot_, half_), static_cast<size_t>(floats) * sizeof(float));
      }
      if (layer.ring_pages == 0) continue;
      for (int64_t i = KvCache::Impl::first_seen(layer, num_tokens); i < num_tokens; ++i)
        cache.each_ring_row(layer, ring_slot_, i, add);
    }
    if (measures) out.rows.resize(size);
  }
  return out;
}

void KvSequence::advance(int64_t count) {
  ONNURI_CHECK(count >= 0 && num_tokens_ + count <= capacity());
  if (count > 0 && cache_->has_states()) {
    folded_ = folded_behind(num_tokens_, count);
    half_ = 1 - half_;
  }
  num_tokens_ += count;
  high_water_ = std::max(high_water_, num_tokens_);
}

int64_t KvSequence::folded_behind(int64_t num_tokens, int64_t count) {
  return count <= kMaxGuesses + 1 ? num_tokens : num_tokens + count - 1;
}

// Whether window layers still have all that a token behind `num_tokens` others sees, and linear
// layers no more than that.
bool KvSequence::still_holds(int64_t num_tokens) const {
  if (num_tokens < folded_) return false;
  const KvCache::Impl& cache = *cache_->impl_;
  for (const KvCache::Impl::Layer& layer : cache.layers) {
    if (layer.window == 0) continue;
    const int64_t lost = std::max(high_water_ - layer.ring_pages * cache.options.page_rows,
                                  KvCache::Impl::first_seen(layer, restored_));
    if (KvCache::Impl::first_seen(layer, num_tokens) < lost) return false;
  }
  return true;
}

bool KvSequence::truncate(int64_t num_tokens) {
  ONNURI_CHECK(num_tokens >= 0 && num_tokens <= num_tokens_);
  if (!still_holds(num_tokens)) return false;
  KvCache::Impl& cache = *cache_->impl_;
  num_tokens_ = num_tokens;
  const auto kept = static_cast<std::ptrdiff_t>(ceil_div(num_tokens, cache.options.page_rows));
  cache.pool.release(std::span<const int32_t>(full_pages_).subspan(static_cast<size_t>(kept)));
  full_pages_.erase(full_pages_.begin() + kept, full_pages_.end());
  return true;
}

// The pages of a layer on disk: all that is filled is read, all behind that will be written.
void KvSequence::stage(int64_t layer_index) const {
  const KvCache::Impl& cache = *cache_->impl_;
  const int64_t rows = cache.options.page_rows;
  cache.stage(cache.layers[static_cast<size_t>(layer_index)], full_pages_,
              static_cast<size_t>(ceil_div(num_tokens_, rows)),
              static_cast<size_t>(num_tokens_ / rows));
}

KvView KvSequence::pages_of(int64_t layer_index) const {
  const KvCache::Impl& cache = *cache_->impl_;
  const KvCache::Impl::Layer& layer = cache.layers[static_cast<size_t>(layer_index)];
  KvView view;
  view.dtype = cache.options.dtype;
  view.ring = layer.ring_pages > 0;
  if (view.ring) {
    view.page_table = cache.ring_numbers.data() + ring_slot_ * layer.ring_pages;
    view.num_entries = layer.ring_pages;
  } else {
    view.page_table = full_pages_.data();
    view.num_entries = static_cast<int64_t>(full_pages_.size());
  }
  view.page_rows = cache.options.page_rows;
  return view;
}

KvView KvSequence::layer(int64_t layer_index) const {
  KvCache::Impl::Layer& layer = cache_->impl_->layers[static_cast<size_t>(layer_index)];
  stage(layer_index);
  KvView view = pages_of(layer_index);
  view.k_pages = cache_->impl_->pages(layer, 0);
  view.v_pages = cache_->impl_->pages(layer, 1);
  view.num_kv_heads = layer.shape.num_heads;
  view.k_dim = layer.shape.k_dim;
  view.v_in_k = layer.shape.v_dim == 0;
  view.v_dim = view.v_in_k ? cache_->impl_->config.mla.kv_lora_rank : layer.shape.v_dim;
  return view;
}

KvView KvSequence::index_keys(int64_t layer_index) const {
  KvCache::Impl::Layer& layer = cache_->impl_->layers[static_cast<size_t>(layer_index)];
  stage(layer_index);
  KvView view = pages_of(layer_index);
  view.dtype = index_dtype(view.dtype);
  view.k_pages = cache_->impl_->pages(layer, 2);
  view.num_kv_heads = 1;
  view.k_dim = view.v_dim = layer.shape.index_dim;
  view.v_in_k = true;
  return view;
}

StateView KvSequence::state(int64_t layer_index) const {
  KvCache::Impl::Layer& layer = cache_->impl_->layers[static_cast<size_t>(layer_index)];
  ONNURI_CHECK(layer.is_linear());
  StateView view;
  view.folded = folded_;
  if (layer.states.empty()) return view;
  view.state = layer.half(ring_slot_, half_);
  view.log = view.state + layer.state_shape.state;
  view.next = layer.half(ring_slot_, 1 - half_);
  view.next_log = view.next + layer.state_shape.state;
  return view;
}

}  // namespace onnuri
