// config.json of every family, mapped over a checkpoint without tensors.
#include "engine/model_config.h"
#include "tests/fuzz/fuzz_input.h"

namespace onnuri {
namespace {

class EmptyCheckpoint final : public Checkpoint {
 public:
  CheckpointFormat format() const override { return CheckpointFormat::kSafetensors; }
  TensorView find(std::string_view) const override { return {}; }
  const std::vector<std::string>& names() const override { return names_; }
  const JsonValue& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  std::vector<std::string> names_;
  JsonValue metadata_;
  std::string path_ = "checkpoint";
};

}  // namespace
}  // namespace onnuri

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace onnuri;
  expect_error_or_nothing([&] {
    ModelFiles files;
    files.path = "checkpoint";
    files.checkpoint = std::make_shared<EmptyCheckpoint>();
    files.config = parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    if (!files.config.is_object()) return;
    const ModelConfig model = map_model(files);
    if (model.decoder.num_layers() > 0) model.decoder.num_active_parameters();
    model.names("layers.0.q.weight");
  });
  return 0;
}
