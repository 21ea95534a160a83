#include "demos/cli/http.h"

#include <curl/curl.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "onnuri/error.h"

namespace onnuri::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxAttempts = 6;

struct CurlCloser {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// One transfer with the settings that all of ours share.
class Transfer {
 public:
  explicit Transfer(const HttpRequest& request) : url_(request.url), curl_(curl_easy_init()) {
    if (!curl_) throw Error(ErrorCode::kOutOfMemory, "cannot start a transfer");
    set(CURLOPT_URL, url_.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, 8L);
    set(CURLOPT_CONNECTTIMEOUT, 20L);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, 60L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "onnuri/0.1");
    set(CURLOPT_ERRORBUFFER, error_);
    if (!request.bearer_token.empty()) {
      headers_.reset(
          curl_slist_append(nullptr, ("Authorization: Bearer " + request.bearer_token).c_str()));
      set(CURLOPT_HTTPHEADER, headers_.get());
    }
  }

  template <typename T>
  void set(CURLoption option, T value) {
    if (curl_easy_setopt(curl_.get(), option, value) != CURLE_OK) {
      throw Error(ErrorCode::kInternal, "libcurl refused an option");
    }
  }

  CURLcode perform() {
    code_ = curl_easy_perform(curl_.get());
    return code_;
  }

  long status() const {
    long value = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &value);
    return value;
  }

  bool is_transient() const {
    if (code_ == CURLE_OK) return status() == 408 || status() == 429 || status() >= 500;
    return code_ == CURLE_PARTIAL_FILE || code_ == CURLE_RECV_ERROR || code_ == CURLE_SEND_ERROR ||
           code_ == CURLE_OPERATION_TIMEDOUT || code_ == CURLE_COULDNT_CONNECT ||
           code_ == CURLE_GOT_NOTHING || code_ == CURLE_HTTP2_STREAM || code_ == CURLE_HTTP2;
  }

  [[noreturn]] void fail() const {
    if (code_ != CURLE_OK) {
      throw Error(ErrorCode::kNotFound,
                  url_ + ": " + (error_[0] != '\0' ? error_ : curl_easy_strerror(code_)));
    }
    std::string why = "the server answered " + std::to_string(status());
    if (status() == 401 || status() == 403) {
      why += ": no such model, or a gated one (accept its terms and set HF_TOKEN)";
    } else if (status() == 404) {
      why += ": no such model, revision or file";
    }
    throw Error(ErrorCode::kNotFound, url_ + ": " + why);
  }

 private:
  std::string url_;
  std::unique_ptr<CURL, CurlCloser> curl_;
  std::unique_ptr<curl_slist, CurlCloser> headers_;
  CURLcode code_ = CURLE_OK;
  char error_[CURL_ERROR_SIZE] = {};
};

/// Sleeps 0.5, 1, 2, ... seconds between attempts.
void wait_before(int attempt) {
  if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(250 << attempt));
}

struct MemorySink {
  std::string body;
  uint64_t max_bytes = 0;
};

size_t write_memory(char* data, size_t size, size_t count, void* user) {
  auto& sink = *static_cast<MemorySink*>(user);
  if (sink.body.size() + size * count > sink.max_bytes) return 0;
  sink.body.append(data, size * count);
  return size * count;
}

struct FileSink {
  std::FILE* file = nullptr;
  Transfer* transfer = nullptr;
  const std::function<bool(uint64_t)>* on_bytes = nullptr;
  uint64_t size = 0;
  uint64_t resumed_from = 0;
  uint64_t have = 0;
  bool started = false;
  bool cancelled = false;
  bool too_long = false;
};

size_t write_file(char* data, size_t size, size_t count, void* user) {
  auto& sink = *static_cast<FileSink*>(user);
  const size_t bytes = size * count;
  const long status = sink.transfer->status();
  if (status != 200 && status != 206) return bytes;  // the text of an error is not the file
  if (!sink.started && status == 200 && sink.resumed_from > 0) {
    // The server sends everything again.
    if (::fseek(sink.file, 0, SEEK_SET) != 0) return 0;
    sink.have = 0;
  }
  sink.started = true;
  sink.too_long = bytes > sink.size - sink.have;
  if (sink.too_long || std::fwrite(data, 1, bytes, sink.file) != bytes) return 0;
  sink.have += bytes;
  return bytes;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& sink = *static_cast<FileSink*>(user);
  sink.cancelled = !(*sink.on_bytes)(sink.have);
  return sink.cancelled ? 1 : 0;
}

uint64_t size_of(const std::string& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

/// One attempt; true when the file is complete, false when another attempt may help.
bool download_once(const HttpRequest& request, const std::string& path, uint64_t size,
                   const std::function<bool(uint64_t)>& on_bytes) {
  FileSink sink;
  sink.have = sink.resumed_from = size_of(path);
  sink.size = size;
  sink.on_bytes = &on_bytes;
  if (sink.have == size && fs::exists(path)) return true;
  const std::unique_ptr<std::FILE, CurlCloser> file(
      std::fopen(path.c_str(), sink.have > 0 ? "r+b" : "wb"));
  if (!file || ::fseek(file.get(), 0, SEEK_END) != 0) {
    throw Error(ErrorCode::kNotFound, path + ": cannot write the file");
  }
  Transfer transfer(request);
  sink.file = file.get();
  sink.transfer = &transfer;
  transfer.set(CURLOPT_WRITEFUNCTION, &write_file);
  transfer.set(CURLOPT_WRITEDATA, &sink);
  transfer.set(CURLOPT_XFERINFOFUNCTION, &on_progress);
  transfer.set(CURLOPT_XFERINFODATA, &sink);
  transfer.set(CURLOPT_NOPROGRESS, 0L);
  const std::string range = std::to_string(sink.have) + "-";
  if (sink.have > 0) transfer.set(CURLOPT_RANGE, range.c_str());
  const CURLcode code = transfer.perform();
  if (std::fflush(file.get()) != 0) {
    throw Error(ErrorCode::kNotFound, path + ": cannot write the file");
  }
  if (sink.cancelled) {
    throw Error(ErrorCode::kCancelled, "the pull was interrupted; run it again to resume");
  }
  if (sink.too_long) {
    throw Error(ErrorCode::kCorruptData,
                request.url + ": expected " + std::to_string(size) + " bytes, found more");
  }
  if (code == CURLE_WRITE_ERROR) {
    throw Error(ErrorCode::kNotFound, path + ": cannot write the file");
  }
  const long status = transfer.status();
  if (code == CURLE_OK && (status == 200 || status == 206)) return sink.have == size;
  if (!transfer.is_transient()) transfer.fail();
  return false;
}

}  // namespace

std::string http_get(const HttpRequest& request, uint64_t max_bytes) {
  for (int attempt = 0;; ++attempt) {
    wait_before(attempt);
    MemorySink sink{{}, max_bytes};
    Transfer transfer(request);
    transfer.set(CURLOPT_WRITEFUNCTION, &write_memory);
    transfer.set(CURLOPT_WRITEDATA, &sink);
    transfer.set(CURLOPT_ACCEPT_ENCODING, "");
    const CURLcode code = transfer.perform();
    if (code == CURLE_OK && transfer.status() == 200) return std::move(sink.body);
    if (code == CURLE_WRITE_ERROR) {
      throw Error(ErrorCode::kCorruptData,
                  request.url + ": expected at most " + std::to_string(max_bytes) + " bytes");
    }
    if (!transfer.is_transient() || attempt + 1 >= kMaxAttempts / 2) transfer.fail();
  }
}

void http_download(const HttpRequest& request, const std::string& path, uint64_t size,
                   const std::function<bool(uint64_t have)>& on_bytes) {
  if (size_of(path) > size) {
    std::error_code ignored;
    fs::remove(path, ignored);  // left by another version of the file
  }
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    wait_before(attempt);
    const uint64_t before = size_of(path);
    if (download_once(request, path, size, on_bytes)) return;
    if (size_of(path) > before) attempt = 0;  // it moves: keep at it
  }
  throw Error(ErrorCode::kNotFound, request.url + ": the transfer failed " +
                                        std::to_string(kMaxAttempts) +
                                        " times; run it again to "
                                        "resume");
}

}  // namespace onnuri::cli
