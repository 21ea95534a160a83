#include <gtest/gtest.h>

#include "core/tensor_source.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

class Source : public ::testing::Test {
 protected:
  void SetUp() override {
    Tensor stacked = Tensor::zeros(DType::kF32, {2, 6, 4});
    for (int i = 0; i < 48; ++i) stacked.f32()[i] = static_cast<float>(i);
    Tensor plain = Tensor::zeros(DType::kF32, {3});
    const std::string path = folder_.path() + "/m.safetensors";
    write_safetensors(
        path,
        {{"experts", stacked.view()}, {"old.plain", plain.view()}, {"vision.a", plain.view()}});
    checkpoint_ = Checkpoint::open(path);
  }
  TensorSource source() {
    return TensorSource(checkpoint_, [](const std::string& name) -> std::vector<TensorRef> {
      if (name == "plain") return {{"new.plain", {}, 0, -1}, {"old.plain", {}, 0, -1}};
      if (name == "expert.1") return {{"experts", {1}, 0, -1}};
      if (name == "expert.1.up") return {{"experts", {1}, 2, 3}};
      if (name == "tail") return {{"experts", {0}, 4, -1}};
      if (name == "beyond") return {{"experts", {2}, 0, -1}};
      if (name == "long") return {{"experts", {1}, 4, 3}};
      if (name == "negative") return {{"experts", {-1}, 0, -1}};
      if (name == "deep") return {{"experts", {1, 1, 1, 1}, 0, -1}};
      if (name == "odd") return {{"experts", {1}, 1, -1, 2}};
      if (name == "columns") return {{"experts", {1}, 1, 2, 2, true}};
      if (name == "too many columns") return {{"experts", {1}, 1, 3, 2, true}};
      if (name == "no step") return {{"experts", {1}, 0, -1, 0}};
      if (name == "cube") return {{"experts", {}, 0, -1, 1, true}};
      if (name == "nowhere") return {};
      return {{name, {}, 0, -1}};
    });
  }
  TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
};

TEST_F(Source, FindsCandidatesAndSlices) {
  TensorSource tensors = source();
  EXPECT_TRUE(tensors.has("plain"));
  EXPECT_FALSE(tensors.has("missing"));
  EXPECT_FALSE(tensors.has("nowhere"));
  EXPECT_EQ(tensors.get("plain", {3}).num_elements(), 3);
  EXPECT_EQ(tensors.get("expert.1", {6, 4}).as<float>()[0], 24.0f);
  EXPECT_EQ(tensors.get("expert.1.up", {3, 4}).as<float>()[0], 32.0f);
  EXPECT_EQ(tensors.get("tail", {2, 4}).as<float>()[0], 16.0f);
  EXPECT_TRUE(tensors.get_if("missing", {3}).empty());
}

TEST_F(Source, CopiesInterleavedRowsAndColumns) {
  TensorSource tensors = source();
  const TensorView odd = tensors.get("odd", {3, 4});          // rows 1, 3, 5 of the second matrix
  const TensorView columns = tensors.get("columns", {2, 6});  // its columns 1 and 3
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(odd.as<float>()[4 * i], 24.0f + 4.0f * (2.0f * static_cast<float>(i) + 1.0f));
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 6; ++k)
      EXPECT_EQ(columns.as<float>()[6 * i + k], static_cast<float>(24 + 4 * k + 2 * i + 1));
  tensors.release_copies();
  EXPECT_EQ(tensors.get("odd", {3, 4}).as<float>()[11], 47.0f);
  for (const char* name : {"too many columns", "no step"})
    expect_error(ErrorCode::kCorruptData, {"experts", "(6, 4)"}, [&] {
      tensors.get(name, {3, 6});
    });
  expect_error(ErrorCode::kUnsupported, {"experts", "(2, 6, 4)"}, [&] {
    tensors.get("cube", {6, 4});
  });
  expect_error(ErrorCode::kCorruptData, {"experts", "(3, 4)"}, [&] { tensors.get("odd", {6, 4}); });
}

TEST_F(Source, ErrorsNameWhatWasTried) {
  TensorSource tensors = source();
  expect_error(ErrorCode::kNotFound, {"m.safetensors", "\"missing\"", "tried"},
               [&] { tensors.get("missing", {3}); });
  expect_error(ErrorCode::kNotFound, {"no name"}, [&] { tensors.get("nowhere", {3}); });
  expect_error(ErrorCode::kCorruptData, {"old.plain", "(4)", "(3)"},
               [&] { tensors.get("plain", {4}); });
  expect_error(ErrorCode::kCorruptData, {"old.plain"}, [&] { tensors.get_if("plain", {3, 1}); });
  for (const char* name : {"beyond", "long", "negative", "deep"}) {
    expect_error(ErrorCode::kCorruptData, {"experts"}, [&] { tensors.get(name, {6, 4}); });
  }
}

TEST_F(Source, RemembersWhatWasUsed) {
  TensorSource tensors = source();
  EXPECT_EQ(tensors.unused(), (std::vector<std::string>{"experts", "old.plain", "vision.a"}));
  tensors.get("plain", {3});
  tensors.ignore_prefix("vision.");
  EXPECT_EQ(tensors.unused(), (std::vector<std::string>{"experts"}));
  tensors.get("expert.1", {6, 4});
  EXPECT_TRUE(tensors.unused().empty());
}

}  // namespace
}  // namespace onnuri
