#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "onnuri/error.h"

namespace onnuri {
namespace {

TEST(Shape, OverflowIsAnError) {
  const Shape shape{int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THROW(shape.num_elements(), Error);
}

TEST(TensorView, SliceAndRowsPointIntoTheOwner) {
  Tensor t = Tensor::zeros(DType::kF32, {3, 4, 5});
  for (int i = 0; i < 60; ++i) t.f32()[i] = static_cast<float>(i);
  EXPECT_EQ(t.view().slice(2).shape, (Shape{4, 5}));
  EXPECT_EQ(t.view().slice(2).as<float>()[0], 40.0f);
  EXPECT_EQ(t.view().rows(1, 2).as<float>()[0], 20.0f);
  EXPECT_EQ(t.view().rows(3, 0).num_elements(), 0);
}

TEST(DType, PartialBlocksAreAnError) {
  EXPECT_EQ(dtype_bytes(DType::kQ4_K, 512), 288);
  EXPECT_THROW(dtype_bytes(DType::kQ4_K, 100), Error);
}

TEST(ThreadPool, EveryChunkRunsOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 2000; ++round) {
      const int64_t n = round % 37;
      std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
      pool.run(n, [&](int64_t chunk, int worker) {
        ASSERT_LT(worker, threads);
        hits[static_cast<size_t>(chunk)]++;
      });
      for (const auto& h : hits) ASSERT_EQ(h.load(), 1);
    }
  }
}

TEST(ThreadPool, ExceptionsReachTheCaller) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.run(8,
                        [](int64_t i, int) {
                          if (i == 5) throw Error(ErrorCode::kInternal, "chunk five");
                        }),
               Error);
  std::atomic<int> count{0};
  pool.run(8, [&](int64_t, int) { count++; });
  EXPECT_EQ(count.load(), 8);
}

}  // namespace
}  // namespace onnuri
