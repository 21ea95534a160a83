// Checkpoints of quantised weights: a line with the quantization_config, then a safetensors file.
// Whatever is taken for a weight must be readable to its last code.
#include <algorithm>
#include <vector>

#include "core/quantized_checkpoint.h"
#include "kernels/linear.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  static InputFile file(".safetensors");
  const uint8_t* line_end = std::find(data, data + size, '\n');
  if (line_end == data + size) return 0;
  const std::string& path =
      file.write(line_end + 1, static_cast<size_t>(data + size - line_end - 1));
  expect_error_or_nothing([&] {
    const std::string config =
        "{\"quantization_config\":" +
        std::string(reinterpret_cast<const char*>(data), static_cast<size_t>(line_end - data)) +
        "}";
    const auto checkpoint = open_quantized(
        Checkpoint::open(path), read_quantization_config(parse_json(config, "config"), "config"));
    for (const std::string& name : checkpoint->names()) {
      const TensorView view = checkpoint->find(name);
      if (view.encoding == nullptr || view.num_elements() > (1 << 22)) continue;
      std::vector<float> values(static_cast<size_t>(view.num_elements()));
      dequantize(view, values.data());
    }
  });
  return 0;
}
