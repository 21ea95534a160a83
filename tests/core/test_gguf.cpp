// A tiny valid file, then every way we know to break it.
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::ByteWriter;
using testing::expect_error;
using testing::TemporaryFolder;

constexpr uint64_t kHuge[] = {uint64_t{1} << 42, (uint64_t{1} << 42) + 1, SIZE_MAX / 4,
                              uint64_t{1} << 63, SIZE_MAX};

struct TensorRecord {
  std::string name = "w";
  std::vector<uint64_t> extents = {4, 2};  // fastest first
  uint32_t type = 0;
  uint64_t offset = 0;
};

/// The parts of a file; each test changes some of them.
struct GgufParts {
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  std::optional<uint64_t> num_tensors;
  std::optional<uint64_t> num_pairs;
  std::vector<std::string> pairs;  // already encoded
  std::vector<TensorRecord> tensors = {TensorRecord{}};
  size_t alignment = 32;
  std::string data = std::string(32, '\1');

  std::string encode() const {
    ByteWriter out;
    out.put(magic).put(version);
    out.put<uint64_t>(num_tensors.value_or(tensors.size()));
    out.put<uint64_t>(num_pairs.value_or(pairs.size()));
    for (const std::string& pair : pairs) out.raw(pair);
    for (const TensorRecord& t : tensors) {
      out.text(t.name).put(static_cast<uint32_t>(t.extents.size()));
      for (const uint64_t extent : t.extents) out.put(extent);
      out.put(t.type).put(t.offset);
    }
    return out.pad(alignment).raw(data).bytes;
  }
};

template <typename T>
std::string pair(const std::string& key, uint32_t type, T value) {
  return ByteWriter().text(key).put(type).put(value).bytes;
}
std::string pair(const std::string& key, const std::string& value) {
  return ByteWriter().text(key).put<uint32_t>(8).text(value).bytes;
}

class Gguf : public ::testing::Test {
 protected:
  std::shared_ptr<const Checkpoint> open(const std::string& bytes) {
    return Checkpoint::open(folder_.write("model.gguf", bytes));
  }
  std::shared_ptr<const Checkpoint> open(const GgufParts& parts) { return open(parts.encode()); }
  void expect_bad(const GgufParts& parts, std::initializer_list<std::string_view> fragments,
                  ErrorCode code = ErrorCode::kCorruptData) {
    expect_error(code, {"model.gguf"}, [&] { open(parts); });
    expect_error(code, fragments, [&] { open(parts); });
  }
  TemporaryFolder folder_;
};

TEST_F(Gguf, ReadsAValidFileOfBothVersions) {
  for (const uint32_t version : {2u, 3u}) {
    GgufParts parts;
    parts.version = version;
    parts.pairs = {
        pair("general.architecture", "llama"),
        pair<uint8_t>("u8", 0, 200),
        pair<int8_t>("i8", 1, -3),
        pair<uint16_t>("u16", 2, 65535),
        pair<int16_t>("i16", 3, -300),
        pair<uint32_t>("u32", 4, 4000000000u),
        pair<int32_t>("i32", 5, -4),
        pair<float>("f32", 6, 0.5f),
        pair<uint8_t>("bool", 7, 1),
        pair<uint64_t>("u64", 10, SIZE_MAX),
        pair<int64_t>("i64", 11, INT64_MIN),
        pair<double>("f64", 12, 0.1),
        ByteWriter()
            .text("list")
            .put<uint32_t>(9)
            .put<uint32_t>(8)
            .put<uint64_t>(2)
            .text("a")
            .text(std::string("\0\xff", 2))
            .bytes,
        ByteWriter().text("none").put<uint32_t>(9).put<uint32_t>(4).put<uint64_t>(0).bytes};
    parts.tensors = {{"b", {4, 2}, 0, 0}, {"a", {32}, 8, 32}, {"s", {}, 0, 96}};
    parts.data = std::string(100, '\1');
    const auto checkpoint = open(parts);
    EXPECT_EQ(checkpoint->format(), CheckpointFormat::kGguf);
    EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b", "s"}));
    EXPECT_EQ(checkpoint->find("b").shape, (Shape{2, 4}));
    EXPECT_EQ(checkpoint->find("a").dtype, DType::kQ8_0);
    EXPECT_EQ(checkpoint->find("s").num_elements(), 1);
    EXPECT_TRUE(checkpoint->find("c").empty());
    const JsonValue& metadata = checkpoint->metadata();
    EXPECT_EQ(metadata.at("general.architecture", "").as_string(""), "llama");
    EXPECT_EQ(metadata.at("u8", "").as_int(""), 200);
    EXPECT_EQ(metadata.at("i8", "").as_int(""), -3);
    EXPECT_EQ(metadata.at("u16", "").as_int(""), 65535);
    EXPECT_EQ(metadata.at("i16", "").as_int(""), -300);
    EXPECT_EQ(metadata.at("u32", "").as_int(""), 4000000000);
    EXPECT_EQ(metadata.at("i32", "").as_int(""), -4);
    EXPECT_EQ(metadata.at("f32", "").as_double(""), 0.5);
    EXPECT_TRUE(metadata.at("bool", "").as_bool(""));
    EXPECT_EQ(metadata.at("u64", "").as_double(""), 18446744073709551616.0);
    EXPECT_EQ(metadata.at("i64", "").as_int(""), INT64_MIN);
    EXPECT_EQ(metadata.at("f64", "").as_double(""), 0.1);
    EXPECT_EQ(metadata.at("list", "").as_array("")[1].as_string(""), std::string("\0\xff", 2));
    EXPECT_TRUE(metadata.at("none", "").as_array("").empty());
  }
}

TEST_F(Gguf, TruncationAtEveryByteIsAnError) {
  GgufParts parts;
  parts.pairs = {pair("key", "value"), pair<uint32_t>("n", 4, 7)};
  const std::string bytes = parts.encode();
  for (size_t n = 0; n < bytes.size(); ++n) {
    expect_error(ErrorCode::kCorruptData, {"model.gguf"}, [&] { open(bytes.substr(0, n)); });
  }
  EXPECT_NO_THROW(open(bytes));
}

TEST_F(Gguf, EveryByteMayBeWrongWithoutHarm) {
  GgufParts parts;
  parts.pairs = {pair("key", "value"), pair<uint32_t>("general.alignment", 4, 32)};
  const std::string bytes = parts.encode();
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff, 0x42}) {
      std::string wrong = bytes;
      wrong[i] = static_cast<char>(wrong[i] ^ flip);
      try {
        const auto checkpoint = open(wrong);
        for (const std::string& name : checkpoint->names()) {
          const TensorView view = checkpoint->find(name);
          volatile char last = view.as<char>()[view.num_bytes() - 1];  // must be readable
          (void)last;
        }
      } catch (const Error& error) {
        EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
        EXPECT_NE(error.code(), ErrorCode::kOutOfMemory) << error.what();
      }
    }
  }
}

TEST_F(Gguf, Head) {
  GgufParts parts;
  parts.magic = 0x46554746;
  expect_bad(parts, {"magic"});
  for (const uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    parts = {};
    parts.version = version;
    expect_bad(parts, {"version", "expected 2 or 3"}, ErrorCode::kUnsupported);
  }
}

TEST_F(Gguf, CountsBeyondTheFile) {
  for (const uint64_t count : kHuge) {
    GgufParts parts;
    parts.num_tensors = count;
    expect_bad(parts, {"tensor count", std::to_string(count)});
    parts = {};
    parts.num_pairs = count;
    expect_bad(parts, {"key count", std::to_string(count)});
  }
  GgufParts parts;
  parts.num_tensors = 2;  // small, but one more than there are
  expect_bad(parts, {"tensor"});
  parts = {};
  parts.num_pairs = 1;  // the tensor record is taken for a pair
  expect_bad(parts, {"model.gguf"});
}

TEST_F(Gguf, KeyAndStringLengths) {
  for (const uint64_t length : kHuge) {
    GgufParts parts;
    parts.pairs = {ByteWriter().put(length).raw("key").bytes};
    parts.num_pairs = 1;
    expect_bad(parts, {"key 0", std::to_string(length)});
    parts.pairs = {ByteWriter().text("k").put<uint32_t>(8).put(length).bytes};
    expect_bad(parts, {"key \"k\"", std::to_string(length)});
    for (uint32_t type = 0; type <= 12; ++type) {
      if (type == 9) continue;
      parts.pairs = {ByteWriter().text("k").put<uint32_t>(9).put(type).put(length).bytes};
      expect_bad(parts, {"key \"k\"", std::to_string(length)});
    }
    parts.pairs = {ByteWriter()
                       .text("k")
                       .put<uint32_t>(9)
                       .put<uint32_t>(8)
                       .put<uint64_t>(2)
                       .text("a")
                       .put(length)
                       .bytes};
    expect_bad(parts, {"key \"k\"", std::to_string(length)});
  }
}

TEST_F(Gguf, KeysAndTypes) {
  GgufParts parts;
  parts.pairs = {pair("", "x")};
  expect_bad(parts, {"key 0"});
  parts.pairs = {pair("twice", "x"), pair("other", "y"), pair("twice", "z")};
  expect_bad(parts, {"\"twice\" occurs twice"});
  parts.pairs = {pair<uint8_t>("b", 7, 2)};
  expect_bad(parts, {"\"b\"", "a boolean", "2"});
  for (const uint32_t type : {13u, 255u, 0x80000000u, 0xffffffffu}) {
    parts.pairs = {pair<uint64_t>("k", type, 0)};
    expect_bad(parts, {"\"k\"", "value type"});
    parts.pairs = {ByteWriter().text("k").put<uint32_t>(9).put(type).put<uint64_t>(1).bytes};
    expect_bad(parts, {"\"k\"", "value type"});
  }
  std::string nested = ByteWriter().text("k").put<uint32_t>(9).bytes;
  for (int i = 0; i < 10000; ++i) nested += ByteWriter().put<uint32_t>(9).put<uint64_t>(1).bytes;
  parts.pairs = {nested};
  expect_bad(parts, {"\"k\"", "arrays of arrays"}, ErrorCode::kUnsupported);
}

TEST_F(Gguf, ArraysHaveABudget) {
  // 17 million one-byte elements are a small file but a large tree.
  GgufParts parts;
  const uint64_t count = (uint64_t{1} << 24) + 1;
  parts.pairs = {ByteWriter()
                     .text("k")
                     .put<uint32_t>(9)
                     .put<uint32_t>(0)
                     .put(count)
                     .raw(std::string(count, '\0'))
                     .bytes};
  expect_bad(parts, {"\"k\"", "at most 16777216"});
}

TEST_F(Gguf, AlignmentOfEveryWrongKind) {
  for (const uint32_t alignment : {0u, 1u, 3u, 4u, 33u, 1u << 31, 0xffffffffu}) {
    GgufParts parts;
    parts.pairs = {pair("general.alignment", 4, alignment)};
    expect_bad(parts, {"general.alignment", std::to_string(alignment)});
  }
  GgufParts parts;
  parts.pairs = {pair("general.alignment", "32")};
  expect_bad(parts, {"general.alignment", "an integer", "a string"});
  parts.pairs = {pair<float>("general.alignment", 6, 32.5f)};
  expect_bad(parts, {"general.alignment", "an integer"});
  parts.pairs = {pair<int32_t>("general.alignment", 5, -32)};
  expect_bad(parts, {"general.alignment", "-32"});
  parts.pairs = {pair<uint32_t>("general.alignment", 4, 8)};
  parts.alignment = 8;
  EXPECT_NO_THROW(open(parts));
}

TEST_F(Gguf, ExtentsOfEveryWrongSize) {
  for (const uint64_t extent : kHuge) {
    GgufParts parts;
    parts.tensors[0].extents = {extent};
    expect_bad(parts, {"\"w\""});
    parts.tensors[0].extents = {4, extent, extent, extent};
    expect_bad(parts, {"\"w\""});
    parts.tensors[0].extents = {uint64_t{1} << 32, uint64_t{1} << 32, 1};  // 2^64 wraps to 0
    expect_bad(parts, {"\"w\"", "overflow"});
  }
  GgufParts parts;
  for (const auto& extents : {std::vector<uint64_t>{0}, {0, 4}, {4, 0}, {1, 1, 1, 0}}) {
    parts.tensors[0].extents = extents;
    expect_bad(parts, {"\"w\"", "axis", "0"});
  }
  parts.tensors[0].extents = {1, 1, 1, 1, 1};
  expect_bad(parts, {"\"w\"", "at most 4 axes", "5"});
  parts.tensors[0].extents = {16, 2};  // 32 elements, but rows of half a block
  parts.tensors[0].type = 8;
  expect_bad(parts, {"\"w\"", "whole q8_0 blocks"});
}

TEST_F(Gguf, Types) {
  GgufParts parts;
  parts.tensors[0].extents = {256};
  const std::pair<uint32_t, std::string_view> unsupported[] = {
      {9, "Q8_1"},   {15, "Q8_K"}, {16, "IQ2_XXS"},
      {21, "IQ3_S"}, {28, "F64"},  {34, "TQ1_0"},
      {4, "4"},      {999, "999"}, {0xffffffffu, "4294967295"}};
  for (const auto& [type, name] : unsupported) {
    parts.tensors[0].type = type;
    expect_bad(parts, {"\"w\"", name}, ErrorCode::kUnsupported);
  }
  const std::tuple<uint32_t, DType, size_t> supported[] = {
      {0, DType::kF32, 1024},  {1, DType::kF16, 512},   {2, DType::kQ4_0, 144},
      {3, DType::kQ4_1, 160},  {6, DType::kQ5_0, 176},  {7, DType::kQ5_1, 192},
      {8, DType::kQ8_0, 272},  {12, DType::kQ4_K, 144}, {13, DType::kQ5_K, 176},
      {14, DType::kQ6_K, 210}, {24, DType::kI8, 256},   {25, DType::kI16, 512},
      {26, DType::kI32, 1024}, {27, DType::kI64, 2048}, {30, DType::kBF16, 512}};
  for (const auto& [type, dtype, bytes] : supported) {
    parts.tensors[0].type = type;
    parts.data = std::string(bytes, '\0');
    EXPECT_EQ(open(parts)->find("w").dtype, dtype);
    parts.data.pop_back();
    expect_bad(parts, {"\"w\"", "outside the data section"});
  }
}

TEST_F(Gguf, OffsetsAndOverlaps) {
  for (const uint64_t offset :
       {uint64_t{32}, uint64_t{1} << 42, uint64_t{1} << 63, SIZE_MAX - 31}) {
    GgufParts parts;
    parts.tensors[0].offset = offset;
    expect_bad(parts, {"\"w\""});
  }
  GgufParts parts;
  parts.tensors[0].offset = 4;
  expect_bad(parts, {"\"w\"", "a multiple of 32", "4"});
  parts = {};
  parts.tensors = {{"a", {16}, 0, 0}, {"b", {8}, 0, 32}};
  parts.data = std::string(96, '\0');
  expect_bad(parts, {"\"a\"", "\"b\"", "overlap"});
  parts.tensors = {{"a", {8}, 0, 32}, {"b", {8}, 0, 32}};
  expect_bad(parts, {"overlap"});
  parts.tensors = {{"a", {8}, 0, 64}, {"b", {8}, 0, 0}};  // unsorted with a gap: allowed
  EXPECT_NO_THROW(open(parts));
}

TEST_F(Gguf, Names) {
  GgufParts parts;
  parts.data = std::string(64, '\0');
  parts.tensors = {{"w", {8}, 0, 0}, {"w", {8}, 0, 32}};
  expect_bad(parts, {"\"w\"", "occurs twice"});
  parts.tensors = {{"", {8}, 0, 0}};
  expect_bad(parts, {"tensor 0"});
  parts.tensors = {{std::string(5000, 'x'), {8}, 0, 0}};
  expect_bad(parts, {"tensor 0 name", "5000"});
  parts.tensors = {{"evil\n\x1b[31m\xff", {0}, 0, 0}};
  expect_bad(parts, {"evil\\x0a\\x1b[31m\\xff"});
}

TEST_F(Gguf, SplitFilesAreRefused) {
  GgufParts parts;
  parts.pairs = {pair<uint16_t>("split.count", 2, 3)};
  expect_bad(parts, {"split.count"}, ErrorCode::kUnsupported);
}

TEST_F(Gguf, AFolderWithOneFileOpens) {
  folder_.write("model.gguf", GgufParts{}.encode());
  EXPECT_EQ(Checkpoint::open(folder_.path())->names().size(), 1u);
  folder_.write("other.gguf", GgufParts{}.encode());
  expect_error(ErrorCode::kNotFound, {"found 2"}, [&] { Checkpoint::open(folder_.path()); });
}

TEST_F(Gguf, AStringArrayOfTheLargestVocabularyOpensFast) {
  ByteWriter tokens;
  tokens.text("tokens").put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(262144);
  for (int i = 0; i < 262144; ++i) tokens.text("token" + std::to_string(i));
  GgufParts parts;
  parts.pairs = {tokens.bytes};
  const auto checkpoint = open(parts);
  const auto& array = checkpoint->metadata().at("tokens", "").as_array("");
  ASSERT_EQ(array.size(), 262144u);
  EXPECT_EQ(array[262143].as_string(""), "token262143");
}

}  // namespace
}  // namespace onnuri
