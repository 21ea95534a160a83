// See chat_template.h.
#include "fusion/chat_template.h"

#include "core/check.h"
#include "fusion/jinja_eval.h"
#include "fusion/jinja_parser.h"
#include "fusion/utf8.h"

namespace onnuri {

namespace {

constexpr size_t kMaxSource = size_t{4} << 20;

}  // namespace

struct ChatTemplate::Impl {
  jinja::Block block;
};

ChatTemplate::ChatTemplate() : impl_(new Impl) {}
ChatTemplate::~ChatTemplate() = default;

std::unique_ptr<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  if (source.size() > kMaxSource)
    fail(ErrorCode::kCorruptData, "expected a chat template of at most ", kMaxSource,
         " bytes, found ", source.size());
  if (utf8::valid_prefix(source) != source.size())
    fail(ErrorCode::kCorruptData, "expected a chat template in UTF-8");
  std::unique_ptr<ChatTemplate> made(new ChatTemplate);
  made->impl_->block = jinja::parse(source);
  return made;
}

std::string ChatTemplate::render(const JsonValue& variables) const {
  return jinja::Interpreter(jinja::Limits{}).render(impl_->block, variables);
}

}  // namespace onnuri
