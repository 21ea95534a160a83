// onnuri devices: what this machine offers and which kernels are chosen.
#include "demos/cli/common.h"
#include "demos/cli/terminal.h"

namespace onnuri::cli {

void add_devices_command(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("devices", "Show the processor, its kernel tables, and accelerators.");
  command->add_flag("--json", *json, "Print one JSON object");
  set_examples(*command,
               "  onnuri devices\n"
               "  onnuri devices --json");
  command->callback([json] {
    const std::string text = devices_json();
    if (*json) return write_out(text + "\n");
    const Json devices = Json::parse(text);
    const Json& cpu = devices.at("cpu");
    write_out("cpu   " + cpu.value("brand", "unknown") + ", " +
              std::to_string(cpu.value("num_cores", 1)) + " cores\n");
    for (const Json& table : cpu.at("kernel_tables")) {
      const bool chosen = table.value("chosen", false);
      const bool supported = table.value("supported", false);
      write_out(std::string("      ") + (chosen ? "* " : "  ") + table.value("name", "") + "  " +
                table.value("description", "") +
                (chosen      ? "  (chosen)"
                 : supported ? ""
                             : "  (not on this processor)") +
                "\n");
    }
    write_out("cuda  " + devices.at("cuda").value("status", "not built") + "\n");
  });
}

}  // namespace onnuri::cli
