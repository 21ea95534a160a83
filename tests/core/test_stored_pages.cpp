// Pages of a mapped checkpoint: what is let go leaves memory, and reads the same afterwards.
#include <fstream>

#include "core/stored_pages.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri::testing {
namespace {

constexpr int64_t kBytes = 32 << 20;
constexpr int64_t kSlack = 4 << 20;  // the kernel counts in batches

// Memory of this process that is pages of files, in bytes.
int64_t file_pages() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::atoll(line.c_str() + 8) * 1024;
  }
  return -1;
}

int64_t sum_of(const TensorView& view) {
  int64_t sum = 0;
  for (int64_t i = 0; i < view.num_bytes(); ++i) sum += view.as<uint8_t>()[i];
  return sum;
}

class StoredPages : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string size = std::to_string(kBytes);
    std::string header = R"({"a":{"dtype":"U8","shape":[16,)" + std::to_string(kBytes / 16) +
                         R"(],"data_offsets":[0,)" + size + "]}}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::string data(static_cast<size_t>(kBytes), '\0');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i / 4096 % 7);
    checkpoint_ = Checkpoint::open(
        folder_.write("model.safetensors", ByteWriter().text(header).raw(data).bytes));
  }
  TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
};

TEST_F(StoredPages, LeaveMemoryAndComeBack) {
  if (file_pages() < 0) GTEST_SKIP() << "the kernel does not tell";
  const TensorView view = checkpoint_->find("a");
  EXPECT_NE(view.file, nullptr);
  const int64_t sum = sum_of(view);
  const int64_t full = file_pages();
  release_pages(view.rows(0, 8));
  const int64_t half = file_pages();
  EXPECT_LT(half, full - kBytes / 2 + kSlack);
  EXPECT_GT(half, full - kBytes / 2 - kSlack);
  release_pages(view);
  EXPECT_LT(file_pages(), full - kBytes + kSlack);
  EXPECT_EQ(sum_of(view), sum);
}

TEST_F(StoredPages, MemoryOfOurOwnStays) {
  Tensor tensor(DType::kU8, {1 << 20});
  std::memset(tensor.bytes(), 5, 1 << 20);
  release_pages(tensor.view());
  EXPECT_EQ(sum_of(tensor.view()), 5 << 20);
  release_pages({});
}

}  // namespace
}  // namespace onnuri::testing
