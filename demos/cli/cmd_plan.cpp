// onnuri plan: what memory a model takes, and whether it fits, before it is loaded.
#include <cmath>

#include "demos/cli/common.h"
#include "demos/cli/terminal.h"
#include "onnuri/error.h"
#include "onnuri/plan.h"

namespace onnuri::cli {
namespace {

struct PlanCommand {
  ModelOptions model;
  PlanOptions plan;
  std::string memory;
  std::string image = "1920x1080";
  bool check = false;
};

[[noreturn]] void refuse(const std::string& expected, const std::string& found) {
  throw Error(ErrorCode::kInvalidArgument, "expected " + expected + ", found \"" + found + "\"");
}

void parse_image(const std::string& text, PlanOptions& plan) {
  const size_t x = text.find('x');
  const auto side = [&](const std::string& digits) {
    if (digits.empty() || digits.size() > 5 ||
        digits.find_first_not_of("0123456789") != std::string::npos)
      refuse("a picture's size as WIDTHxHEIGHT", text);
    return std::stoll(digits);
  };
  if (x == std::string::npos) refuse("a picture's size as WIDTHxHEIGHT", text);
  plan.image_width = side(text.substr(0, x));
  plan.image_height = side(text.substr(x + 1));
}

std::string padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

void line(const std::string& head, const std::string& text) {
  write_out(padded(head, 34) + text + "\n");
}

void print_plan(const Json& plan) {
  line("model", plan.value("model_name", "") + " (" + plan.value("family", "") + ")");
  line("context", std::to_string(plan.value("context", int64_t{0})) + " tokens x " +
                      std::to_string(plan.value("concurrency", int64_t{1})) +
                      (plan.value("concurrency", int64_t{1}) == 1 ? " sequence" : " sequences"));
  const auto ranks = plan.value("tensor_parallel", int64_t{1});
  if (ranks > 1 || plan.value("device", "cpu") != "cpu")
    line("device", std::to_string(ranks) + " x " + plan.value("device", "") +
                       (ranks > 1 ? "; each of them holds" : ""));
  for (const Json& item : plan.at("items"))
    line("  " + item.value("name", ""), human_bytes(item.value("bytes", 0.0)));
  line("needed",
       human_bytes(plan.value("needed_bytes", 0.0)) +
           (ranks > 1
                ? " on each, " + human_bytes(plan.value("needed_bytes_of_all", 0.0)) + " in all"
                : ""));
  if (plan.value("mapped_bytes", 0.0) > 0)
    line("read from the file in place",
         human_bytes(plan.value("mapped_bytes", 0.0)) + " (the system may drop it)");
  line("available", human_bytes(plan.value("available_bytes", 0.0)));
  if (plan.value("fits", false))
    line("fits", "yes");
  else
    line("fits", "no: the limit is " + plan.value("limit", ""));
  const auto largest = plan.value("largest_context", int64_t{0});
  line("largest context that fits", largest > 0 ? std::to_string(largest) + " tokens" : "none");
  const auto most = plan.value("largest_concurrency", int64_t{0});
  line("most sequences of this context", most > 0 ? std::to_string(most) : "none");
}

std::string device_names() {
  std::string out;
  for (const std::string& name : plan_device_names()) out += (out.empty() ? "" : ", ") + name;
  return out;
}

void run(const PlanCommand& command) {
  PlanOptions options = command.plan;
  options.engine = engine_options(command.model);
  if (!command.memory.empty()) options.memory_bytes = parse_bytes(command.memory);
  parse_image(command.image, options);
  const std::string path = resolve_model(command.model);
  if (!command.check) {
    const std::string text = plan_model_json(path, options);
    if (command.model.json) return write_out(text + "\n");
    return print_plan(Json::parse(text));
  }
  const std::string text = check_plan_json(path, options);
  if (command.model.json) return write_out(text + "\n");
  const Json result = Json::parse(text);
  print_plan(result.at("plan"));
  line("measured after loading", human_bytes(result.value("measured_bytes", 0.0)));
  line("error of the plan", fixed(100.0 * result.value("error", 0.0), 2) + " %");
}

}  // namespace

void add_plan_command(CLI::App& app) {
  auto command = std::make_shared<PlanCommand>();
  CLI::App* plan = app.add_subcommand(
      "plan",
      "Say what memory a model takes and whether it fits, from its config and headers alone. Files "
      "of weights may be cut off after their headers; a config.json alone is planned as "
      "published.");
  add_model_options(*plan, command->model);
  plan->add_option("--concurrency", command->plan.concurrency,
                   "Sequences at once, each as long as the context")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  plan->add_option("--device", command->plan.device,
                   "Whose memory it has to fit into: " + device_names())
      ->capture_default_str();
  plan->add_option("--tp", command->plan.tensor_parallel,
                   "Devices that share the model (tensor parallel); sizes are those of one of them")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  plan->add_option("--memory", command->memory,
                   "Memory to fit into, such as 16GiB; what is free now unless given");
  plan->add_option("--image", command->image, "Largest picture that is to be read")
      ->type_name("WxH")
      ->capture_default_str();
  plan->add_option("--sound", command->plan.sound_s, "Longest sound that is heard at once, seconds")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86400.0));
  plan->add_flag("--check", command->check,
                 "Load the model too, fill the context, and compare what it takes with the plan");
  set_examples(*plan,
               "  onnuri plan model.gguf --context 32768\n"
               "  onnuri plan ./K-EXAONE-236B --context 262144 --memory 512GiB --json\n"
               "  onnuri plan ./K-EXAONE-236B --context 262144 --device h100-80gb --tp 8\n"
               "  onnuri plan ./config.json --concurrency 8 --kv-type bf16\n"
               "  onnuri plan model.gguf --context 1024 --check");
  plan->callback([command] { run(*command); });
}

}  // namespace onnuri::cli
