// Against a reference that computes the state-space layer in another form. Data and recipe:
// tests/golden/make_compressor_goldens.py.
#include <gtest/gtest.h>

#include "core/checkpoint.h"
#include "fusion/sequence_compressor.h"
#include "onnuri/error.h"
#include "tests/support/memory_checkpoint.h"

namespace onnuri {
namespace {

SequenceCompressorConfig golden_config() {
  SequenceCompressorConfig c;
  c.in_size = 20;
  c.hidden_size = 24;
  c.out_size = 12;
  c.chunk = 5;
  c.num_layers = 2;
  c.inner_size = 48;
  c.head_dim = 16;
  c.state_size = 8;
  return c;
}

std::shared_ptr<const Checkpoint> golden() {
  return Checkpoint::open(std::string(ONNURI_TEST_DATA) + "/golden/omni/compressor.safetensors");
}

TEST(SequenceCompressor, AgreesForEveryLength) {
  const auto stored = golden();
  TensorSource source = identity_source(stored);
  for (const char* isa : {"ref", ""}) {
    Backend backend(2, isa);
    const auto model =
        SequenceCompressor::load(golden_config(), source, "", backend, ComputeType::kFloat32);
    for (const int64_t count : {1, 5, 6, 203}) {
      const TensorView x = stored->find("rows_" + std::to_string(count));
      const TensorView y = stored->find("compressed_" + std::to_string(count));
      const Tensor found = model->forward(matrix(x.as<float>(), x.shape[0], x.shape[1]));
      ASSERT_EQ(found.shape(), y.shape);
      ASSERT_EQ(model->num_rows(count), y.shape[0]);
      for (int64_t i = 0; i < y.num_elements(); ++i)
        ASSERT_NEAR(found.f32()[i], y.as<float>()[i], 1e-5f) << count << " rows, element " << i;
    }
  }
}

TEST(SequenceCompressor, RefusesSizesThatCannotBe) {
  TensorSource source = identity_source(golden());
  Backend backend(1, "");
  const auto expect_refused = [&](const SequenceCompressorConfig& c) {
    EXPECT_THROW(SequenceCompressor::load(c, source, "", backend, ComputeType::kFloat32), Error);
  };
  for (int64_t SequenceCompressorConfig::*size :
       {&SequenceCompressorConfig::chunk, &SequenceCompressorConfig::hidden_size,
        &SequenceCompressorConfig::inner_size, &SequenceCompressorConfig::state_size,
        &SequenceCompressorConfig::conv_taps, &SequenceCompressorConfig::head_dim})
    for (const int64_t value : {int64_t{0}, int64_t{-3}, int64_t{7}, int64_t{1} << 40}) {
      SequenceCompressorConfig c = golden_config();
      c.*size = value;
      expect_refused(c);
    }
}

}  // namespace
}  // namespace onnuri
