// Names and defaults: timm 1.0 RegStage, as the remote code of the families instantiates it. The
// fields called "bn" are norms over channels.
#include "engine/abstractor_mapping.h"

#include <cmath>

#include "engine/vision_mapping.h"

namespace onnuri {
namespace {

/// Extent `axis` of the first of these tensors that is stored with four axes, else `fallback`.
int64_t stored_extent(const ModelFiles& files, const std::vector<std::string>& prefixes,
                      const std::string& name, int axis, int64_t fallback) {
  for (const std::string& prefix : prefixes) {
    const TensorView found = files.checkpoint->find(prefix + name);
    if (!found.empty() && found.shape.rank() == 4) return found.shape[axis];
  }
  return fallback;
}

}  // namespace

std::vector<AbstractorBlock> read_abstractor_blocks(const ModelFiles& files,
                                                    const std::vector<std::string>& prefixes,
                                                    const std::string& stage, int64_t depth,
                                                    int64_t in_size, int64_t out_size) {
  std::vector<AbstractorBlock> out;
  for (int64_t i = 1; i <= depth; ++i) {
    const std::string block = stage + "b" + std::to_string(i) + ".";
    const auto gate = static_cast<int64_t>(std::nearbyint(static_cast<double>(in_size) * 0.25));
    AbstractorBlock shape;
    shape.in_size = in_size;
    shape.out_size = out_size;
    shape.inner_size = stored_extent(files, prefixes, block + "conv1.conv.weight", 0, out_size);
    shape.group_size = stored_extent(files, prefixes, block + "conv2.conv.weight", 1, 1);
    shape.gate_size = stored_extent(files, prefixes, block + "se.fc1.weight", 0, gate);
    out.push_back(shape);
    in_size = out_size;
  }
  return out;
}

void add_abstractor_names(NameTable& names, const std::vector<std::string>& prefixes) {
  const auto add = [&](const std::string& canonical, const std::string& stored) {
    add_prefixed_names(names, prefixes, "projector." + canonical, {stored});
  };
  const std::pair<const char*, const char*> convs[] = {
      {"conv1", "conv1"}, {"dw", "conv2"}, {"conv3", "conv3"}, {"shortcut", "downsample"}};
  const std::pair<std::string, std::string> stages[] = {{"before.#.", "net.0.b#."},
                                                        {"after.#.", "net.2.b#."}};
  add("positions", "pos_emb");
  for (const std::string kind : {".weight", ".bias"}) {
    add("norm" + kind, "prenorm" + kind);
    add("fc.#" + kind, "readout.#" + kind);  // an activation stands between two products
    for (const auto& [canonical, stored] : stages) {
      for (const auto& [name, conv] : convs) {
        add(canonical + name + kind, stored + conv + ".conv" + kind);
        add(canonical + name + ".norm" + kind, stored + conv + ".bn" + kind);
      }
      for (const std::string gate : {"1", "2"})
        add(canonical + "gate" + gate + kind, stored + "se.fc" + gate + kind);
    }
  }
}

}  // namespace onnuri
