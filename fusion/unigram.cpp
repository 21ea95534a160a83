// See unigram.h.
#include "fusion/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/check.h"
#include "core/printable.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst token, as SentencePiece has it
constexpr double kFreshSum = 1e5;

// What may be produced: not the unknown token, no blocked one, and of equal texts the last.
std::vector<std::pair<std::string_view, int32_t>> usable_pieces(const Vocabulary& vocabulary,
                                                                size_t count, int32_t unk_id,
                                                                const std::vector<bool>& blocked) {
  std::vector<std::pair<std::string_view, int32_t>> out;
  for (size_t i = 0; i < count; ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view text = vocabulary.text(id);
    if (text.empty() || id == unk_id || vocabulary.find(text) != id) continue;
    if (i < blocked.size() && blocked[i]) continue;
    out.emplace_back(text, id);
  }
  return out;
}

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary, std::vector<double> scores, int32_t unk_id,
                           bool byte_fallback, const std::vector<bool>& blocked, ScoreSums sums)
    : scores_(std::move(scores)),
      unk_id_(unk_id),
      byte_fallback_(byte_fallback),
      sums_(sums),
      trie_(usable_pieces(vocabulary, scores_.size(), unk_id, blocked)) {
  double worst = std::numeric_limits<double>::infinity();
  for (const double score : scores_) worst = std::min(worst, score);
  unk_score_ = sum(worst, -kUnknownPenalty);
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (unsigned b = 0; b < 256; ++b)
    byte_ids_[b] = vocabulary.find(std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + '>');
}

void UnigramModel::encode(std::string_view word, UnigramScratch& scratch,
                          std::vector<int32_t>& out) const {
  using Node = UnigramScratch::Node;
  auto& nodes = scratch.nodes;
  nodes.assign(word.size() + 1, Node{});
  nodes[0].reached = true;
  size_t frontier = 0;  // the furthest node that was offered a path
  for (size_t begin = 0; begin < word.size();) {
    if (sums_ == ScoreSums::kFloat && std::abs(nodes[begin].score) > kFreshSum) {
      const double passed = nodes[begin].score;
      for (size_t i = begin; i <= frontier; ++i) {
        if (nodes[i].reached) nodes[i].score = sum(nodes[i].score, -passed);
      }
    }
    size_t end = begin;
    utf8::next(word, end);
    const size_t next = end;
    bool single = false;
    const auto offer = [&](size_t at, double score, int32_t id) {
      frontier = std::max(frontier, at);
      Node& node = nodes[at];
      if (node.reached && score <= node.score) return;
      if (id < 0 && refuses_unknown_)
        fail(ErrorCode::kInvalidArgument,
             "expected text of the vocabulary, which has no unknown token, found ",
             in_quotes(word.substr(begin, at - begin)));
      node = {score, begin, id, true};
    };
    trie_.walk(word, begin, [&](size_t at, int32_t id) {
      offer(at, sum(nodes[begin].score, scores_[static_cast<size_t>(id)]), id);
      single = single || at == next;
    });
    if (!single) offer(next, sum(nodes[begin].score, unk_score_), -1);
    begin = next;
  }
  auto& path = scratch.path;
  path.clear();
  for (size_t at = word.size(); at > 0; at = nodes[at].from) path.push_back(nodes[at]);
  std::reverse(path.begin(), path.end());
  for (size_t i = 0; i < path.size();) {
    if (path[i].id >= 0) {
      out.push_back(path[i++].id);
      continue;
    }
    const size_t from = path[i].from;
    while (i < path.size() && path[i].id < 0) ++i;  // neighbours are one unknown stretch
    const size_t end = i < path.size() ? path[i].from : word.size();
    emit_unknown(word.substr(from, end - from), out);
  }
}

void UnigramModel::emit_unknown(std::string_view text, std::vector<int32_t>& out) const {
  const auto has_byte = [&](char b) { return byte_ids_[static_cast<uint8_t>(b)] >= 0; };
  if (byte_fallback_ && std::all_of(text.begin(), text.end(), has_byte)) {
    for (const char b : text) out.push_back(byte_ids_[static_cast<uint8_t>(b)]);
  } else if (unk_id_ >= 0) {
    out.push_back(unk_id_);
  }
}

}  // namespace onnuri
