// One factory per family file.
#pragma once

#include "engine/model_config.h"

namespace onnuri {

Family llama_family();
Family qwen2_family();
Family qwen3_family();
Family qwen3_moe_family();
Family gpt_oss_family();
Family granite_family();
Family hyperclovax_family();
Family ernie4_5_family();
Family solar_open_family();
Family gemma3_family();
Family exaone4_family();
Family exaone_moe_family();
Family deepseek_v3_family();
Family axk1_family();
Family axk2_family();
Family vaetki_family();
Family qwen2_vl_family();
Family qwen3_vl_family();
Family qwen3_next_family();
Family qwen3_5_family();
Family qwen2_5_vl_family();
Family paddleocr_vl_family();
Family qwen2_audio_family();
Family qwen2_5_omni_family();
Family qwen3_omni_family();
Family whisper_family();
Family hyperclovax_omni_family();
Family hyperclovax_vision_family();
Family hyperclovax_tiles_family();
Family kanana_v_family();
Family llava_family();
Family idefics3_family();
Family clip_family();
Family motif_family();
Family solar_family();
Family mistral_family();

}  // namespace onnuri
