// Positions on other grids by hand, and the sizes that fill a number of patches.
#include <gtest/gtest.h>

#include "encoders/vision/image_processor.h"
#include "encoders/vision/position_table.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

std::vector<float> resampled(const std::vector<float>& table, int64_t side, int64_t h, int64_t w) {
  const Tensor out = resample_positions(matrix(table.data(), side * side, 1), side, h, w);
  return {out.f32(), out.f32() + h * w};
}

TEST(PositionTable, ItsOwnSizeIsACopy) {
  const std::vector<float> table = {3, 1, 4, 1, 5, 9, 2, 6, 5};
  EXPECT_EQ(resampled(table, 3, 3, 3), table);
}

// By hand: twice as many columns weigh neighbours 1/4 and 3/4; half as many see triangles of
// width 2.
TEST(PositionTable, BothDirections) {
  const std::vector<float> table = {0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24};
  const std::vector<float> wide = {0, 2, 6, 10, 14, 18, 22, 24};
  const auto expect_wide = [&](const std::vector<float>& found) {
    for (size_t i = 0; i < wide.size(); ++i) EXPECT_NEAR(found[i], wide[i], 1e-5f) << i;
  };
  expect_wide(resampled(table, 4, 1, 8));
  const std::vector<float> narrow = resampled(table, 4, 1, 2);
  EXPECT_NEAR(narrow[0], (0 * 0.75f + 8 * 0.75f + 16 * 0.25f) / 1.75f, 1e-5f);
  EXPECT_NEAR(narrow[1], (24 * 0.75f + 16 * 0.75f + 8 * 0.25f) / 1.75f, 1e-5f);
  std::vector<float> turned(16);
  for (size_t i = 0; i < 16; ++i) turned[i] = table[i % 4 * 4 + i / 4];
  expect_wide(resampled(turned, 4, 8, 1));  // a single column mixes rows as any other
}

ImageSize filled(int64_t patches, int64_t height, int64_t width) {
  ImageProcessorConfig config;
  config.patch_size = 8;
  config.merge_size = 1;
  config.max_patches = patches;
  const ImageSize size = smart_resize(config, {height, width});
  return {size.height / 8, size.width / 8};
}

// Expected values from get_image_size_for_max_num_patches of transformers 5.23.
TEST(FillPatches, AsManyAsFit) {
  EXPECT_EQ(filled(40, 300, 181), (ImageSize{8, 5}));
  EXPECT_EQ(filled(40, 1, 300), (ImageSize{1, 40}));
  EXPECT_EQ(filled(40, 300, 1), (ImageSize{40, 1}));
  EXPECT_EQ(filled(40, 1, 1), (ImageSize{6, 6}));
  EXPECT_EQ(filled(40, 1000000, 3), (ImageSize{40, 1}));
  EXPECT_EQ(filled(1, 100, 100), (ImageSize{1, 1}));
  EXPECT_THROW(filled(40, 0, 5), Error);
  EXPECT_THROW(filled(1, int64_t{1} << 40, 5), Error);
}

}  // namespace
}  // namespace onnuri
