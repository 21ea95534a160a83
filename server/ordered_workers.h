// Several threads work on items that come in a row; their results leave in the same order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace onnuri {

/// `next` gives the items, one call at a time, and nothing at the end; `work` is called by several
/// threads at once. What either throws comes out of pop() in the place of the result. The
/// destructor waits for work that has begun: whoever is in a hurry tells `work` first.
template <typename Item, typename Result>
class OrderedWorkers {
 public:
  OrderedWorkers(size_t num_threads, std::function<std::optional<Item>()> next,
                 std::function<Result(const Item&)> work)
      : next_(std::move(next)), work_(std::move(work)), most_waiting_(4 * num_threads) {
    threads_.reserve(num_threads);
    try {
      for (size_t i = 0; i < num_threads; ++i) threads_.emplace_back([this] { run(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~OrderedWorkers() { stop(); }
  OrderedWorkers(const OrderedWorkers&) = delete;
  OrderedWorkers& operator=(const OrderedWorkers&) = delete;

  enum class State { kResult, kNotYet, kEnd };

  /// The next result, waiting for it at most `patience`.
  State pop(Result& out, std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    const bool known = changed_.wait_for(
        lock, patience, [this] { return line_.empty() ? ended_ : line_.front()->done; });
    if (!known) return State::kNotYet;
    if (line_.empty()) return State::kEnd;
    const std::shared_ptr<Slot> slot = line_.front();
    line_.pop_front();
    changed_.notify_all();
    if (slot->error) std::rethrow_exception(slot->error);
    out = std::move(*slot->result);
    return State::kResult;
  }

 private:
  struct Slot {
    bool done = false;
    std::optional<Result> result;
    std::exception_ptr error;
  };

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  // The next item and its place in the line; none at the end.
  std::shared_ptr<Slot> take(std::optional<Item>& item) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ || line_.size() < most_waiting_; });
    if (ended_) return nullptr;
    auto slot = std::make_shared<Slot>();
    try {
      item = next_();
    } catch (...) {
      slot->error = std::current_exception();
      slot->done = true;
    }
    if (!item) ended_ = true;
    if (item || slot->error) line_.push_back(slot);
    changed_.notify_all();
    return item ? slot : nullptr;
  }

  void run() {
    while (true) {
      std::optional<Item> item;
      const std::shared_ptr<Slot> slot = take(item);
      if (!slot) return;
      std::optional<Result> result;
      std::exception_ptr error;
      try {
        result = work_(*item);
      } catch (...) {
        error = std::current_exception();
      }
      {
        const std::lock_guard lock(mutex_);
        slot->result = std::move(result);
        slot->error = error;
        slot->done = true;
      }
      changed_.notify_all();
    }
  }

  std::function<std::optional<Item>()> next_;
  std::function<Result(const Item&)> work_;
  size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Slot>> line_;  // of items that were taken
  bool ended_ = false;                      // no more items
  std::vector<std::thread> threads_;
};

}  // namespace onnuri
