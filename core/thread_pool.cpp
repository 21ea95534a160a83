#include "core/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/check.h"

namespace onnuri {
namespace {

constexpr int kSpins = 4000;  // about 20-40 us before a worker sleeps

void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// A futex instead of a condition variable: waking costs one call and no lock is held.
void futex_wait(std::atomic<uint32_t>* word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake_all(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int n = CPU_COUNT(&set);
    if (n > 0) return n;
  }
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

}  // namespace

// `ticket` packs (generation << 32 | next chunk): a late worker of an old generation can never
// claim a chunk of a new one, because its compare-and-swap sees another generation.
struct ThreadPool::Impl {
  std::vector<std::thread> workers;
  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<uint32_t> generation{0};
  alignas(64) std::atomic<int64_t> done{0};
  std::atomic<int64_t> num_chunks{0};
  std::atomic<const ChunkFn*> fn{nullptr};
  std::atomic<int> inside{0};  // workers that may still look at fn
  std::atomic<uint32_t> sleepers{0};
  std::atomic<bool> stop{false};
  int num_skipped_threads = 0;  // of a pool that runs nothing
  std::mutex error_mutex;
  std::exception_ptr error;

  void join() {
    stop.store(true, std::memory_order_release);
    generation.fetch_add(1, std::memory_order_seq_cst);
    futex_wake_all(&generation);
    for (std::thread& t : workers) t.join();
  }

  void work(uint32_t gen, int worker) {
    const ChunkFn* f = fn.load(std::memory_order_acquire);
    const int64_t n = num_chunks.load(std::memory_order_acquire);
    uint64_t t = ticket.load(std::memory_order_acquire);
    for (;;) {
      if (static_cast<uint32_t>(t >> 32) != gen) return;
      const int64_t chunk = static_cast<int64_t>(t & 0xffffffffu);
      if (chunk >= n) return;
      if (!ticket.compare_exchange_weak(t, t + 1, std::memory_order_acq_rel)) continue;
      try {
        (*f)(chunk, worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
      }
      done.fetch_add(1, std::memory_order_acq_rel);
      t = ticket.load(std::memory_order_acquire);
    }
  }

  void worker_loop(int worker) {
    uint32_t seen = 0;
    for (;;) {
      uint32_t gen = generation.load(std::memory_order_acquire);
      for (int spin = 0; gen == seen && spin < kSpins; ++spin) {
        cpu_pause();
        gen = generation.load(std::memory_order_acquire);
      }
      if (gen == seen) {
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        if (generation.load(std::memory_order_seq_cst) == seen) futex_wait(&generation, seen);
        sleepers.fetch_sub(1, std::memory_order_seq_cst);
        continue;
      }
      seen = gen;
      if (stop.load(std::memory_order_acquire)) return;
      inside.fetch_add(1, std::memory_order_acq_rel);
      if (generation.load(std::memory_order_acquire) == gen) work(gen, worker);
      inside.fetch_sub(1, std::memory_order_acq_rel);
    }
  }
};

ThreadPool::ThreadPool(int num_threads, PoolMode mode) : impl_(std::make_unique<Impl>()) {
  const int n = num_threads > 0 ? num_threads : available_cores();
  if (mode == PoolMode::kSkip) {
    impl_->num_skipped_threads = n;
    return;
  }
  try {
    for (int i = 1; i < n; ++i) {
      impl_->workers.emplace_back([impl = impl_.get(), i] { impl->worker_loop(i); });
    }
  } catch (const std::system_error& error) {
    impl_->join();  // a thread that is destroyed unjoined ends the process
    fail(ErrorCode::kInvalidArgument, "expected a number of threads that can be started, found ", n,
         ": ", error.what());
  }
}

ThreadPool::~ThreadPool() { impl_->join(); }

int ThreadPool::num_threads() const {
  return impl_->num_skipped_threads > 0 ? impl_->num_skipped_threads
                                        : static_cast<int>(impl_->workers.size()) + 1;
}

void ThreadPool::run_chunks(int64_t num_chunks, ChunkFn fn) {
  if (num_chunks <= 0 || impl_->num_skipped_threads > 0) return;
  if (num_chunks == 1 || impl_->workers.empty()) {
    for (int64_t i = 0; i < num_chunks; ++i) fn(i, 0);
    return;
  }
  Impl& p = *impl_;
  const uint32_t gen = p.generation.load(std::memory_order_relaxed) + 1;
  p.error = nullptr;
  p.done.store(0, std::memory_order_relaxed);
  // First an exhausted ticket of the new generation: a late worker that sees the new count or
  // function also sees that its own generation is over.
  p.ticket.store((static_cast<uint64_t>(gen) << 32) | 0xffffffffu, std::memory_order_seq_cst);
  p.num_chunks.store(num_chunks, std::memory_order_release);
  p.fn.store(&fn, std::memory_order_release);
  p.ticket.store(static_cast<uint64_t>(gen) << 32, std::memory_order_release);
  p.generation.store(gen, std::memory_order_seq_cst);
  if (p.sleepers.load(std::memory_order_seq_cst) > 0) futex_wake_all(&p.generation);
  p.work(gen, 0);
  // The last chunk may be with a thread that lost its core: spin first, then let it run.
  for (int spin = 0; p.done.load(std::memory_order_acquire) < num_chunks; ++spin) {
    if (spin < kSpins)
      cpu_pause();
    else
      std::this_thread::yield();
  }
  // `fn` is on this stack: nobody may still hold it when we return. Workers that enter later see a
  // ticket without chunks, and they re-check the generation after announcing themselves.
  for (int spin = 0; p.inside.load(std::memory_order_acquire) > 0; ++spin) {
    if (spin < kSpins)
      cpu_pause();
    else
      std::this_thread::yield();
  }
  if (p.error) std::rethrow_exception(p.error);
}

}  // namespace onnuri
