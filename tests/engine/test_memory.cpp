// Memory that runs out inside a call is an onnuri::Error, and the engine stays usable.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <new>

#include "engine/guarded_engine.h"
#include "onnuri/error.h"

namespace {

// The next allocation of at least this many bytes on this thread fails.
thread_local std::size_t failing_bytes = 0;

void* allocate(std::size_t bytes) {
  if (failing_bytes > 0 && bytes >= failing_bytes) {
    failing_bytes = 0;
    throw std::bad_alloc();
  }
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}

void* allocate_or_null(std::size_t bytes) noexcept {
  try {
    return allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
// std::stable_sort asks for its buffer this way and gives it back to the plain delete.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate_or_null(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate_or_null(bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace onnuri {
namespace {

const std::string kModel = std::string(ONNURI_TEST_DATA) + "/golden/text/qwen2";

TEST(Memory, EveryCallTurnsAFailedAllocationIntoAnError) {
  EngineOptions options;
  options.num_threads = 1;
  const std::unique_ptr<Engine> engine = Engine::load(kModel, options);
  const std::vector<int32_t> ids = {5, 6, 7, 8, 9, 10};
  GenerateRequest request;
  request.input_ids = ids;
  request.max_new_tokens = 3;
  request.ignore_eos = true;
  const std::string text(500, 'a');
  const std::vector<std::pair<const char*, std::function<void()>>> calls = {
      {"generate", [&] { engine->generate(request, nullptr); }},
      {"logits", [&] { engine->logits(ids, {}, {}); }},
      {"mean_nll", [&] { engine->mean_nll(ids); }},
      {"token_nll", [&] { engine->token_nll(ids); }},
      {"tokenize", [&] { engine->tokenize(text, false, false); }},
      {"inspect", [&] { inspect_model_json(kModel); }},
      {"load", [&] { Engine::load(kModel, options); }}};
  for (const auto& [name, call] : calls) {
    call();
    failing_bytes = 256;
    try {
      call();
      ADD_FAILURE() << name << " allocated nothing that could fail";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << name << ": " << error.what();
    }
    failing_bytes = 0;
    call();  // as before
  }
}

TEST(Memory, AbsurdRequestsAreErrors) {
  EngineOptions options;
  options.num_threads = 1;
  const std::unique_ptr<Engine> engine = Engine::load(kModel, options);
  GenerateRequest request;
  request.input_ids = {5};
  request.num_choices = int64_t{1} << 40;
  EXPECT_THROW(engine->generate(request, nullptr), Error);
  options.num_threads = -3;
  EXPECT_THROW(Engine::load(kModel, options), Error);
}

}  // namespace
}  // namespace onnuri
