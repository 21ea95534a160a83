// A job is its input, the rows so far, and a journal that says what they belong to. Rows are
// appended in the order of the input, each in one write, so what a killed run leaves is a whole
// number of rows and perhaps a piece of one more, which is cut off.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>

#include "onnuri/batch.h"
#include "onnuri/error.h"
#include "server/answer_json.h"
#include "server/batch_files.h"
#include "server/json_fields.h"
#include "server/ordered_workers.h"
#include "server/request_json.h"

namespace onnuri {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDefaultTokens = 1024;  // of an answer whose request says nothing
constexpr const char* kJournalVersion = "1";
constexpr int64_t kMostThreads = 256;
constexpr std::chrono::milliseconds kPatience{50};  // between two questions whether to go on

/// Ends a job that on_progress stopped.
struct Stopped {};

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

// One line of the input, as far as it could be read.
struct Line {
  OrderedJson custom_id;  // null where there is none
  std::string method, url;
  OrderedJson body;
};

// A line of the input that nobody has looked into.
struct NumberedLine {
  std::string text;
  bool is_cut = false;
  int64_t number = 0;
};

// What becomes of it.
struct Row {
  std::string text;
  bool failed = false;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

Line read_line(const std::string& text, bool is_cut, int64_t number) {
  if (is_cut)
    throw Error(ErrorCode::kInvalidArgument, "expected lines of at most " +
                                                 std::to_string(LineReader::kMaxLineBytes) +
                                                 " bytes, found a longer one");
  const OrderedJson json = parse_request(text, "line " + std::to_string(number));
  const JsonFields fields(json, "the request");
  Line line;
  if (const OrderedJson* id = fields.find("custom_id")) {
    if (!id->is_string()) refuse_field("a string", "custom_id", *id);
    line.custom_id = *id;
  }
  line.method = fields.text("method").value_or("POST");
  line.url = fields.text("url").value_or("/v1/chat/completions");
  line.body = fields.at("body");
  return line;
}

class BatchJob {
 public:
  BatchJob(Engine& engine, std::string input, std::string output, const BatchOptions& options)
      : engine_(engine), input_(std::move(input)), output_(std::move(output)), options_(options) {}

  BatchProgress run() {
    survey();
    if (is_finished()) return progress_;
    rows_ = std::make_unique<RowFile>(output_ + ".partial");
    const std::vector<std::string> written = resume();
    progress_.done = progress_.resumed = static_cast<int64_t>(written.size());
    report();
    const int64_t index = answer_rest();
    if (index != progress_.total)
      throw Error(ErrorCode::kCorruptData, "expected " + std::to_string(progress_.total) +
                                               " requests in " + input_ + ", found " +
                                               std::to_string(index) + ": it changed meanwhile");
    rows_->rename_to(output_);
    std::error_code ignored;
    fs::remove(journal_path(), ignored);
    return progress_;
  }

  /// After Stopped: what is there stays.
  BatchProgress leave() {
    if (rows_) rows_->sync();
    return progress_;
  }

 private:
  // Several requests at a time; their rows in order. Returns the lines of the input.
  int64_t answer_rest() {
    using Workers = OrderedWorkers<NumberedLine, Row>;
    LineReader reader(input_);
    int64_t index = 0;
    const auto next = [&]() -> std::optional<NumberedLine> {
      NumberedLine line;
      while (reader.next(line.text)) {
        if (index++ < progress_.resumed) continue;
        line.is_cut = reader.is_cut();
        line.number = reader.line_number();
        return line;
      }
      return std::nullopt;
    };
    auto synced = std::chrono::steady_clock::now();
    Workers workers(static_cast<size_t>(concurrency()), next,
                    [this](const NumberedLine& line) { return answer(line); });
    try {
      Row row;
      for (auto state = workers.pop(row, kPatience); state != Workers::State::kEnd;
           state = workers.pop(row, kPatience)) {
        if (state == Workers::State::kResult) take(row, synced);
        report();
      }
    } catch (...) {
      stops_ = true;  // the workers let go of what they have begun
      throw;
    }
    return index;
  }

  void take(const Row& row, std::chrono::steady_clock::time_point& synced) {
    rows_->append(row.text);
    ++progress_.done;
    progress_.failed += row.failed ? 1 : 0;
    progress_.prompt_tokens += row.prompt_tokens;
    progress_.completion_tokens += row.completion_tokens;
    const auto now = std::chrono::steady_clock::now();
    if (now - synced < std::chrono::seconds(1)) return;
    rows_->sync();
    synced = now;
  }

  int64_t concurrency() const {
    if (options_.concurrency < 0)
      throw Error(ErrorCode::kInvalidArgument, "expected a concurrency of at least 0, found " +
                                                   std::to_string(options_.concurrency));
    const OrderedJson facts = OrderedJson::parse(engine_.describe_json());
    const int64_t most = facts.value("max_sequences", int64_t{1});
    return options_.concurrency == 0 ? most : std::min(options_.concurrency, kMostThreads);
  }

  // Whether this very job had ended, all but for its journal.
  bool is_finished() {
    std::error_code error;
    if (!fs::exists(output_, error)) return false;
    if (read_small_file(journal_path()) != journal_)
      throw Error(ErrorCode::kInvalidArgument,
                  "expected a new file for the answers, found that " + output_ + " exists");
    fs::remove(journal_path(), error);
    progress_.done = progress_.resumed = progress_.total;
    return true;
  }
  std::string journal_path() const { return output_ + ".journal"; }

  // Counts the requests and takes their fingerprint.
  void survey() {
    LineReader reader(input_);
    Fingerprint fingerprint;
    std::string text;
    while (reader.next(text)) {
      ++progress_.total;
      fingerprint.add(text);
    }
    if (progress_.total == 0)
      throw Error(ErrorCode::kInvalidArgument,
                  "expected at least one request in " + input_ + ", found none");
    OrderedJson journal{{"version", kJournalVersion},
                        {"requests", progress_.total},
                        {"input", fingerprint.hex()},
                        {"model", model_fingerprint()},
                        {"model_name", options_.model_name}};
    journal_ = dump(journal);
  }

  // What the answers depend on beside the requests.
  std::string model_fingerprint() const {
    const OrderedJson facts = OrderedJson::parse(engine_.describe_json());
    Fingerprint fingerprint;
    for (const char* key : {"family", "model_name", "parameters", "storage", "kernels",
                            "compute_dtype", "context_size", "kv_dtype"})
      if (const auto it = facts.find(key); it != facts.end()) fingerprint.add(it->dump());
    return fingerprint.hex();
  }

  // The rows that an earlier run of this very job has left.
  std::vector<std::string> resume() {
    const std::optional<std::string> left = read_small_file(journal_path());
    if (!left || options_.restart) {
      if (!options_.restart && !rows_->recover().empty())
        throw Error(ErrorCode::kInvalidArgument,
                    "expected a journal beside the rows in " + output_ +
                        ".partial, found none: remove them, or restart");
      rows_->clear();  // before the journal speaks for them
      write_small_file(journal_path(), journal_);
      return {};
    }
    if (*left != journal_)
      throw Error(ErrorCode::kInvalidArgument,
                  "expected the unfinished job at " + journal_path() +
                      " to be of the same input, model and options, found another: finish it as "
                      "it was begun, or restart");
    std::vector<std::string> rows = rows_->recover();
    check_rows(rows);
    return rows;
  }

  // Each row must be that of its request: somebody may have edited the file.
  void check_rows(const std::vector<std::string>& rows) const {
    LineReader reader(input_);
    std::string text;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto refuse = [&](const std::string& found) {
        throw Error(ErrorCode::kCorruptData,
                    "expected the answer of request " + std::to_string(i + 1) + " in row " +
                        std::to_string(i + 1) + " of " + output_ + ".partial, found " + found);
      };
      if (!reader.next(text)) refuse("more rows than requests");
      const OrderedJson row = OrderedJson::parse(rows[i], nullptr, false);
      if (!row.is_object() || row.value("id", "") != row_id(reader.line_number()))
        refuse("another row");
    }
  }

  std::string row_id(int64_t line_number) const {
    char text[32];
    std::snprintf(text, sizeof(text), "batch_req_%010lld", static_cast<long long>(line_number));
    return text;
  }

  // The row of one request, whatever happens to it.
  Row answer(const NumberedLine& asked) const {
    Row out;
    const std::string id = row_id(asked.number);
    OrderedJson row{{"id", id}, {"custom_id", nullptr}, {"response", nullptr}, {"error", nullptr}};
    Line line;
    try {
      line = read_line(asked.text, asked.is_cut, asked.number);
    } catch (const Error& error) {
      row["error"] = {{"code", std::string(error_code_name(error.code()))},
                      {"message", error.what()}};
      out.failed = true;
      out.text = dump(row);
      return out;
    }
    row["custom_id"] = line.custom_id;
    int status = 200;
    OrderedJson body;
    try {
      body = complete(line, asked.number, out);
    } catch (const Error& error) {
      out.failed = true;
      status = http_status(error.code());
      body = error_json(error.what(), error.code());
    }
    row["response"] = {{"status_code", status}, {"request_id", id}, {"body", std::move(body)}};
    out.text = dump(row);
    return out;
  }

  OrderedJson complete(const Line& line, int64_t number, Row& row) const {
    if (line.method != "POST")
      throw Error(ErrorCode::kUnsupported,
                  "expected method POST, found \"" + line.method.substr(0, 20) + "\"");
    const bool is_chat = line.url == "/v1/chat/completions";
    if (!is_chat && line.url != "/v1/completions")
      throw Error(ErrorCode::kUnsupported,
                  "expected url /v1/chat/completions or /v1/completions, found \"" +
                      line.url.substr(0, 80) + "\"");
    const JsonFields fields(line.body, "");
    if (fields.flag("stream").value_or(false))
      throw Error(ErrorCode::kUnsupported, "expected no stream in a batch, found stream true");
    RequestRules rules;
    rules.sampling = engine_.model_sampling();
    rules.max_new_tokens = kDefaultTokens;
    rules.seed = static_cast<uint64_t>(number);
    rules.allow_files = options_.allow_files;
    const GenerateRequest request =
        is_chat ? read_chat_request(line.body, rules) : read_text_request(line.body, rules);
    const GenerateResult result = engine_.generate(request, [&](const TokenEvent&) {
      if (stops_) throw Stopped{};  // nothing of this row is kept
      return true;
    });
    row.prompt_tokens = result.usage.prompt_tokens;
    row.completion_tokens = result.usage.completion_tokens;
    const std::string model =
        options_.model_name.empty() ? fields.text("model").value_or("") : options_.model_name;
    const AnswerHead head{"cmpl-" + row_id(number), model, 0};
    return is_chat ? chat_completion_json(head, result, engine_)
                   : text_completion_json(head, result, engine_);
  }

  void report() {
    if (options_.on_progress && !options_.on_progress(progress_)) throw Stopped{};
  }

  Engine& engine_;
  std::string input_, output_;
  BatchOptions options_;
  std::unique_ptr<RowFile> rows_;
  std::string journal_;
  BatchProgress progress_;
  std::atomic<bool> stops_ = false;
};

}  // namespace

BatchProgress run_batch(Engine& engine, const std::string& input, const std::string& output,
                        const BatchOptions& options) {
  BatchJob job(engine, input, output, options);
  try {
    return job.run();
  } catch (const Stopped&) {
    return job.leave();
  }
}

}  // namespace onnuri
