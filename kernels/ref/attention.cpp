// Attention as the formula says: all scores of a row, softmax, weighted sum of values.
#include <cmath>
#include <vector>

#include "kernels/attention_kernels.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_rows.h"

namespace onnuri::ref {
namespace {

// A row of keys or values as numbers.
void read_row(DType dtype, const void* row, std::vector<float>& values) {
  decode_kv_row(dtype, row, static_cast<int64_t>(values.size()), values.data());
}

DType dtype_of(const KeyRows& keys) { return keys.kv != nullptr ? keys.kv->dtype : DType::kF32; }

// One query head of one row. scores (num_keys), sum (v_dim).
void attend_head(const AttentionTask& task, KeyRange range, const float* q, const float* sink,
                 double* scores, double* sum, float* out) {
  const KeyRows& keys = task.keys;
  const DType dtype = dtype_of(keys);
  std::vector<float> k(static_cast<size_t>(keys.k_dim)), v(static_cast<size_t>(keys.v_dim));
  double max = -INFINITY;
  for (int64_t j = range.begin; j < range.end; ++j) {
    read_row(dtype, key_run(keys, j, 1).k, k);
    double dot = 0.0;
    for (int64_t d = 0; d < keys.k_dim; ++d)
      dot += static_cast<double>(q[d]) * static_cast<double>(k[static_cast<size_t>(d)]);
    scores[j - range.begin] = dot * static_cast<double>(task.scale);
    max = std::fmax(max, scores[j - range.begin]);
  }
  if (sink != nullptr) max = std::fmax(max, static_cast<double>(*sink));
  double total = sink != nullptr ? std::exp(static_cast<double>(*sink) - max) : 0.0;
  for (int64_t d = 0; d < keys.v_dim; ++d) sum[d] = 0.0;
  for (int64_t j = range.begin; j < range.end; ++j) {
    const double p = std::exp(scores[j - range.begin] - max);
    read_row(dtype, key_run(keys, j, 1).v, v);
    total += p;
    for (int64_t d = 0; d < keys.v_dim; ++d)
      sum[d] += p * static_cast<double>(v[static_cast<size_t>(d)]);
  }
  const bool sees_keys = range.begin < range.end;
  for (int64_t d = 0; d < keys.v_dim; ++d) {
    out[d] = sees_keys ? static_cast<float>(sum[d] / total) : 0.0f;
  }
}

size_t workspace_bytes(int64_t /*rows*/, int64_t num_keys, int64_t /*k_dim*/, int64_t v_dim) {
  return static_cast<size_t>(num_keys + v_dim) * sizeof(double);
}

void attend(const AttentionTask& task, void* workspace) {
  auto* scores = static_cast<double*>(workspace);
  double* sum = scores + task.num_keys;
  for (int64_t r = 0; r < task.num_rows; ++r) {
    const KeyRange range = visible_keys(task, task.position + r);
    for (int64_t g = 0; g < task.group; ++g) {
      attend_head(task, range, task.q + r * task.q_stride + g * task.keys.k_dim,
                  task.sinks != nullptr ? task.sinks + g : nullptr, scores, sum,
                  task.out + r * task.out_stride + g * task.keys.v_dim);
    }
  }
}

void index_scores(const AttentionTask& task, const float* weights, int64_t weights_stride,
                  KeyRange range, float* scores, int64_t scores_stride, void* /*workspace*/) {
  const KeyRows& keys = task.keys;
  const DType dtype = dtype_of(keys);
  std::vector<float> k(static_cast<size_t>(keys.k_dim));
  for (int64_t i = 0; i < task.num_rows; ++i) {
    for (int64_t j = range.begin; j < range.end; ++j) {
      read_row(dtype, key_run(keys, j, 1).k, k);
      double sum = 0.0;
      for (int64_t h = 0; h < task.group; ++h) {
        const float* q = task.q + i * task.q_stride + h * keys.k_dim;
        double dot = 0.0;
        for (int64_t d = 0; d < keys.k_dim; ++d) {
          dot += static_cast<double>(q[d]) * static_cast<double>(k[static_cast<size_t>(d)]);
        }
        if (dot <= 0.0) dot = 0.0;  // NaN stays
        sum += static_cast<double>(weights[i * weights_stride + h]) * dot;
      }
      scores[i * scores_stride + j] = static_cast<float>(sum);
    }
  }
}

int64_t block_rows(int64_t /*k_dim*/, int64_t /*v_dim*/) { return 64; }

constexpr AttentionKernels kAttention{.block_rows = block_rows,
                                      .workspace_bytes = workspace_bytes,
                                      .attend = attend,
                                      .index_scores = index_scores};

}  // namespace

const AttentionKernels& attention_kernels() { return kAttention; }

}  // namespace onnuri::ref
