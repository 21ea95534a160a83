#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/mapped_file.h"
#include "tests/core/checkpoint_files.h"

namespace onnuri {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

TEST(MappedFile, SeesTheBytes) {
  const TemporaryFolder folder;
  MappedFile file = MappedFile::open(folder.write("a", "hello"));
  MappedFile moved = std::move(file);
  EXPECT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(std::memcmp(moved.bytes().data(), "hello", 5), 0);
  EXPECT_TRUE(MappedFile::open(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, OnlyRegularFiles) {
  const TemporaryFolder folder;
  const std::string fifo = folder.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path :
       {folder.path() + "/none", folder.path(), fifo, folder.path() + std::string("/a\0b", 4)}) {
    expect_error(ErrorCode::kNotFound, {}, [&] { MappedFile::open(path); });
  }
}

TEST(ReadTextFile, HasALimit) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a", "12345");
  EXPECT_EQ(read_text_file(path, 5), "12345");
  expect_error(ErrorCode::kCorruptData, {"a", "at most 4", "found 5"},
               [&] { read_text_file(path, 4); });
}

TEST(WriteFileAtomically, ReplacesAndLeavesNothingBeside) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a", "old");
  const std::string text = "new text";
  write_file_atomically(path, std::as_bytes(std::span(text)));
  EXPECT_EQ(read_text_file(path), "new text");
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    count += entry.exists() ? 1 : 0;
  }
  EXPECT_EQ(count, 1);
  expect_error(ErrorCode::kNotFound, {"none/a", "cannot create"}, [&] {
    write_file_atomically(folder.path() + "/none/a", std::as_bytes(std::span(text)));
  });
}

}  // namespace
}  // namespace onnuri
