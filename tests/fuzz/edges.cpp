// SPDX-License-Identifier: GPL-2.0-or-later
// Lets libFuzzer see which code of GCC's making ran: GCC calls this function at each edge
// (-fsanitize-coverage=trace-pc; libFuzzer's own does nothing, so the linker wraps it), libFuzzer
// looks at the counters in this section (compiler-rt/lib/fuzzer/FuzzerExtraCounters.cpp of LLVM
// 14).
#include <cstddef>
#include <cstdint>

namespace {

constexpr std::size_t kCounters = std::size_t{1} << 16;
[[gnu::section("__libfuzzer_extra_counters")]] std::uint8_t counters[kCounters];

}  // namespace

extern "C" void __wrap___sanitizer_cov_trace_pc() {
  const auto place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  ++counters[(place * 0x9e3779b97f4a7c15u) >> 48];
}

// GCC tells of comparisons of floating-point numbers too, which libFuzzer has no use for.
extern "C" void __sanitizer_cov_trace_cmpf(float, float) {}
extern "C" void __sanitizer_cov_trace_cmpd(double, double) {}
