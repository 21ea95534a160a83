#include <gtest/gtest.h>

#include <vector>

#include "fusion/tile_rows.h"

namespace onnuri {
namespace {

// Expected: torch.nn.functional.interpolate(size=(2, 3), mode="bilinear") of torch 2.15.
TEST(TileRows, HalvesOddSides) {
  std::vector<float> rows;
  for (int i = 0; i < 2 * 3 * 5; ++i) {
    rows.push_back(static_cast<float>(i % 15));
    rows.push_back(static_cast<float>(i / 15));
  }
  const Tensor out = halve_tiles(matrix(rows.data(), 30, 2), 3, 5);
  ASSERT_EQ(out.shape(), (Shape{12, 2}));
  // Rows 0.25 and 1.75, columns 1/3, 2 and 11/3 of 3 x 5.
  const std::vector<float> expected = {1.58333333f, 3.25f,  4.91666667f,
                                       9.08333333f, 10.75f, 12.41666667f};
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_NEAR(out.f32()[2 * i], expected[i % 6], 1e-5f) << i;
    EXPECT_EQ(out.f32()[2 * i + 1], static_cast<float>(i / 6)) << i;
  }
}

TEST(TileRows, HalvesEvenSides) {
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6, 7, 8};
  const Tensor out = halve_tiles(matrix(rows.data(), 8, 1), 2, 4);
  ASSERT_EQ(out.shape(), (Shape{2, 1}));
  EXPECT_EQ(out.f32()[0], 3.5f);
  EXPECT_EQ(out.f32()[1], 5.5f);
}

}  // namespace
}  // namespace onnuri
