// Rows to codes against the formula in double precision; digits to numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "encoders/vector_codes.h"
#include "onnuri/error.h"
#include "tests/support/memory_checkpoint.h"

namespace onnuri {
namespace {

constexpr int64_t kIn = 24, kSize = 5, kCodes = 130, kRows = 100;

std::shared_ptr<MemoryCheckpoint> weights() {
  auto out = std::make_shared<MemoryCheckpoint>();
  out->add_random("v.task.weight", Shape{kIn, kIn}, 0.3f);
  out->add_random("v.task.bias", Shape{kIn}, 0.1f);
  out->add_random("v.in.weight", Shape{kSize, kIn}, 0.5f);
  out->add_random("v.in.bias", Shape{kSize}, 0.1f);
  out->add_random("v.table", Shape{kCodes, kSize}, 1.0f);
  out->add_random("v.project.weight", Shape{kSize, kSize}, 0.5f);
  out->add_random("v.project.bias", Shape{kSize}, 0.1f);
  out->add_random("x", Shape{kRows, kIn}, 1.0f);
  return out;
}

using Row = std::vector<double>;

Row product(const MemoryCheckpoint& w, const std::string& name, const Row& x) {
  const std::vector<float>&weight = w.values(name + ".weight"), &bias = w.values(name + ".bias");
  Row out(bias.begin(), bias.end());
  for (size_t r = 0; r < out.size(); ++r)
    for (size_t c = 0; c < x.size(); ++c)
      out[r] += static_cast<double>(weight[r * x.size() + c]) * x[c];
  return out;
}

Row row_of(const std::vector<float>& values, size_t row, size_t cols) {
  Row out;
  for (size_t c = 0; c < cols; ++c) out.push_back(static_cast<double>(values[row * cols + c]));
  return out;
}

void to_unit_length(Row& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  for (double& v : x) v /= std::sqrt(sum);
}

/// The distances of one row to every code.
Row distances(const MemoryCheckpoint& w, size_t row, bool unit_length) {
  Row h = product(w, "v.task", row_of(w.values("x"), row, kIn));
  for (double& v : h) v = std::tanh(v);
  Row z = product(w, "v.in", h), out;
  if (unit_length) to_unit_length(z);
  for (size_t k = 0; k < kCodes; ++k) {
    Row code = product(w, "v.project", row_of(w.values("v.table"), k, kSize));
    if (unit_length) to_unit_length(code);
    double sum = 0;
    for (size_t c = 0; c < kSize; ++c) sum += (z[c] - code[c]) * (z[c] - code[c]);
    out.push_back(sum);
  }
  return out;
}

class Codebook : public ::testing::TestWithParam<bool> {};

TEST_P(Codebook, NearestCodeWins) {
  const auto w = weights();
  TensorSource source = identity_source(w);
  for (const char* isa : {"ref", ""}) {
    Backend backend(2, isa);
    const auto codes = VectorCodes::load({kIn, kSize, kCodes, GetParam()}, source, "v.", backend);
    const std::vector<int32_t> found = codes->forward(matrix(w->values("x").data(), kRows, kIn));
    ASSERT_EQ(found.size(), static_cast<size_t>(kRows));
    int64_t clear = 0;
    for (size_t r = 0; r < found.size(); ++r) {
      const Row d = distances(*w, r, GetParam());
      const double best = *std::min_element(d.begin(), d.end());
      const auto code = static_cast<size_t>(found[r]);
      EXPECT_LE(d[code], best + 1e-5) << "row " << r;
      clear += d[code] == best ? 1 : 0;
    }
    EXPECT_GE(clear, kRows - 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Both, Codebook, ::testing::Bool());

TEST(VectorCodesLoad, RefusesSizesThatCannotBe) {
  TensorSource source = identity_source(weights());
  Backend backend(1, "");
  for (const VectorCodesConfig& bad :
       {VectorCodesConfig{kIn, kSize, 0, false}, VectorCodesConfig{kIn, kSize, 1 << 30, false},
        VectorCodesConfig{kIn + 1, kSize, kCodes, false}, VectorCodesConfig{kIn, -5, kCodes, true}})
    EXPECT_THROW(VectorCodes::load(bad, source, "v.", backend), Error);
}

TEST(TernaryCodes, DigitsOfThree) {
  constexpr float kBig = 9.0f, kLow = -9.0f;
  std::vector<float> x(4 * 8, 0.0f);
  for (size_t c = 0; c < 8; ++c) {
    x[8 + c] = kBig;
    x[16 + c] = kLow;
  }
  x[24] = 0.54f;   // below a half after tanh
  x[25] = 0.56f;   // above it
  x[31] = -0.56f;  // the highest digit
  EXPECT_EQ(ternary_codes(matrix(x.data(), 4, 8)),
            (std::vector<int32_t>{3280, 6560, 0, 3280 + 3 - 2187}));
}

}  // namespace
}  // namespace onnuri
