#include "decoder/moe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/top_k.h"

namespace onnuri {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

void softmax(std::span<float> z) {
  const float top = *std::max_element(z.begin(), z.end());
  float sum = 0.0f;
  for (float& value : z) sum += value = std::exp(value - top);
  for (float& value : z) value /= sum;
}

float group_score(GroupScore kind, std::span<const float> choice) {
  float best = kExcluded;
  float second = kExcluded;
  for (const float c : choice) {
    second = c > best ? best : std::max(second, c);
    best = std::max(best, c);
  }
  if (kind == GroupScore::kMax || choice.size() == 1) return best;
  return best + second;
}

// Index of the largest value that is not `taken`, the lowest one among equals.
size_t next_best(std::span<const float> values, std::span<const uint8_t> taken) {
  size_t best = values.size();
  for (size_t i = 0; i < values.size(); ++i) {
    if (!taken[i] && (best == values.size() || values[i] > values[best])) best = i;
  }
  return best;
}

// Marks the `count` best. Excluded experts that score zero tie by nature: they are told apart as
// the reference implementation does.
void take_best_with_ties(std::span<const float> values, size_t count, RouterScratch& scratch) {
  std::vector<ScoredIndex>& queue = scratch.queue;
  queue.clear();
  for (size_t i = 0; i < values.size(); ++i) queue.push_back({values[i], static_cast<int32_t>(i)});
  move_best_to_front(queue, static_cast<int64_t>(count));
  for (size_t j = 0; j < count; ++j) scratch.taken[static_cast<size_t>(queue[j].index)] = 1;
}

bool any_nan(std::span<const float> values) {
  return std::any_of(values.begin(), values.end(), [](float v) { return std::isnan(v); });
}

// Scores of experts outside the best groups become `excluded`.
void mask_groups(const RouterSpec& router, std::span<float> choice, RouterScratch& scratch) {
  const auto num_groups = static_cast<size_t>(router.num_groups);
  const size_t size = choice.size() / num_groups;
  std::vector<float>& scores = scratch.group_scores;
  scores.resize(num_groups);
  for (size_t g = 0; g < num_groups; ++g) {
    scores[g] = group_score(router.group_score, choice.subspan(g * size, size));
  }
  std::vector<uint8_t>& kept = scratch.kept;
  kept.assign(num_groups, 0);
  for (int64_t n = 0; n < router.num_groups_kept; ++n) kept[next_best(scores, kept)] = 1;
  const float excluded = router.mask_with_zero ? 0.0f : kExcluded;
  for (size_t g = 0; g < num_groups; ++g) {
    if (!kept[g])
      std::fill_n(choice.begin() + static_cast<std::ptrdiff_t>(g * size), size, excluded);
  }
}

}  // namespace

void route(const MoeSpec& spec, std::span<float> logits, const float* correction,
           std::span<int32_t> experts, std::span<float> weights, RouterScratch& scratch) {
  const RouterSpec& router = spec.router;
  const size_t num_experts = logits.size();
  if (router.score == RouterScore::kSoftmax) softmax(logits);
  if (router.score == RouterScore::kSigmoid) {
    for (float& z : logits) z = 1.0f / (1.0f + std::exp(-z));
  }
  std::vector<float>& choice = scratch.choice;
  choice.assign(logits.begin(), logits.end());
  if (correction != nullptr) {
    for (size_t e = 0; e < num_experts; ++e) choice[e] += correction[e];
  }
  if (any_nan(choice)) {
    std::iota(experts.begin(), experts.end(), 0);
    std::fill(weights.begin(), weights.end(), std::numeric_limits<float>::quiet_NaN());
    return;
  }
  if (router.num_groups > 1) mask_groups(router, choice, scratch);

  std::vector<uint8_t>& taken = scratch.taken;
  taken.assign(num_experts, 0);
  if (router.num_groups > 1 && router.mask_with_zero) {
    take_best_with_ties(choice, experts.size(), scratch);
  } else {
    for (size_t j = 0; j < experts.size(); ++j) taken[next_best(choice, taken)] = 1;
  }
  size_t count = 0;
  for (size_t e = 0; e < num_experts; ++e) {
    if (!taken[e]) continue;
    experts[count] = static_cast<int32_t>(e);
    weights[count++] = logits[e];
  }
  if (router.score == RouterScore::kSoftmaxAfterTopk) {
    softmax(weights);
  } else if (router.renormalize) {
    float sum = 1e-20f;
    for (const float w : weights) sum += w;
    for (float& w : weights) w /= sum;
  }
  for (float& w : weights) w *= router.scale;
}

namespace {

// Routes every row, then numbers the (row, expert) pairs so that each expert's rows are neighbours.
void group_rows(Backend& backend, const MoeSpec& spec, const MoeWeights& weights,
                const MatrixView& logits, Workspace& ws) {
  const auto k = static_cast<size_t>(spec.num_experts_per_token);
  const auto rows = static_cast<size_t>(logits.rows);
  ws.experts.resize(rows * k);
  ws.expert_weights.resize(rows * k);
  ws.expert_rows.resize(rows * k);
  ws.expert_offsets.assign(static_cast<size_t>(spec.num_experts) + 1, 0);
  constexpr int64_t kRowsPerChunk = 16;
  const int64_t chunks = (logits.rows + kRowsPerChunk - 1) / kRowsPerChunk;
  ws.router.resize(static_cast<size_t>(backend.num_threads()));
  backend.pool().run(chunks, [&](int64_t chunk, int worker) {
    const int64_t end = std::min(logits.rows, (chunk + 1) * kRowsPerChunk);
    for (int64_t t = chunk * kRowsPerChunk; t < end; ++t) {
      const size_t first = static_cast<size_t>(t) * k;
      route(spec, {logits.row(t), static_cast<size_t>(logits.cols)}, weights.correction.f32(),
            std::span(ws.experts).subspan(first, k), std::span(ws.expert_weights).subspan(first, k),
            ws.router[static_cast<size_t>(worker)]);
    }
  });
  for (const int32_t e : ws.experts) ++ws.expert_offsets[static_cast<size_t>(e) + 1];
  for (size_t e = 1; e < ws.expert_offsets.size(); ++e) {
    ws.expert_offsets[e] += ws.expert_offsets[e - 1];
  }
  // Offsets serve as cursors, then move back by one expert.
  for (size_t i = 0; i < ws.experts.size(); ++i) {
    ws.expert_rows[i] = ws.expert_offsets[static_cast<size_t>(ws.experts[i])]++;
  }
  std::copy_backward(ws.expert_offsets.begin(), ws.expert_offsets.end() - 1,
                     ws.expert_offsets.end());
  ws.expert_offsets[0] = 0;
}

}  // namespace

void run_moe(Backend& backend, const DecoderConfig& config, const GluParams& activation,
             const MoeWeights& weights, ConstMatrixView x, Store store, MatrixView out,
             Workspace& ws) {
  const MoeSpec& spec = config.moe;
  const int64_t k = spec.num_experts_per_token;
  const int64_t hidden = config.hidden_size;
  const MatrixView logits = ws.get(Buffer::kRouter, x.rows, spec.num_experts);
  linear(backend, x, weights.router, weights.router_bias.f32(), logits);
  group_rows(backend, spec, weights, logits, ws);

  const MatrixView input = ws.get(Buffer::kExpertInput, x.rows * k, hidden);
  backend.pool().run(x.rows, [&](int64_t t, int) {
    for (int64_t j = 0; j < k; ++j) {
      std::memcpy(input.row(ws.expert_rows[static_cast<size_t>(t * k + j)]), x.row(t),
                  static_cast<size_t>(hidden) * sizeof(float));
    }
  });
  const int64_t width = spec.intermediate_size;
  const MatrixView gate_up = ws.get(Buffer::kExpertGateUp, x.rows * k, 2 * width);
  linear_grouped(backend, input, ws.expert_offsets, weights.gate_up, weights.gate_up_bias, gate_up);
  const MatrixView activated = ws.get(Buffer::kExpertGlu, x.rows * k, width);
  glu(backend, activation, gate_up, activated);
  const MatrixView output = ws.get(Buffer::kExpertOutput, x.rows * k, hidden);
  linear_grouped(backend, activated, ws.expert_offsets, weights.down, weights.down_bias, output);

  if (!weights.shared.down.empty()) {
    run_ffn(backend, activation, weights.shared, x, store, out, ws);
    store = Store::kAdd;
  }
  backend.pool().run(x.rows, [&](int64_t t, int) {
    float* y = out.row(t);
    if (store == Store::kOverwrite) std::fill_n(y, hidden, 0.0f);
    for (int64_t j = 0; j < k; ++j) {
      const auto pair = static_cast<size_t>(t * k + j);
      const float w = ws.expert_weights[pair];
      const float* expert = output.row(ws.expert_rows[pair]);
      for (int64_t c = 0; c < hidden; ++c) y[c] += w * expert[c];
    }
  });
}

void run_ffn(Backend& backend, const GluParams& activation, const FfnWeights& weights,
             ConstMatrixView x, Store store, MatrixView out, Workspace& ws) {
  const int64_t width = weights.down.cols();
  const MatrixView gate_up = ws.get(Buffer::kGateUp, x.rows, 2 * width);
  linear(backend, x, weights.gate_up, weights.gate_up_bias.f32(), gate_up);
  const MatrixView activated = ws.get(Buffer::kGlu, x.rows, width);
  GluParams params = activation;
  params.poly = weights.poly.f32();
  glu(backend, params, gate_up, activated);
  if (!weights.row_gate.empty()) {  // before the last product, which is linear
    const MatrixView gate = ws.get(Buffer::kSharedGate, x.rows, 1);
    linear(backend, x, weights.row_gate, nullptr, gate);
    backend.pool().run(x.rows, [&](int64_t t, int) {
      const float g = 1.0f / (1.0f + std::exp(-gate.row(t)[0]));
      for (int64_t c = 0; c < width; ++c) activated.row(t)[c] *= g;
    });
  }
  const std::array<LinearTask, 1> task = {
      LinearTask{&weights.down, weights.down_bias.f32(), out, store == Store::kAdd}};
  linear(backend, activated, task);
}

}  // namespace onnuri
