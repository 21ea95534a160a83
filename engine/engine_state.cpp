// Conversations of the text engine that outlive their process.
#include "core/check.h"
#include "engine/model_facts.h"
#include "engine/state_file.h"
#include "engine/text_engine.h"
#include "kernels/kernel_table.h"

namespace onnuri {

// All that the rows of a state depend on: the checkpoint by its names, shapes and the ends of each
// tensor, and how it is computed.
ContentKey TextEngine::state_key() const {
  constexpr int64_t kSample = 4096;
  ContentHash hash;
  hash.add("onnuri state").add(model_facts(config_, *checkpoint_).dump());
  hash.add(backend_.table().name).add(static_cast<int64_t>(compute_));
  for (const std::string& name : checkpoint_->names()) {
    const TensorView tensor = checkpoint_->find(name);
    hash.add(name).add(tensor.shape.to_string()).add(static_cast<int64_t>(tensor.dtype));
    if (tensor.data == nullptr || tensor.encoding != nullptr) continue;
    const int64_t size = tensor.num_bytes(), sample = std::min(size, kSample);
    const auto* bytes = static_cast<const uint8_t*>(tensor.data);
    hash.add(std::span(bytes, static_cast<size_t>(sample)));
    hash.add(std::span(bytes + (size - sample), static_cast<size_t>(sample)));
  }
  return hash.finish();
}

PromptMemory& TextEngine::memory_to_save() const {
  if (!memory_)
    fail(ErrorCode::kUnsupported, "expected an engine that keeps what it has read, found ",
         decoder_->has_draft() ? "a prediction module, which reads every token itself"
                               : "prefix caching off");
  return *memory_;
}

void TextEngine::save(const std::string& path, const std::string& tenant) {
  PromptMemory& memory = memory_to_save();
  loop_->exclusive([&] {
    const KeptText text = memory.newest(tenant);
    if (!text.prefix)
      fail(ErrorCode::kNotFound, "expected a conversation to save, found none that is kept");
    write_state(path, state_key(), *cache_, text);
  });
}

void TextEngine::restore(const std::string& path) {
  PromptMemory& memory = memory_to_save();
  loop_->exclusive([&] {
    StateLimits limits;
    limits.model = state_key();
    limits.vocab_size = config_.decoder.vocab_size;
    limits.context_size = context_size_;
    limits.num_axes = config_.decoder.position_axes();
    memory.insert(read_state(path, limits, *cache_, [&] { return memory.make_room(); }));
  });
}

}  // namespace onnuri
