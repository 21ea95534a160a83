// See token_decoder.h.
#include "fusion/token_decoder.h"

#include "core/check.h"
#include "fusion/bpe.h"
#include "fusion/normalizer.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr int kMaxDepth = 16;
constexpr std::string_view kWhere = "tokenizer.json: decoder";
using Step = TokenDecoder::Step;
using Kind = TokenDecoder::Kind;

// A token that is not written in the byte table (an added token) stands for itself.
std::string from_written(std::string_view token) {
  std::string out;
  for (size_t pos = 0; pos < token.size();) {
    const int byte = written_to_byte(utf8::next(token, pos));
    if (byte < 0) return std::string(token);
    out += static_cast<char>(byte);
  }
  return out;
}

std::string strip(std::string_view token, const Step& step) {
  for (size_t i = 0; i < step.start && token.starts_with(step.content); ++i)
    token.remove_prefix(step.content.size());
  for (size_t i = 0; i < step.stop && token.ends_with(step.content); ++i)
    token.remove_suffix(step.content.size());
  return std::string(token);
}

std::string clean_up(std::string text) {
  constexpr std::string_view kPairs[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                            {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                            {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                            {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& pair : kPairs) text = replace_all(text, pair[0], pair[1]);
  return text;
}

std::vector<std::string> byte_fallback(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (utf8::valid_prefix(run) == run.size()) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = byte_of_token(token);
    if (byte >= 0) {
      run += static_cast<char>(byte);
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string join(const std::vector<std::string>& tokens, std::string_view between) {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += between;
    out += tokens[i];
  }
  return out;
}

std::string word_piece(std::string token, bool first, const Step& step) {
  if (!first) {
    if (token.starts_with(step.pattern)) {
      token.erase(0, step.pattern.size());
    } else {
      token.insert(0, " ");
    }
  }
  return step.cleanup ? clean_up(std::move(token)) : token;
}

}  // namespace

TokenDecoder::TokenDecoder(const JsonValue& json) { parse(json, 0); }

void TokenDecoder::parse(const JsonValue& json, int depth) {
  if (json.is_null()) return;
  if (depth > kMaxDepth) fail(ErrorCode::kCorruptData, "expected shallow nesting at ", kWhere);
  const std::string& type = json.at("type", kWhere).as_string(kWhere);
  Step step;
  if (type == "Sequence") {
    for (const JsonValue& one : json.at("decoders", kWhere).as_array(kWhere)) parse(one, depth + 1);
    return;
  }
  if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    step.pattern = json.at("replacement", kWhere).as_string(kWhere);
    const JsonValue* scheme = json.find("prepend_scheme");
    const JsonValue* legacy = json.find("add_prefix_space");
    if (scheme != nullptr) {
      step.drop_first = scheme->as_string(kWhere) != "never";
    } else if (legacy != nullptr) {
      step.drop_first = legacy->as_bool(kWhere);
    }
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    step.content = json.at("content", kWhere).as_string(kWhere);
    if (step.content.empty()) fail(ErrorCode::kCorruptData, "expected content at ", kWhere);
    step.start = static_cast<size_t>(json.at("start", kWhere).as_int(kWhere));
    step.stop = static_cast<size_t>(json.at("stop", kWhere).as_int(kWhere));
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    const JsonValue* pattern = json.at("pattern", kWhere).find("String");
    if (pattern == nullptr)
      fail(ErrorCode::kUnsupported, "expected a plain string to replace, found a regex at ",
           kWhere);
    step.pattern = pattern->as_string(kWhere);
    step.content = json.at("content", kWhere).as_string(kWhere);
  } else if (type == "WordPiece") {
    step.kind = Kind::kWordPiece;
    step.pattern = json.at("prefix", kWhere).as_string(kWhere);
    step.cleanup = json.at("cleanup", kWhere).as_bool(kWhere);
  } else if (type == "BPEDecoder") {
    step.kind = Kind::kSuffix;
    step.pattern = json.at("suffix", kWhere).as_string(kWhere);
  } else {
    fail(ErrorCode::kUnsupported, "expected a known decoder, found \"", type, "\" at ", kWhere);
  }
  steps_.push_back(std::move(step));
}

bool TokenDecoder::concatenates() const {
  return steps_.size() == 1 && steps_[0].kind == Kind::kByteLevel;
}

std::string TokenDecoder::bytes(std::string_view token) const {
  if (steps_.empty()) return " " + std::string(token);
  std::string out(token);
  const size_t most = most_text(token.size());
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kByteLevel: out = from_written(out); break;
      case Kind::kMetaspace: out = replace_all(out, step.pattern, " "); break;
      case Kind::kReplace: out = replace_all(out, step.pattern, step.content, most, kWhere); break;
      case Kind::kSuffix: out = replace_all(out, step.pattern, " "); break;
      case Kind::kWordPiece: out = word_piece(std::move(out), false, step); break;
      case Kind::kByteFallback:
        if (const int byte = byte_of_token(out); byte >= 0) return {static_cast<char>(byte)};
        break;
      case Kind::kFuse:
      case Kind::kStrip: break;
    }
  }
  return out;
}

std::string TokenDecoder::text(std::vector<std::string> tokens) const {
  if (steps_.empty()) return join(tokens, " ");
  size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  const size_t most = most_text(bytes);
  for (const Step& step : steps_) {
    size_t made = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      switch (step.kind) {
        case Kind::kByteLevel: token = from_written(token); break;
        case Kind::kMetaspace:
          token = replace_all(token, step.pattern, i == 0 && step.drop_first ? "" : " ");
          break;
        case Kind::kStrip: token = strip(token, step); break;
        case Kind::kReplace:
          token = replace_all(token, step.pattern, step.content, most, kWhere);
          made += token.size();
          require_text(made, most, kWhere);
          break;
        case Kind::kSuffix:
          token = replace_all(token, step.pattern, i + 1 == tokens.size() ? "" : " ");
          break;
        case Kind::kWordPiece: token = word_piece(std::move(token), i == 0, step); break;
        case Kind::kByteFallback:
        case Kind::kFuse: break;
      }
    }
    if (step.kind == Kind::kByteFallback) {
      tokens = byte_fallback(tokens);
    } else if (step.kind == Kind::kFuse) {
      tokens = {join(tokens, "")};
    } else if (step.kind == Kind::kByteLevel) {
      tokens = {utf8::lossy(join(tokens, ""))};
    }
  }
  return utf8::lossy(join(tokens, ""));
}

}  // namespace onnuri
