#include "engine/prompt_memory.h"

#include <algorithm>

#include "core/check.h"
#include "decoder/latent_attention.h"

namespace onnuri {
namespace {

int32_t visible_end(const PromptContent& content, int64_t token) {
  return content.visible_ends.empty() ? static_cast<int32_t>(token + 1)
                                      : content.visible_ends[static_cast<size_t>(token)];
}

bool same_token(const PromptContent& a, const PromptContent& b, int64_t token) {
  const auto at = static_cast<size_t>(token);
  if (a.ids[at] != b.ids[at] || visible_end(a, token) != visible_end(b, token)) return false;
  for (int64_t axis = 0; axis < a.num_axes; ++axis)
    if (a.positions[static_cast<size_t>(axis * a.size() + token)] !=
        b.positions[static_cast<size_t>(axis * b.size() + token)])
      return false;
  return true;
}

bool same_medium(const PromptContent& a, const PromptContent& b, size_t span) {
  const MediaSpan &x = a.spans[span], &y = b.spans[span];
  return x.first_token == y.first_token && x.num_tokens == y.num_tokens &&
         x.first_cell == y.first_cell && x.kind == y.kind && a.keys[span] == b.keys[span];
}

/// Where the media of the two begin to differ, at most `limit`.
int64_t same_media(const PromptContent& a, const PromptContent& b, int64_t limit) {
  for (size_t i = 0; i < std::max(a.spans.size(), b.spans.size()); ++i) {
    if (i < a.spans.size() && i < b.spans.size() && same_medium(a, b, i)) continue;
    for (const PromptContent* c : {&a, &b})
      if (i < c->spans.size()) limit = std::min(limit, c->spans[i].first_token);
    break;
  }
  return limit;
}

}  // namespace

PromptMemory::PromptMemory(const DecoderConfig& config) {
  for (const LayerSpec& layer : config.layers) {
    if (layer.mixer == MixerKind::kMla && reads_prompts_in_blocks(config.mla, layer.output_gate))
      latent_block_ = config.mla.prompt_block;
    if (layer.sparse_index) exact_ = false;
  }
}

int64_t PromptMemory::shared_tokens(const PromptContent& prompt, std::string& note) const {
  const int64_t kept = std::min(kv_->num_tokens(), content_.size());
  const int64_t most = std::min(kept, prompt.size() - 1);
  int64_t shared = 0;
  while (shared < most && same_token(content_, prompt, shared)) ++shared;
  if (shared < most) note = "the text differs from token " + std::to_string(shared) + " on";
  const int64_t media = same_media(content_, prompt, shared);
  if (media < shared) note = "the media differ from token " + std::to_string(media) + " on";
  shared = media;
  if (latent_block_ > 0) {
    const auto whole = [&](int64_t tokens) { return (tokens - 1) / latent_block_ * latent_block_; };
    const int64_t blocks = std::min(whole(content_.prompt_tokens), whole(prompt.size()));
    if (blocks < shared) note = "latent attention takes over whole blocks of prompts";
    shared = std::min(shared, blocks);
  }
  // Tokens that see ahead see all of their run, or are computed again.
  while (shared > 0 && visible_end(prompt, shared - 1) > shared) --shared;
  return shared;
}

PromptMemory::Start PromptMemory::take(const PromptContent& prompt) {
  Start out;
  if (!kv_) {
    out.note = exact_ ? "nothing was kept" : "keys are chosen by the length of the prompt";
    return out;
  }
  std::unique_ptr<KvSequence> kv;
  if (content_.tenant != prompt.tenant || content_.num_axes != prompt.num_axes) {
    out.note = "what was kept belongs to another tenant";
  } else {
    const int64_t shared = shared_tokens(prompt, out.note);
    if (shared == 0) {
      if (out.note.empty()) out.note = "the prompt is a single token";
    } else if (kv_->truncate(shared)) {
      out.reused = shared;
      out.kv = std::move(kv_);
    } else {
      out.note = "a window layer has moved on past token " + std::to_string(shared);
    }
  }
  drop();
  return out;
}

void PromptMemory::keep(std::unique_ptr<KvSequence> kv, PromptContent content) {
  drop();
  if (!exact_ || !kv) return;
  const int64_t known = content.size();
  if (kv->num_tokens() > known && !kv->truncate(known)) return;
  kv_ = std::move(kv);
  content_ = std::move(content);
}

void PromptMemory::drop() {
  kv_.reset();
  content_ = {};
}

}  // namespace onnuri
