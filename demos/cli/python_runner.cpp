#include "demos/cli/python_runner.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

extern char** environ;

namespace onnuri::cli {
namespace {

std::string& program_path() {
  static std::string path;
  return path;
}

// The folder that argv[0] names, following PATH but not links: a link in a virtual environment's
// bin folder stands beside that environment's Python.
std::string program_folder() {
  const std::string& path = program_path();
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos) return path.substr(0, slash);
  const char* search = std::getenv("PATH");
  std::string rest = search != nullptr ? search : "";
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::string folder = rest.substr(0, colon);
    if (!folder.empty() && access((folder + "/" + path).c_str(), X_OK) == 0) return folder;
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return "";
}

}  // namespace

void set_program_path(const char* argv0) { program_path() = argv0 != nullptr ? argv0 : ""; }

std::string find_python() {
  if (const char* chosen = std::getenv("ONNURI_PYTHON"); chosen != nullptr && *chosen != '\0') {
    return chosen;
  }
  const std::string folder = program_folder();
  if (!folder.empty()) {
    const std::string beside = folder + "/python3";
    if (access(beside.c_str(), X_OK) == 0) return beside;
  }
  return "python3";
}

int run_python(const std::vector<std::string>& arguments) {
  const std::string python = find_python();
  std::vector<char*> argv = {const_cast<char*>(python.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawnp(&pid, python.c_str(), nullptr, nullptr, argv.data(), environ) != 0) return 127;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return 127;
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return 128 + (WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

}  // namespace onnuri::cli
