// Stored names of decoder tensors: transformers checkpoints and GGUF.
#include "engine/decoder_mapping.h"

namespace onnuri {
namespace {

using Prefixes = std::vector<std::string>;

void add_prefixed(NameTable& table, const Prefixes& prefixes, const std::string& canonical,
                  StoredName stored) {
  const std::string pattern = stored.pattern;
  for (const std::string& prefix : prefixes) {
    stored.pattern = prefix + pattern;
    table.add(canonical, {stored});
  }
}

void add_norms(NameTable& table, const Prefixes& prefixes, const std::string& layer,
               const NormNames& norms) {
  const std::pair<const char*, const std::string*> sites[] = {
      {"pre_mixer_norm", &norms.pre_mixer},
      {"post_mixer_norm", &norms.post_mixer},
      {"pre_ffn_norm", &norms.pre_ffn},
      {"post_ffn_norm", &norms.post_ffn}};
  for (const auto& [site, stored] : sites)
    if (!stored->empty())
      add_prefixed(table, prefixes, std::string("layers.#.") + site + ".weight",
                   {layer + *stored + ".weight"});
}

}  // namespace

void add_names(NameTable& table, const Prefixes& prefixes, const NormNames& norms) {
  add_prefixed(table, prefixes, "embed.weight", {"embed_tokens.weight"});
  add_prefixed(table, prefixes, "norm.weight", {"norm.weight"});
  table.add("head.weight", {{"lm_head.weight"}, {"language_model.lm_head.weight"}});
  add_norms(table, prefixes, "layers.#.", norms);
  for (const std::string part : {"q", "k", "v", "o"})
    for (const std::string kind : {".weight", ".bias"})
      add_prefixed(table, prefixes, "layers.#." + part + kind,
                   {"layers.#.self_attn." + part + "_proj" + kind});
  for (const std::string part : {"q", "k"})
    add_prefixed(table, prefixes, "layers.#." + part + "_norm.weight",
                 {"layers.#.self_attn." + part + "_norm.weight"});
  add_prefixed(table, prefixes, "layers.#.sinks", {"layers.#.self_attn.sinks"});
  for (const std::string part : {"gate", "up", "down"})
    for (const std::string kind : {".weight", ".bias"})
      add_prefixed(table, prefixes, "layers.#." + part + kind,
                   {"layers.#.mlp." + part + "_proj" + kind});
}

void add_moe_names(NameTable& table, const Prefixes& prefixes, int64_t moe_intermediate_size,
                   const std::string& correction) {
  const std::string mlp = "layers.#.mlp.";
  add_prefixed(table, prefixes, "layers.#.router.weight", {mlp + "gate.weight"});
  for (const std::string& name : {correction, std::string("gate.e_score_correction_bias")})
    add_prefixed(table, prefixes, "layers.#.router.correction", {mlp + name});
  for (const std::string part : {"gate", "up", "down"}) {
    add_prefixed(table, prefixes, "layers.#.experts.#." + part + ".weight",
                 {mlp + "experts.#." + part + "_proj.weight"});
    add_prefixed(table, prefixes, "layers.#.shared." + part + ".weight",
                 {mlp + "shared_experts." + part + "_proj.weight"});
  }
  // Stacked: gate rows first, then up rows.
  const int64_t width = moe_intermediate_size;
  const std::string fused = mlp + "experts.gate_up_proj";
  add_prefixed(table, prefixes, "layers.#.experts.#.gate.weight", {fused, true, 0, width});
  add_prefixed(table, prefixes, "layers.#.experts.#.up.weight", {fused, true, width, width});
  add_prefixed(table, prefixes, "layers.#.experts.#.down.weight",
               {mlp + "experts.down_proj", true, 0, -1});
}

void add_mtp_names(NameTable& table, const MtpNames& names) {
  table.derive("layers.#.", "mtp.", "model.layers.#.", names.stored_layer);
  const std::pair<const char*, const std::string*> parts[] = {
      {"mtp.embed_norm.weight", &names.embed_norm},
      {"mtp.hidden_norm.weight", &names.hidden_norm},
      {"mtp.join.weight", &names.join},
      {"mtp.norm.weight", &names.norm},
      {"mtp.embed.weight", &names.embed},
      {"mtp.head.weight", &names.head}};
  for (const auto& [canonical, stored] : parts)
    if (!stored->empty()) table.add(canonical, {{*stored}});
}

void add_gguf_names(NameTable& table, const NormNames& norms) {
  table.add("embed.weight", {{"token_embd.weight"}});
  table.add("norm.weight", {{"output_norm.weight"}});
  table.add("head.weight", {{"output.weight"}});
  add_norms(table, {""}, "blk.#.", norms);
  for (const std::string kind : {".weight", ".bias"}) {
    for (const std::string part : {"q", "k", "v"})
      table.add("layers.#." + part + kind, {{"blk.#.attn_" + part + kind}});
    table.add("layers.#.o" + kind, {{"blk.#.attn_output" + kind}});
  }
  for (const std::string part : {"q", "k"})
    table.add("layers.#." + part + "_norm.weight", {{"blk.#.attn_" + part + "_norm.weight"}});
  table.add("layers.#.sinks", {{"blk.#.attn_sinks.weight"}});
  for (const std::string part : {"gate", "up", "down"})
    for (const std::string kind : {".weight", ".bias"})
      table.add("layers.#." + part + kind, {{"blk.#.ffn_" + part + kind}});
}

void add_gguf_moe_names(NameTable& table) {
  for (const std::string kind : {".weight", ".bias"})
    table.add("layers.#.router" + kind, {{"blk.#.ffn_gate_inp" + kind}});
  table.add("layers.#.router.correction", {{"blk.#.exp_probs_b.bias"}, {"blk.#.exp_probs_b"}});
  for (const std::string part : {"gate", "up", "down"}) {
    for (const std::string kind : {".weight", ".bias"})
      table.add("layers.#.experts.#." + part + kind,
                {{"blk.#.ffn_" + part + "_exps" + kind, true, 0, -1}});
    table.add("layers.#.shared." + part + ".weight", {{"blk.#.ffn_" + part + "_shexp.weight"}});
  }
}

}  // namespace onnuri
