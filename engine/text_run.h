// One text in the step loop: its tokens, its rows in the cache, and which logits are wanted.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/step_loop.h"
#include "engine/text_engine.h"

namespace onnuri {

class ModuleDraft;

/// The prompt and what follows it. The sequence belongs to whoever makes the step (StepMember); all
/// else to the thread of the request, which changes nothing while it waits in the loop.
class TextEngine::Run final : public StepMember {
 public:
  /// `prompt` must outlive the member's time in the loop; its media may be encoded later.
  Run(TextEngine& engine, const PreparedPrompt& prompt, std::string tenant);

  /// May begin with what earlier prompts left, and leaves its own rows to later ones.
  void share() { shares_ = true; }
  /// Follows the hidden rows, of an engine that runs one sequence at a time.
  void follow_with(ModuleDraft* module) { module_ = module; }

  int64_t prompt_tokens() const { return static_cast<int64_t>(prompt_->ids.size()); }
  int64_t num_tokens() const { return prompt_tokens() + static_cast<int64_t>(answer_.size()); }
  /// Tokens that follow the text so far; the loop has to be told.
  void append(std::span<const int32_t> ids);
  /// Only the first `num_tokens` remain; the loop has to be told.
  void shorten(int64_t num_tokens);
  /// Logits of the tokens from `first_token` on go to `out`, one row of the vocabulary for each.
  void want(int64_t first_token, float* out);

  /// With the machine: cuts the sequence back to the prompt. False when that takes a new one.
  bool back_to_prompt();
  /// With the machine: what the next prompt may take over (the last token was never read).
  void keep_on_retirement(std::span<const int32_t> answer);

  int64_t reused_tokens() const { return reused_; }
  const std::string& reuse_note() const { return reuse_note_; }
  /// When it first had a sequence.
  std::chrono::steady_clock::time_point opened_at() const { return opened_at_; }
  /// The most bytes after a pass that read of the prompt, or of what follows it.
  int64_t prefill_bytes() const { return prefill_bytes_; }
  int64_t decode_bytes() const { return decode_bytes_; }

  int64_t open() override;
  void close() override;
  int64_t fill(int64_t most_rows, bool alone, Pass& pass) override;
  void take(ConstMatrixView logits) override;
  void retire() override;

 private:
  int64_t chunk_end(int64_t begin, int64_t most_rows) const;
  void add_prompt_rows(int64_t begin, int64_t end, Pass& pass) const;
  void add_answer_rows(int64_t begin, int64_t end, Pass& pass) const;
  PromptContent content() const;
  void share_prompt();

  TextEngine& engine_;
  const PreparedPrompt* prompt_;
  std::string tenant_;
  bool shares_ = false;
  ModuleDraft* module_ = nullptr;
  std::vector<int32_t> answer_;  // and guesses
  std::unique_ptr<KvSequence> kv_;
  int64_t valid_ = 0;   // rows of kv_ that are of this text
  int64_t branch_ = 0;  // where another text went another way; 0: nowhere
  int64_t wanted_from_ = 0;
  float* out_ = nullptr;
  float* next_out_ = nullptr;  // of the pass
  bool opened_once_ = false;
  std::chrono::steady_clock::time_point opened_at_;
  int64_t prefill_bytes_ = 0;
  int64_t decode_bytes_ = 0;
  int64_t reused_ = 0;
  std::string reuse_note_;
  bool keeps_ = false;
  PromptContent kept_;
};

/// A run's time in the loop.
class TextEngine::Place {
 public:
  Place(TextEngine& engine, std::unique_ptr<Run> run, const ScheduledRequest& request);
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  Run& run() { return *run_; }
  /// Computes rows that are known, at least one; false when none is missing.
  bool advance(const StepLoop::Idle& idle);
  int64_t num_missing() const;
  void append(std::span<const int32_t> ids);
  void append(int32_t id) { append(std::span(&id, 1)); }
  void shorten(int64_t num_tokens);
  void back_to_prompt();
  /// Runs `work` when nobody else computes.
  void exclusive(const std::function<void()>& work);
  /// Rows of the last advance().
  int64_t num_rows() const { return num_rows_; }

 private:
  TextEngine& engine_;
  std::unique_ptr<Run> run_;
  int64_t num_rows_ = 0;
};

}  // namespace onnuri
