// The keys and values of the newest request, for the next one that begins alike: the next turn of a
// conversation, or another question after the same instructions.
//
// What is taken over has the bits that computing it again would give:
//   - rows do not hang on the chunk, the batch or the threads that computed them;
//   - a medium is the same when its content is, not when its placeholder tokens are;
//   - rows of pictures that see ahead are taken in whole runs;
//   - latent attention reads whole blocks of a prompt in another way than what follows them, so
//     that only blocks that both prompts read alike are taken;
//   - where an indexer chooses keys, equal scores are told apart by the length of the prompt:
//     nothing is taken.
// A ring of a window layer that has moved on too far to go back is given up as a whole.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/content_hash.h"
#include "decoder/kv_cache.h"
#include "fusion/positions.h"

namespace onnuri {

/// What stands in a sequence of the cache, token by token.
struct PromptContent {
  std::vector<int32_t> ids;
  int64_t num_axes = 1;
  std::vector<float> positions;       // (num_axes, ids.size())
  std::vector<MediaSpan> spans;       // in order
  std::vector<ContentKey> keys;       // of each span's medium
  std::vector<int32_t> visible_ends;  // (ids.size()) or empty
  std::string tenant;
  int64_t prompt_tokens = 0;  // the rest are tokens of an answer

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
};

class PromptMemory {
 public:
  struct Start {
    std::unique_ptr<KvSequence> kv;  // null: begin anew
    int64_t reused = 0;              // tokens in it
    std::string note;                // why not more, for people
  };

  explicit PromptMemory(const DecoderConfig& config);

  /// The kept sequence, cut back to what it shares with `prompt`, whose last token is always left
  /// to be computed. Nothing is kept afterwards.
  Start take(const PromptContent& prompt);
  /// Keeps `kv`, which holds the first tokens of `content` at most.
  void keep(std::unique_ptr<KvSequence> kv, PromptContent content);
  void drop();

 private:
  int64_t shared_tokens(const PromptContent& prompt, std::string& note) const;

  bool exact_ = true;         // whether rows of another prompt are these bits at all
  int64_t latent_block_ = 0;  // of latent attention; 0: there is none
  std::unique_ptr<KvSequence> kv_;
  PromptContent content_;
};

}  // namespace onnuri
