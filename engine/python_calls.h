// Tool calls as Python writes them, [name(key=value, ...), ...], turned into JSON.
//
// Only literals can be values: strings, numbers, True, False, None, lists, tuples and dicts with
// text for keys. Nothing is evaluated. Every character is understood as it comes, so that what a
// call says does not depend on how its text was cut.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onnuri {

class PythonCalls {
 public:
  /// What became known: a call begins with its name, or its arguments go on as JSON.
  struct Piece {
    bool begins = false;
    std::string text;
  };

  /// Takes a character; false once the text can be no list of calls.
  bool push(char c);
  /// The list is closed.
  bool whole() const { return state_ == State::kWhole; }
  std::vector<Piece> take();

 private:
  enum class State {
    kOpen,    // before [
    kName,    // of a call
    kKey,     // of an argument
    kKeyEnd,  // behind it, before =
    kValue,   // before one
    kWord,    // in a number or a name such as True
    kString,
    kAfterKey,  // of a dict, before :
    kAfterValue,
    kAfterCall,
    kWhole,
    kBroken,
  };

  bool step(char c);
  bool step_name(char c);
  bool step_key(char c);
  bool begin_value(char c);
  bool open(char bracket);
  bool close(char bracket);
  bool step_string(char c);
  bool step_escape(char c);
  bool end_string();
  bool end_word();
  bool step_after_value(char c);
  void say(std::string_view json);
  void say_escaped(char c);
  void say_code(uint32_t code);

  State state_ = State::kOpen;
  std::vector<Piece> out_;
  std::string brackets_;  // that are open; c: of a call, t: of a tuple with a comma
  std::string text_;      // a name, a word, or an escape
  bool comma_ = false;    // a comma is due before the next value
  bool may_close_ = false;
  bool key_next_ = false;  // of a dict
  char quote_ = 0;
  bool escaped_ = false;
  bool as_key_ = false;  // the string is a key of a dict
};

}  // namespace onnuri
