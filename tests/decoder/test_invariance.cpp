// The bits of a request's logits hang on nothing but the request: not on how many others are
// computed with it and where it stands among them, not on the chunks of its prompt, not on the
// threads. Told by hashes, for every instruction set that this machine has.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/content_hash.h"
#include "decoder/decoder.h"
#include "decoder/kv_cache.h"
#include "kernels/backend.h"
#include "onnuri/error.h"
#include "tests/decoder/decoder_fixture.h"
#include "tests/decoder/decoder_shapes.h"
#include "tests/support/sanitized.h"

namespace onnuri {
namespace {

constexpr int64_t kPrompt = 37;  // longer than every window, and than a block of latents
constexpr int64_t kAnswer = 5;
constexpr int64_t kMostOthers = 15;

struct Arithmetic {
  ComputeType compute;
  DType weights;
  DType keys;
};
constexpr Arithmetic kArithmetics[] = {
    {ComputeType::kFloat32, DType::kF32, DType::kF32},
    {ComputeType::kAuto, DType::kBF16, DType::kBF16},
    {ComputeType::kAuto, DType::kQ8_0, DType::kI8},
    {ComputeType::kAuto, DType::kF16, DType::kF16},
    {ComputeType::kAuto, DType::kBF16, DType::kQ4_1},
};

struct Machine {
  Machine(const DecoderConfig& config, const Arithmetic& arithmetic, const std::string& isa,
          int num_threads)
      : backend(num_threads, isa) {
    const auto checkpoint =
        std::make_shared<RandomDecoderCheckpoint>(config, 11, arithmetic.weights);
    TensorSource source = source_of(checkpoint);
    decoder = Decoder::load(config, source, backend, arithmetic.compute, nullptr);
    KvCacheOptions options;
    options.dtype = arithmetic.keys;
    options.page_rows = 8;
    options.max_tokens = 16 * 64;
    options.max_sequences = 16;
    options.max_chunk = 64;
    cache = std::make_unique<KvCache>(config, options);
  }
  Backend backend;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<KvCache> cache;
};

// Blocks of eight-bit weights are 32 wide, and not every shape is.
bool can_run(const DecoderConfig& config, const Arithmetic& arithmetic) {
  try {
    const Machine machine(config, arithmetic, "ref", 1);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// One text on its way: a prompt in chunks, then token by token.
struct Text {
  std::vector<int32_t> ids;
  int64_t prompt = 0;
  int64_t chunk = 1;
  int64_t waits = 0;  // passes before it begins
  std::unique_ptr<KvSequence> kv;
  ContentHash hash = {};

  bool done() const { return kv->num_tokens() == static_cast<int64_t>(ids.size()); }
  int64_t next_rows() const {
    const int64_t at = kv->num_tokens();
    return at < prompt ? std::min(chunk, prompt - at) : 1;
  }
};

Text make_text(const DecoderConfig& config, uint32_t seed, int64_t prompt, int64_t chunk,
               int64_t waits) {
  Text text;
  text.ids = random_ids(prompt + kAnswer, config.vocab_size, seed);
  text.prompt = prompt;
  text.chunk = chunk;
  text.waits = waits;
  return text;
}

// Runs all texts to their ends, those that are ready in one pass; each hashes all of its logits.
void run_together(Machine& machine, std::vector<Text>& texts) {
  const DecoderConfig& config = machine.decoder->config();
  for (Text& text : texts) text.kv = machine.cache->new_sequence();
  for (int64_t pass = 0;
       std::any_of(texts.begin(), texts.end(), [](const Text& text) { return !text.done(); });
       ++pass) {
    std::vector<int32_t> ids;
    std::vector<int64_t> rows, position;
    std::vector<SequenceSlice> slices;
    std::vector<Text*> owners;  // of each row
    for (Text& text : texts) {
      if (text.done() || pass < text.waits) continue;
      const int64_t begin = text.kv->num_tokens(), count = text.next_rows();
      ASSERT_TRUE(text.kv->reserve(count));
      SequenceSlice slice{static_cast<int64_t>(ids.size()), count, begin, text.kv.get()};
      slice.prompt_end = begin < text.prompt ? text.prompt : 0;
      slices.push_back(slice);
      for (int64_t i = begin; i < begin + count; ++i) {
        rows.push_back(static_cast<int64_t>(ids.size()));
        ids.push_back(text.ids[static_cast<size_t>(i)]);
        position.push_back(i);
        owners.push_back(&text);
      }
    }
    if (ids.empty()) continue;
    std::vector<float> positions;
    for (int64_t axis = 0; axis < config.position_axes(); ++axis)
      positions.insert(positions.end(), position.begin(), position.end());
    const auto vocab = static_cast<size_t>(config.vocab_size);
    std::vector<float> logits(ids.size() * vocab);
    machine.decoder->forward(
        {ids, positions, slices, {}, rows},
        matrix(logits.data(), static_cast<int64_t>(ids.size()), config.vocab_size));
    for (size_t i = 0; i < ids.size(); ++i)
      owners[i]->hash.add(std::span<const float>(logits).subspan(i * vocab, vocab));
  }
  for (Text& text : texts) text.kv.reset();
  machine.cache->check_integrity();
}

class Invariance : public testing::TestWithParam<size_t> {};

TEST_P(Invariance, LogitsHangOnTheRequestAlone) {
  const size_t number = GetParam();
  const NamedShape shape = decoder_shapes()[number];
  const int64_t chunks[] = {kPrompt, 1, 3, 17};
  size_t round = number;  // so that shapes take turns with everything below
  for (const KernelTableInfo& table : list_kernel_tables()) {
    if (!table.supported) continue;
    if (!can_run(shape.config, kArithmetics[round % std::size(kArithmetics)])) ++round;
    const Arithmetic& arithmetic = kArithmetics[round++ % std::size(kArithmetics)];
    SCOPED_TRACE(shape.name + " " + table.name + " " + std::string(dtype_name(arithmetic.weights)));
    ContentKey alone;
    for (const int threads : {1, 2, 3}) {
      Machine machine(shape.config, arithmetic, table.name, threads);
      // Every third batch size here, the others with other threads.
      for (int64_t others = threads - 1; others <= kMostOthers; others += kSanitized ? 9 : 3) {
        std::vector<Text> texts;
        for (int64_t i = 0; i < others; ++i) {
          const auto seed = static_cast<uint32_t>(100 + 16 * others + i);
          texts.push_back(
              make_text(shape.config, seed, 1 + (i * 7 + others) % 40, 1 + i % 11, (i * 3) % 8));
        }
        const int64_t chunk = others == 0 ? kPrompt : chunks[round++ % std::size(chunks)];
        const auto place = static_cast<std::ptrdiff_t>(others * 5 % (others + 1));
        texts.insert(texts.begin() + place, make_text(shape.config, 1, kPrompt, chunk, others % 4));
        run_together(machine, texts);
        const ContentKey found = texts[static_cast<size_t>(place)].hash.finish();
        if (threads == 1 && others == 0) alone = found;
        EXPECT_EQ(found, alone) << others << " others, chunks of " << chunk << ", " << threads
                                << " threads";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Invariance, testing::Range<size_t>(0, decoder_shapes().size()),
                         [](const auto& shape) { return decoder_shapes()[shape.param].name; });

}  // namespace
}  // namespace onnuri
