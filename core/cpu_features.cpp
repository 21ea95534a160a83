#include "core/cpu_features.h"

#include <sched.h>

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace onnuri {
namespace {

int count_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const int n = CPU_COUNT(&set);
  return n > 0 ? n : 1;
}

#if defined(__x86_64__)
// The operating system must save the wide registers, or using them corrupts other processes.
unsigned long long saved_state_mask() {
  unsigned eax = 0, edx = 0;
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (static_cast<unsigned long long>(edx) << 32) | eax;
}

std::string brand_string() {
  char text[49] = {};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned r[4] = {};
    if (!__get_cpuid(0x80000002u + i, &r[0], &r[1], &r[2], &r[3])) return "unknown";
    std::memcpy(text + 16 * i, r, 16);
  }
  std::string brand(text);
  const size_t begin = brand.find_first_not_of(' ');
  const size_t end = brand.find_last_not_of(' ');
  return begin == std::string::npos ? "unknown" : brand.substr(begin, end - begin + 1);
}
#endif

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures f;
  f.num_cores = count_cores();
#if defined(__x86_64__)
  f.brand = brand_string();
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  const bool osxsave = (c >> 27) & 1;
  const bool fma = (c >> 12) & 1;
  const bool f16c = (c >> 29) & 1;
  if (!osxsave) return f;
  const unsigned long long state = saved_state_mask();
  const bool ymm = (state & 0x6) == 0x6;
  const bool zmm = (state & 0xe6) == 0xe6;
  const bool tiles = (state & 0x60000) == 0x60000;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2_fma_f16c = ymm && ((b >> 5) & 1) && fma && f16c;
  f.avx512 = zmm && ((b >> 16) & 1) && ((b >> 17) & 1) && ((b >> 30) & 1) && ((b >> 31) & 1);
  f.avx512_vnni = f.avx512 && ((c >> 11) & 1);
  f.amx_int8 = tiles && ((d >> 24) & 1) && ((d >> 25) & 1);
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avx512_bf16 = f.avx512 && ((a >> 5) & 1);
#elif defined(__aarch64__)
  f.neon = true;
  f.brand = "aarch64";
#endif
  return f;
}

}  // namespace onnuri
