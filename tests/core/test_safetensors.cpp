// A tiny valid file, then every way we know to break it; shards; the writer.
#include <gtest/gtest.h>

#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::ByteWriter;
using testing::expect_error;
using testing::TemporaryFolder;

std::string encode(const std::string& header, const std::string& data) {
  return ByteWriter().text(header).raw(data).bytes;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  uint64_t begin, uint64_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

class Safetensors : public ::testing::Test {
 protected:
  std::shared_ptr<const Checkpoint> open(const std::string& bytes) {
    return Checkpoint::open(folder_.write("model.safetensors", bytes));
  }
  void expect_bad(const std::string& header, const std::string& data,
                  std::initializer_list<std::string_view> fragments,
                  ErrorCode code = ErrorCode::kCorruptData) {
    expect_error(code, {"model.safetensors"}, [&] { open(encode(header, data)); });
    expect_error(code, fragments, [&] { open(encode(header, data)); });
  }
  TemporaryFolder folder_;
};

TEST_F(Safetensors, ReadsAValidFile) {
  std::string data(24, '\0');
  const float values[] = {1.5f, -2.0f};
  std::memcpy(data.data(), values, sizeof(values));
  const auto checkpoint = open(
      encode("{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "F32", "[1,2]", 0, 8) + "," +
                 entry("a", "I64", "[2]", 8, 24) + "," + entry("e", "F16", "[0,3]", 24, 24) + "}",
             data));
  EXPECT_EQ(checkpoint->format(), CheckpointFormat::kSafetensors);
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b", "e"}));
  EXPECT_EQ(checkpoint->find("b").shape, (Shape{1, 2}));
  EXPECT_EQ(checkpoint->find("b").read<float>(1), -2.0f);
  EXPECT_FALSE(checkpoint->find("e").empty());
  EXPECT_EQ(checkpoint->find("e").num_elements(), 0);
  EXPECT_EQ(checkpoint->metadata().at("format", "").as_string(""), "pt");
}

TEST_F(Safetensors, TensorsMayBeginAtAnyByte) {
  for (int pad = 0; pad < 8; ++pad) {
    const float value = 3.25f;
    std::string data(5, '\7');
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
    const auto checkpoint =
        open(encode("{" + entry("u", "U8", "[5]", 0, 5) + "," + entry("f", "F32", "[1]", 5, 9) +
                        "}" + std::string(static_cast<size_t>(pad), ' '),
                    data));
    const TensorView view = checkpoint->find("f");
    EXPECT_NE(view.file, nullptr);  // no copy, whatever the address
    EXPECT_EQ(view.read<float>(0), value);
    EXPECT_EQ(checkpoint->find("u").as<uint8_t>()[4], 7);
  }
}

TEST_F(Safetensors, TruncationAtEveryByteIsAnError) {
  const std::string bytes =
      encode("{" + entry("w", "F32", "[2,3]", 0, 24) + "}", std::string(24, '\1'));
  for (size_t n = 0; n < bytes.size(); ++n) {
    expect_error(ErrorCode::kCorruptData, {"model.safetensors"}, [&] { open(bytes.substr(0, n)); });
  }
  EXPECT_NO_THROW(open(bytes));
  expect_error(ErrorCode::kCorruptData, {"data section"}, [&] { open(bytes + "x"); });
}

TEST_F(Safetensors, EveryByteMayBeWrongWithoutHarm) {
  const std::string bytes =
      encode("{" + entry("w", "F32", "[2,3]", 0, 24) + "}", std::string(24, '\1'));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x22, 0x39, 0x5b, 0x7d, 0x80, 0xff}) {
      std::string wrong = bytes;
      wrong[i] = static_cast<char>(value);
      try {
        open(wrong);
      } catch (const Error& error) {
        EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
        EXPECT_NE(error.code(), ErrorCode::kOutOfMemory) << error.what();
      }
    }
  }
}

TEST_F(Safetensors, HeaderLength) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 42, SIZE_MAX / 4, uint64_t{1} << 63,
                                SIZE_MAX - 8, SIZE_MAX - 7, SIZE_MAX}) {
    expect_error(ErrorCode::kCorruptData, {"header length", std::to_string(length)},
                 [&] { open(ByteWriter().put(length).raw("{}").bytes); });
  }
  EXPECT_TRUE(open(encode("{}", ""))->names().empty());
}

TEST_F(Safetensors, HeaderJson) {
  expect_bad("[]", "", {"header", "an object", "an array"});
  expect_bad("{", "", {"header"});
  expect_bad("{} x", "", {"header"});
  expect_bad(std::string(100000, '['), "", {"header", "deep"});
  std::string nested = "{\"w\":";
  for (int i = 0; i < 5000; ++i) nested += "{\"w\":";
  expect_bad(nested, "", {"header", "deep"});
  expect_bad("{\"w\":[]}", "", {"\"w\"", "an object"});
  expect_bad("{\"w\":{}}", "", {"\"w\"", "\"shape\""});
  expect_bad("{\"w\":{\"shape\":[]}}", "", {"\"w\"", "\"dtype\""});
  expect_bad("{\"__metadata__\":3}", "", {"__metadata__", "an object"});
  expect_bad("{" + entry("w", "F32", "[1]", 0, 4) + "," + entry("w", "F32", "[1]", 0, 4) + "}",
             "1234", {"duplicate key \"w\""});
}

TEST_F(Safetensors, Fields) {
  const auto one = [](const std::string& dtype, const std::string& shape,
                      const std::string& range) {
    return "{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + range +
           "}}";
  };
  expect_bad(one("\"F64\"", "[1]", "[0,8]"), "12345678", {"\"w\"", "F64"}, ErrorCode::kUnsupported);
  expect_bad(one("\"f32\"", "[1]", "[0,4]"), "1234", {"\"w\"", "f32"}, ErrorCode::kUnsupported);
  expect_bad(one("7", "[1]", "[0,4]"), "1234", {"\"w\"", "dtype", "a string"});
  expect_bad(one("\"F32\"", "[1,1,1,1,1,1,1]", "[0,4]"), "1234", {"\"w\"", "6 axes", "7"},
             ErrorCode::kUnsupported);
  for (const char* shape : {"[-1]", "[1.5]", "[\"1\"]", "1", "[null]", "[1e300]"}) {
    expect_bad(one("\"F32\"", shape, "[0,4]"), "1234", {"\"w\"", "shape"});
  }
  for (const char* shape :
       {"[2]", "[0]", "[4398046511104]", "[4611686018427387904]", "[9223372036854775807]",
        "[4294967296,4294967296]", "[9223372036854775807,9223372036854775807]", "[3,0]"}) {
    expect_bad(one("\"F32\"", shape, "[0,4]"), "1234", {"\"w\"", "data_offsets", "f32"});
  }
  for (const char* range : {"[0]", "[0,4,4]", "[]", "4", "[\"0\",4]", "[0,4.5]", "[4,0]", "[0,5]",
                            "[-4,0]", "[0,18446744073709551615]", "[0,9223372036854775807]",
                            "[4398046511104,4398046511108]", "[1,5]", "null"}) {
    expect_bad(one("\"F32\"", "[1]", range), "1234", {"\"w\"", "data_offsets"});
  }
}

TEST_F(Safetensors, OverlapsAndGaps) {
  const std::string data(16, '\0');
  expect_bad("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "F32", "[3]", 4, 16) + "}",
             data, {"\"a\"", "\"b\"", "overlap"});
  expect_bad("{" + entry("a", "F32", "[4]", 0, 16) + "," + entry("b", "F32", "[4]", 0, 16) + "}",
             data, {"overlap"});
  expect_bad("{" + entry("a", "F32", "[1]", 0, 4) + "," + entry("b", "F32", "[2]", 8, 16) + "}",
             data, {"\"b\"", "begin at 4", "8"});
  expect_bad("{" + entry("a", "F32", "[3]", 0, 12) + "}", data, {"12", "16"});
}

TEST_F(Safetensors, WriterAndReaderAgree) {
  Tensor a = Tensor::zeros(DType::kF32, {2, 3});
  for (int i = 0; i < 6; ++i) a.f32()[i] = static_cast<float>(i) - 2.5f;
  Tensor b = Tensor::zeros(DType::kBF16, {5});
  Tensor c = Tensor::zeros(DType::kI64, {});
  const std::string path = folder_.path() + "/out.safetensors";
  write_safetensors(path,
                    {{"b \"quoted\" \xea\xb0\x80", b.view()}, {"a", a.view()}, {"c", c.view()}});
  const auto checkpoint = Checkpoint::open(path);
  EXPECT_EQ(checkpoint->names().size(), 3u);
  const TensorView view = checkpoint->find("a");
  EXPECT_EQ(view.shape, (Shape{2, 3}));
  EXPECT_EQ(std::memcmp(view.data, a.bytes(), 24), 0);
  EXPECT_EQ(checkpoint->find("b \"quoted\" \xea\xb0\x80").dtype, DType::kBF16);
  EXPECT_EQ(checkpoint->find("c").shape.rank(), 0);
  Tensor q = Tensor::zeros(DType::kQ8_0, {32});
  expect_error(ErrorCode::kInvalidArgument, {"\"q\"", "q8_0"}, [&] {
    write_safetensors(path, {{"q", q.view()}});
  });
  expect_error(ErrorCode::kInvalidArgument, {"\"a\""}, [&] {
    write_safetensors(path, {{"a", a.view()}, {"a", a.view()}});
  });
  EXPECT_NO_THROW(Checkpoint::open(path));  // the failed writes left the file as it was
}

class Shards : public Safetensors {
 protected:
  void SetUp() override {
    folder_.write("s1.safetensors", encode("{\"__metadata__\":{\"format\":\"pt\"}," +
                                               entry("a", "U8", "[1]", 0, 1) + "}",
                                           "1"));
    folder_.write("s2.safetensors", encode("{" + entry("b", "U8", "[2]", 0, 2) + "}", "23"));
  }
  void index(const std::string& weight_map) {
    folder_.write("model.safetensors.index.json", "{\"weight_map\":" + weight_map + "}");
  }
  void expect_bad_index(const std::string& weight_map, ErrorCode code,
                        std::initializer_list<std::string_view> fragments) {
    index(weight_map);
    expect_error(code, fragments, [&] { Checkpoint::open(folder_.path()); });
  }
};

TEST_F(Shards, AreJoined) {
  index(R"({"a":"s1.safetensors","b":"./s2.safetensors"})");
  const auto checkpoint = Checkpoint::open(folder_.path());
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(checkpoint->find("b").as<char>()[1], '3');
}

TEST_F(Shards, WithoutAnIndexAllFilesCount) {
  EXPECT_EQ(Checkpoint::open(folder_.path())->names().size(), 2u);
  folder_.write("s3.safetensors", encode("{" + entry("a", "U8", "[1]", 0, 1) + "}", "1"));
  expect_error(ErrorCode::kCorruptData, {"\"a\" occurs twice"},
               [&] { Checkpoint::open(folder_.path()); });
}

TEST_F(Shards, StayInsideTheFolder) {
  const TemporaryFolder outside;
  const std::string path =
      outside.write("x.safetensors", encode("{" + entry("a", "U8", "[1]", 0, 1) + "}", "1"));
  const std::string up = "../" + std::filesystem::path(outside.path()).filename().string();
  for (const std::string& name : {path, up + "/x.safetensors", "s/../" + up + "/x.safetensors",
                                  std::string(), std::string("..")}) {
    expect_bad_index("{\"a\":\"" + name + "\"}", ErrorCode::kCorruptData,
                     {"weight_map", "inside the folder"});
  }
  expect_bad_index(R"({"a":"s1.safetensors\u0000x"})", ErrorCode::kCorruptData, {"inside"});
}

TEST_F(Shards, BadIndexes) {
  expect_bad_index(R"({"b":"s1.safetensors"})", ErrorCode::kCorruptData,
                   {"weight_map", "\"b\"", "s1.safetensors"});
  expect_bad_index(R"({"a":"s9.safetensors"})", ErrorCode::kNotFound, {"s9.safetensors"});
  expect_bad_index(R"({"a":7})", ErrorCode::kCorruptData, {"weight_map", "a string"});
  expect_bad_index(R"([])", ErrorCode::kCorruptData, {"weight_map", "an object"});
  folder_.write("model.safetensors.index.json", "{}");
  expect_error(ErrorCode::kCorruptData, {"index.json", "weight_map"},
               [&] { Checkpoint::open(folder_.path()); });
}

TEST(CheckpointOpen, PathsThatAreNoCheckpoint) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::kNotFound, {"none"}, [&] { Checkpoint::open(folder.path() + "/none"); });
  expect_error(ErrorCode::kNotFound, {"no safetensors"}, [&] { Checkpoint::open(folder.path()); });
  expect_error(ErrorCode::kCorruptData, {"a.gguf", "magic"},
               [&] { Checkpoint::open(folder.write("a.gguf", "GGML....")); });
  expect_error(ErrorCode::kCorruptData, {"empty"},
               [&] { Checkpoint::open(folder.write("empty.safetensors", "")); });
}

}  // namespace
}  // namespace onnuri
