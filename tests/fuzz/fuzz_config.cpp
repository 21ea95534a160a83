// config.json of every family, mapped over a checkpoint without tensors.
#include "core/checkpoint_table.h"
#include "engine/model_config.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  expect_error_or_nothing([&] {
    ModelFiles files;
    files.path = "checkpoint";
    files.checkpoint =
        std::make_shared<CheckpointTable>(CheckpointFormat::kSafetensors, files.path);
    files.config = parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    if (!files.config.is_object()) return;
    const ModelConfig model = map_model(files);
    if (model.decoder.num_layers() > 0) model.decoder.num_active_parameters();
    model.names("layers.0.q.weight");
  });
  return 0;
}
