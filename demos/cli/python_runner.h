// The Python beside this program, for the two jobs that packages do better: fetching packaged
// weights, and the OCR stand-in.
#pragma once

#include <string>
#include <vector>

namespace onnuri::cli {

/// $ONNURI_PYTHON, else python3 beside the onnuri command as it was called, else "python3".
std::string find_python();

/// Remembers how the program was called; find_python looks beside it.
void set_program_path(const char* argv0);

/// Runs Python with these arguments, sharing our terminal. Returns its exit code; 127 when it
/// cannot be started.
int run_python(const std::vector<std::string>& arguments);

}  // namespace onnuri::cli
