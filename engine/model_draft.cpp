#include "engine/model_draft.h"

#include <algorithm>

#include "core/check.h"
#include "decoder/sampler.h"
#include "engine/load_support.h"
#include "engine/model_config.h"

namespace onnuri {
namespace {

std::unique_ptr<Tokenizer> tokenizer_of(const ModelFiles& files) {
  if (!files.is_gguf()) return load_tokenizer(files.path);
  return load_tokenizer_from_gguf(files.checkpoint->metadata());
}

// Both must mean the same by an id. Embeddings may be padded beyond the vocabulary.
void check_same_tokens(const Tokenizer& main, const Tokenizer& draft, const std::string& path) {
  const auto count = static_cast<int32_t>(std::min(main.vocab_size(), draft.vocab_size()));
  for (int32_t id = 0; id < count; ++id)
    if (main.id_to_token(id) != draft.id_to_token(id))
      fail(ErrorCode::kUnsupported, "expected a draft model of the same vocabulary, found token ",
           id, " of ", path, " to be \"", draft.id_to_token(id), "\", not \"", main.id_to_token(id),
           "\"");
}

}  // namespace

DraftModel::DraftModel(const std::string& path, const Tokenizer* tokenizer, int64_t vocab_size,
                       Backend& backend, ComputeType compute, const KvCacheOptions& kv) {
  const ModelFiles files = open_model_files(path);
  const ModelConfig config = map_model(files);
  if (config.decoder.num_layers() == 0)
    fail(ErrorCode::kUnsupported, "expected a draft model that continues text, found family ",
         config.family, " at ", path);
  if (tokenizer != nullptr)
    check_same_tokens(*tokenizer, *tokenizer_of(files), path);
  else if (config.decoder.vocab_size != vocab_size)
    fail(ErrorCode::kUnsupported, "expected a draft model with a vocabulary of ", vocab_size,
         ", found ", config.decoder.vocab_size, " at ", path);
  checkpoint_ = files.checkpoint;
  TensorSource source = open_tensors(files, config);
  decoder_ = Decoder::load(config.decoder, source, backend, compute, {});
  cache_ = std::make_unique<KvCache>(config.decoder, kv);
}

ModelDraft::ModelDraft(DraftModel& model, int64_t vocab_size, int64_t max_tokens)
    : model_(model), vocab_size_(vocab_size), max_tokens_(max_tokens), length_(max_tokens) {}

bool ModelDraft::can_read(int32_t id) const {
  return id >= 0 && id < model_.decoder().config().vocab_size;
}

bool ModelDraft::align() {
  const auto [at, unused] = std::mismatch(read_.begin(), read_.end(), ids_.begin(), ids_.end());
  // The last token is read once more where all are there: its logits are wanted.
  const auto same = std::min(static_cast<size_t>(at - read_.begin()), ids_.size() - 1);
  if (kv_ && same == read_.size()) return true;
  if (kv_ && kv_->truncate(static_cast<int64_t>(same))) {
    read_.resize(same);
    return true;
  }
  kv_.reset();
  read_.clear();
  kv_ = model_.cache().new_sequence();
  return kv_ != nullptr;
}

bool ModelDraft::read(std::span<const int32_t> ids) {
  const DecoderConfig& config = model_.decoder().config();
  const auto count = static_cast<int64_t>(ids.size()), begin = kv_->num_tokens();
  if (begin + count > config.max_position ||
      !std::all_of(ids.begin(), ids.end(), [this](auto id) { return can_read(id); }))
    return false;
  if (!kv_->reserve(count)) return false;
  positions_.clear();
  for (int64_t axis = 0; axis < config.position_axes(); ++axis)
    for (int64_t i = begin; i < begin + count; ++i) positions_.push_back(static_cast<float>(i));
  const SequenceSlice slice{0, count, begin, kv_.get()};
  const int64_t last = count - 1;
  logits_.resize(static_cast<size_t>(config.vocab_size));
  Batch batch;
  batch.ids = ids;
  batch.positions = positions_;
  batch.sequences = std::span(&slice, 1);
  batch.logit_rows = std::span(&last, 1);
  model_.decoder().forward(batch, matrix(logits_.data(), 1, config.vocab_size));
  read_.insert(read_.end(), ids.begin(), ids.end());
  return true;
}

bool ModelDraft::catch_up() {
  if (ids_.empty() || !align()) return false;
  const auto chunk = static_cast<size_t>(kv_->max_chunk());
  if (ids_.size() - read_.size() <= chunk) return false;
  return read(std::span(ids_).subspan(read_.size(), chunk));
}

std::span<const int32_t> ModelDraft::propose(int64_t room) {
  guesses_.clear();
  const int64_t wanted = std::min(room, length_);
  if (wanted < 1 || ids_.empty() || !align()) return {};
  if (ids_.size() - read_.size() > static_cast<size_t>(kv_->max_chunk())) return {};
  if (!read(std::span(ids_).subspan(read_.size()))) return {};
  while (true) {
    const int32_t guess = argmax(logits_);
    if (guess < 0 || guess >= vocab_size_) break;
    guesses_.push_back(guess);
    if (static_cast<int64_t>(guesses_.size()) == wanted) break;
    if (!read(std::span(&guesses_.back(), 1))) break;
  }
  return guesses_;
}

void ModelDraft::report(int64_t proposed, int64_t accepted) {
  if (proposed == 0) return;
  length_ = accepted == proposed ? std::min(max_tokens_, length_ + 1)
                                 : std::max<int64_t>(1, accepted + 1);
}

}  // namespace onnuri
