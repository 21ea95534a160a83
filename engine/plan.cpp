// Does a model fit? The engine is built on a backend that computes nothing: weights, caches and
// buffers get their true sizes, while the memory behind them is never touched.
#include "onnuri/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/machine_memory.h"
#include "engine/load_support.h"
#include "engine/memory_use.h"
#include "engine/model_facts.h"

namespace onnuri {
namespace {

constexpr int64_t kMostConcurrency = 1 << 16;
constexpr int64_t kMostSide = 1 << 15;

void check_options(const PlanOptions& options) {
  const auto check = [](const char* name, double value, double least, double most) {
    if (!(value >= least && value <= most))
      fail(ErrorCode::kInvalidArgument, "expected ", name, " in [", least, ", ", most, "], found ",
           value);
  };
  check("tensor_parallel", static_cast<double>(options.tensor_parallel), 1, kMostSide);
  check("concurrency", static_cast<double>(options.concurrency), 1, kMostConcurrency);
  check("memory_bytes", static_cast<double>(options.memory_bytes), 0, 1e18);
  check("image_width", static_cast<double>(options.image_width), 0, kMostSide);
  check("image_height", static_cast<double>(options.image_height), 0, kMostSide);
  check("sound_s", options.sound_s, 0, 24 * 3600);
}

struct Accelerator {
  const char* name;
  int64_t memory_bytes;
};

// As their makers state it in data sheets, in billions of bytes: a little less than the cards have,
// which is what drivers take for themselves.
constexpr Accelerator kAccelerators[] = {
    {"a100-40gb", 40'000'000'000},     {"a100-80gb", 80'000'000'000},
    {"h100-80gb", 80'000'000'000},     {"h200-141gb", 141'000'000'000},
    {"b200-180gb", 180'000'000'000},   {"l40s-48gb", 48'000'000'000},
    {"rtx-4090-24gb", 24'000'000'000}, {"rtx-5090-32gb", 32'000'000'000},
};

int64_t memory_of(const PlanOptions& options) {
  if (options.device == "cpu")
    return options.memory_bytes > 0 ? options.memory_bytes : available_bytes();
  std::string known = "cpu";
  for (const Accelerator& a : kAccelerators) {
    if (options.device == a.name)
      return options.memory_bytes > 0 ? options.memory_bytes : a.memory_bytes;
    known += std::string(", ") + a.name;
  }
  fail(ErrorCode::kInvalidArgument, "expected a device of ", known, "; found \"", options.device,
       "\"");
}

struct Item {
  const char* name;
  int64_t bytes;
};

/// A model that was sized, and what it would take for any context.
class Plan {
 public:
  Plan(const std::string& path, const PlanOptions& options)
      : options_(options), available_(memory_of(options)) {
    return_free_memory();
    const int64_t before = anonymous_bytes();
    files_ = open_config_files(path, CheckpointParts::kHeaders);
    files_.measure = true;
    const Family& family = find_family(files_);
    config_ = map_model(files_);
    engine_ = family.make_engine(files_, config_, options.engine);
    measured_ = dynamic_cast<MeasuredEngine*>(engine_.get());
    ONNURI_CHECK(measured_ != nullptr);
    tables_ = std::max<int64_t>(0, anonymous_bytes() - before);
    measured_->split(options.tensor_parallel);
    measured_->rehearse({options.image_width, options.image_height, options.sound_s});
    use_ = measured_->memory_use();
  }

  int64_t needed_bytes() const { return needed(measured_->context_size(), options_.concurrency); }
  int64_t context_size() const { return measured_->context_size(); }

  JsonValue facts() const {
    JsonValue out;
    out.set("family", config_.family);
    out.set("model_name", config_.model_name);
    out.set("path", files_.path);
    out.set("storage", storage_facts(*files_.checkpoint));
    out.set("context", context_size());
    out.set("concurrency", options_.concurrency);
    out.set("kv_dtype", kv_dtype_name(kv_dtype_of(options_.engine)));
    out.set("kv_cache", measured_->kv_facts());
    const std::vector<Item> items = list_items();
    JsonValue::Array list;
    for (const Item& item : items) {
      JsonValue entry;
      entry.set("name", item.name);
      entry.set("bytes", item.bytes);
      list.push_back(std::move(entry));
    }
    out.set("items", std::move(list));
    out.set("needed_bytes", needed_bytes());
    out.set("mapped_bytes", use_.mapped);
    out.set("device", options_.device);
    out.set("tensor_parallel", options_.tensor_parallel);
    out.set("needed_bytes_of_all", needed_bytes() * options_.tensor_parallel);
    out.set("available_bytes", available_);
    add_verdict(items, out);
    return out;
  }

 private:
  int64_t fixed() const { return use_.weights + use_.scratch + use_.encoder_scratch + tables_; }

  // Windows of earlier prompts: what so many requests leave, within the engine's budget.
  int64_t kept(const MemoryUse& kv, int64_t concurrency) const {
    const int64_t budget = options_.engine.prefix_snapshot_bytes;
    return kv.kv_kept > budget / concurrency ? budget : kv.kv_kept * concurrency;
  }

  // What lies on disk of keys and values that have a cap in memory.
  int64_t beyond_cap(const MemoryUse& kv, int64_t concurrency) const {
    if (options_.engine.kv_disk.empty()) return 0;
    const int64_t cap =
        options_.engine.kv_ram_bytes > 0 ? options_.engine.kv_ram_bytes : available_ / 2;
    const int64_t windows = (kv.kv_window + kv.kv_state) * concurrency,
                  full = kv.kv_full * concurrency;
    return std::max<int64_t>(0, full - std::max<int64_t>(kv.kv_full, cap - windows));
  }

  int64_t needed(int64_t context, int64_t concurrency) const {
    const MemoryUse kv = measured_->kv_use(context);
    int64_t bytes = 0;
    const int64_t of_one = kv.kv_full + kv.kv_window + kv.kv_state;
    const bool overflow = __builtin_mul_overflow(of_one, concurrency, &bytes) ||
                          __builtin_sub_overflow(bytes, beyond_cap(kv, concurrency), &bytes) ||
                          __builtin_add_overflow(bytes, fixed() + kept(kv, concurrency), &bytes);
    return overflow ? std::numeric_limits<int64_t>::max() : bytes;
  }

  std::vector<Item> list_items() const {
    std::vector<Item> items = {{"weights", use_.weights}};
    const MemoryUse kv = measured_->kv_use(context_size());
    const auto add = [&](const char* name, int64_t bytes) {
      if (bytes > 0) items.push_back({name, bytes});
    };
    add("full layers' keys and values",
        kv.kv_full * options_.concurrency - beyond_cap(kv, options_.concurrency));
    add("window layers' keys and values", kv.kv_window * options_.concurrency);
    add("linear layers' states", kv.kv_state * options_.concurrency);
    add("window layers kept for later prompts", kept(kv, options_.concurrency));
    add("working memory of a pass", use_.scratch);
    add("working memory of encoders", use_.encoder_scratch);
    add("tokenizer and tables", tables_);
    return items;
  }

  // The largest x in [1, most] that fits, or 0; what is needed grows with x.
  template <typename Needed>
  int64_t largest(int64_t most, Needed&& needed_by) const {
    int64_t low = 0, high = most;
    while (low < high) {
      const int64_t middle = low + (high - low + 1) / 2;
      if (needed_by(middle) <= available_)
        low = middle;
      else
        high = middle - 1;
    }
    return low;
  }

  void add_verdict(const std::vector<Item>& items, JsonValue& out) const {
    const bool fits = needed_bytes() <= available_;
    out.set("fits", fits);
    const auto largest_item = std::max_element(
        items.begin(), items.end(), [](const Item& a, const Item& b) { return a.bytes < b.bytes; });
    const bool fixed_fits = fixed() <= available_;
    out.set("limit", fits         ? JsonValue()
                     : fixed_fits ? JsonValue("keys and values")
                                  : JsonValue(largest_item->name));
    const int64_t longest = std::max<int64_t>(config_.decoder.max_position, context_size());
    out.set("largest_context", largest(longest, [&](int64_t context) {
              return needed(context, options_.concurrency);
            }));
    out.set("largest_concurrency",
            largest(kMostConcurrency, [&](int64_t n) { return needed(context_size(), n); }));
  }

  PlanOptions options_;
  int64_t available_ = 0;
  ModelFiles files_;
  ModelConfig config_;
  std::unique_ptr<Engine> engine_;
  MeasuredEngine* measured_ = nullptr;
  MemoryUse use_;
  int64_t tables_ = 0;
};

// Memory of this process after the model was loaded and made its largest pass.
int64_t measure(const std::string& path, const PlanOptions& options, const ModelConfig& config,
                int64_t context) {
  return_free_memory();
  const int64_t before = anonymous_bytes();
  EngineOptions engine_options = options.engine;
  if (config.decoder.num_layers() > 0) engine_options.context_size = context;
  const std::unique_ptr<Engine> engine = Engine::load(path, engine_options);
  if (config.speech_decoder) {
    Waveform window;
    window.samples.assign(static_cast<size_t>(config.audio->mel.padded_samples), 0.0f);
    engine->transcribe(window, {});
  } else if (config.embed) {
    engine->embed_image(grey_picture(options.image_width, options.image_height));
  } else {
    GenerateRequest request;
    request.input_ids.assign(static_cast<size_t>(std::max<int64_t>(1, context - 1)), 0);
    request.max_new_tokens = 1;
    request.ignore_eos = true;
    engine->generate(request, nullptr);
  }
  return anonymous_bytes() - before;
}

}  // namespace

std::vector<std::string> plan_device_names() {
  std::vector<std::string> out = {"cpu"};
  for (const Accelerator& a : kAccelerators) out.push_back(a.name);
  return out;
}

std::string plan_model_json(const std::string& path, const PlanOptions& options) {
  const std::string what = "plan " + path;
  check_options(options);
  return guard_memory(what.c_str(), [&] { return Plan(path, options).facts().dump(); });
}

std::string check_plan_json(const std::string& path, const PlanOptions& options) {
  const std::string what = "check the plan of " + path;
  check_options(options);
  if (options.tensor_parallel != 1 || options.device != "cpu")
    fail(ErrorCode::kUnsupported, "expected a plan for this machine alone to be checked, found ",
         options.tensor_parallel, " x ", options.device);
  return guard_memory(what.c_str(), [&] {
    PlanOptions one = options;
    one.concurrency = 1;
    const ModelConfig config = map_model(open_model_files(path));
    if (config.decoder.num_layers() > 0) {  // the pass that is measured reads no media
      one.image_width = one.image_height = 0;
      one.sound_s = 0;
    }
    JsonValue out;
    int64_t planned = 0, context = 0;
    {
      const Plan plan(path, one);
      planned = plan.needed_bytes();
      context = plan.context_size();
      out.set("plan", plan.facts());
    }
    const int64_t measured = measure(path, one, config, context);
    out.set("planned_bytes", planned);
    out.set("measured_bytes", measured);
    out.set("error", measured > 0
                         ? static_cast<double>(planned - measured) / static_cast<double>(measured)
                         : 0.0);
    return out.dump();
  });
}

}  // namespace onnuri
