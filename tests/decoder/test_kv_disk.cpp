// Full layers that take turns in memory: the same bits, within a cap, and disks that refuse.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "onnuri/error.h"
#include "tests/decoder/decoder_fixture.h"
#include "tests/decoder/decoder_shapes.h"

namespace onnuri {
namespace {

std::string folder() { return std::filesystem::temp_directory_path().string(); }

int64_t num_full(const DecoderConfig& config) {
  return std::count_if(config.layers.begin(), config.layers.end(),
                       [](const LayerSpec& layer) { return layer.is_full(); });
}

// The same cache, with memory for this many full layers beside the one that the others take turns
// in.
std::unique_ptr<KvCache> capped_cache(const TestDecoder& of, int64_t layers_in_memory) {
  KvCacheOptions options = of.cache->options();
  options.disk_directory = folder();
  options.ram_bytes = 0;
  const int64_t longest = KvCache::full_bytes(of.config, options);
  options.ram_bytes = KvCache::window_bytes(of.config, options) +
                      KvCache::state_bytes(of.config, options) + (layers_in_memory + 1) * longest;
  return std::make_unique<KvCache>(of.config, options);
}

class OnDisk : public testing::TestWithParam<size_t> {};

TEST_P(OnDisk, SequencesInterleavedHaveTheBitsOfThoseInMemory) {
  const NamedShape shape = decoder_shapes()[GetParam()];
  SCOPED_TRACE(shape.name);
  if (num_full(shape.config) < 2) GTEST_SKIP() << "one full layer always stays in memory";
  TestDecoder d(shape.config, ComputeType::kFloat32);
  const std::vector<int32_t> a = random_ids(61, shape.config.vocab_size, 3);
  const std::vector<int32_t> b = random_ids(47, shape.config.vocab_size, 4);
  const std::vector<int64_t> chunks = {19, 7, 1};
  const std::vector<float> alone_a = d.run(a, chunks), alone_b = d.run(b, chunks);

  for (const int64_t in_memory : {int64_t{0}, std::min<int64_t>(1, num_full(shape.config) - 2)}) {
    d.cache = capped_cache(d, in_memory);
    EXPECT_LE(d.cache->num_bytes(), d.cache->options().ram_bytes);
    const auto kv_a = d.cache->new_sequence(), kv_b = d.cache->new_sequence();
    std::vector<float> out_a, out_b;
    const auto step = [&](KvSequence& kv, std::span<const int32_t> ids, size_t count,
                          std::vector<float>& out) {
      const auto begin = static_cast<size_t>(kv.num_tokens());
      if (begin >= ids.size()) return;
      const std::vector<float> part =
          d.append(kv, ids.subspan(begin, std::min(count, ids.size() - begin)));
      out.insert(out.end(), part.begin(), part.end());
    };
    for (const size_t count : {size_t{19}, size_t{7}}) {
      step(*kv_a, a, count, out_a);
      step(*kv_b, b, count, out_b);
    }
    for (size_t i = 0; i < a.size(); ++i) {
      step(*kv_a, a, 1, out_a);
      step(*kv_b, b, 1, out_b);
    }
    EXPECT_EQ(out_a, alone_a);
    EXPECT_EQ(out_b, alone_b);
    EXPECT_GT(d.cache->disk_written_bytes(), 0);
    EXPECT_GT(d.cache->disk_read_bytes(), 0);
    d.cache->check_integrity();
  }
}

INSTANTIATE_TEST_SUITE_P(All, OnDisk, testing::Range<size_t>(0, decoder_shapes().size()),
                         [](const auto& shape) { return decoder_shapes()[shape.param].name; });

DecoderConfig hybrid() {
  DecoderConfig c = tiny_decoder_config();
  c.layers[0].window = 8;
  return c;
}

TEST(KvDisk, PrefixesAreSharedCopiedAndMovedAsInMemory) {
  TestDecoder d(hybrid(), ComputeType::kAuto);
  const std::vector<int32_t> ids = random_ids(60, d.config.vocab_size, 5);
  const std::vector<int32_t> other = random_ids(20, d.config.vocab_size, 6);
  const auto go = [&] {
    std::vector<std::vector<float>> out;
    const auto first = d.cache->new_sequence();
    out.push_back(d.append(*first, std::span(ids).first(45)));
    const std::unique_ptr<KvPrefix> prefix = first->share(45);
    const WindowSnapshot windows = first->snapshot(45).value();
    const auto second = d.cache->new_sequence(*prefix, windows);  // shares a page that is not full
    out.push_back(d.append(*second, other));
    out.push_back(d.append(*first, std::span(ids).subspan(45)));
    std::vector<std::byte> rows;
    d.cache->read_rows(*prefix, [&](std::span<const std::byte> run) {
      rows.insert(rows.end(), run.begin(), run.end());
    });
    EXPECT_EQ(static_cast<int64_t>(rows.size()), d.cache->prefix_bytes(45));
    size_t at = 0;
    const std::unique_ptr<KvPrefix> again = d.cache->write_rows(45, [&](std::span<std::byte> run) {
      std::memcpy(run.data(), rows.data() + at, run.size());
      at += run.size();
    });
    const auto third = d.cache->new_sequence(*again, windows);
    out.push_back(d.append(*third, other));
    d.cache->check_integrity();
    return out;
  };
  const std::vector<std::vector<float>> in_memory = go();
  d.cache = capped_cache(d, 0);
  EXPECT_EQ(go(), in_memory);
}

TEST(KvDisk, EveryTypeOfRowsKeepsItsBits) {
  for (const DType dtype : {DType::kBF16, DType::kI8, DType::kF8E4M3, DType::kQ4_1}) {
    TestDecoder d(hybrid(), ComputeType::kAuto);
    KvCacheOptions options = d.cache->options();
    options.dtype = dtype;
    d.cache = std::make_unique<KvCache>(d.config, options);
    const std::vector<int32_t> ids = random_ids(50, d.config.vocab_size, 7);
    const std::vector<int64_t> chunks = {30, 3};
    const std::vector<float> in_memory = d.run(ids, chunks);
    d.cache = capped_cache(d, 1);
    EXPECT_EQ(d.run(ids, chunks), in_memory) << dtype_name(dtype);
  }
}

TEST(KvDisk, ALargeCapNeedsNoDisk) {
  TestDecoder d(hybrid(), ComputeType::kFloat32);
  const std::unique_ptr<KvCache> cache = capped_cache(d, num_full(d.config) - 1);
  EXPECT_EQ(KvCache::disk_bytes(d.config, cache->options()), 0);
  EXPECT_EQ(cache->num_bytes(), d.cache->num_bytes());
}

void expect_refused(const DecoderConfig& config, const KvCacheOptions& options, ErrorCode code,
                    const std::string& words) {
  try {
    KvCache cache(config, options);
    ADD_FAILURE() << "expected an error with \"" << words << "\"";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
  }
}

TEST(KvDisk, RefusesWhatCannotBe) {
  const TestDecoder d(hybrid(), ComputeType::kFloat32);
  KvCacheOptions options = d.cache->options();
  options.disk_directory = folder();
  options.ram_bytes = KvCache::window_bytes(d.config, options) + 1;
  expect_refused(d.config, options, ErrorCode::kInvalidArgument, "one full layer");
  options.disk_directory.clear();
  options.ram_bytes += KvCache::full_bytes(d.config, options) / num_full(d.config);
  options.disk_directory = folder() + "/is/not/there";
  expect_refused(d.config, options, ErrorCode::kInvalidArgument, "can be written");
  options.disk_directory = std::string("a\0b", 3);
  expect_refused(d.config, options, ErrorCode::kInvalidArgument, "NUL");
}

// Files may not become longer than this while it lives.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(KvDisk, AFullDiskIsAnError) {
  const TestDecoder d(hybrid(), ComputeType::kFloat32);
  KvCacheOptions options = d.cache->options();
  options.ram_bytes = KvCache::window_bytes(d.config, options) +
                      KvCache::full_bytes(d.config, options) / num_full(d.config);
  options.disk_directory = folder();
  const FileLimit limit(4096);
  expect_refused(d.config, options, ErrorCode::kOutOfMemory, "expected room for");
}

TEST(KvDisk, ADiskThatRefusesForAWhileLosesNothing) {
  TestDecoder d(hybrid(), ComputeType::kFloat32);
  const std::vector<int32_t> ids = random_ids(40, d.config.vocab_size, 8);
  const std::vector<int64_t> whole = {40};
  const std::vector<float> expected = d.run(ids, whole);
  d.cache = capped_cache(d, 0);
  const auto kv = d.cache->new_sequence();
  {
    const FileLimit limit(0);
    try {
      d.append(*kv, ids);
      ADD_FAILURE() << "expected the write to be refused";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kOutOfMemory) << e.what();
    }
  }
  EXPECT_EQ(kv->num_tokens(), 0);
  EXPECT_EQ(d.append(*kv, ids), expected);
}

}  // namespace
}  // namespace onnuri
