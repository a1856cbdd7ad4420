// SPDX-License-Identifier: GPL-2.0-or-later
// Two tasks on one CPU that take turns about 1,000 times a second and call into Xen in ways that
// have hypervisor functions of their own: one has CPUID emulated, one maps and unmaps memory. Which
// task a hypervisor-mode sample in one of those belongs to can then be told from its PC.
//
//   xen_callers TURNS [FILE]
//
// Ends when each task has had so many turns. With FILE it begins when that is there, prints its
// last line after the turns and ends when FILE is gone: while FILE is there, the tasks neither
// begin nor end, which would make any of them call into Xen in other ways. Prints "cpuid=PID
// memory=PID" at once, "switches=N" at the end.

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

// "ud2" and "xen" make Xen emulate the instruction that follows, in user mode too
// (xen/include/public/arch-x86/cpuid.h, xen/arch/x86/pv/emul-inv-op.c of Xen 4.17).
void have_cpuid_emulated() {
  std::uint32_t a = 1, b, c = 0, d;
  asm volatile("ud2a; .ascii \"xen\"; cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

void map_memory() {
  constexpr std::size_t kSize = 4096;
  static auto* area = static_cast<volatile char*>(
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (std::size_t at = 0; at < kSize; at += 4096)
    area[at] = 1;
  madvise(const_cast<char*>(area), kSize, MADV_DONTNEED);
}

// Calls for some hundred microseconds whenever it has the token. No clock is read: under Xen that
// may be a call into it as well.
[[noreturn]] void take_turns(long turns, void (*call)(), int calls, int from, int to, int done) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char token = 0;
  call();
  for (; turns > 0 && read(from, &token, 1) == 1; --turns) {
    for (int i = 0; i < calls; ++i)
      call();
    if (write(to, &token, 1) != 1)
      break;
  }
  (void)!write(done, &token, 1);
  for (;;)
    pause();
}

}  // namespace

int main(int argc, char** argv) {
  const long turns = argc > 1 ? std::atol(argv[1]) : 1000;
  cpu_set_t one_cpu;
  CPU_ZERO(&one_cpu);
  CPU_SET(0, &one_cpu);
  std::array<int, 2> to_cpuid, to_memory, done;
  if (sched_setaffinity(0, sizeof one_cpu, &one_cpu) || pipe(to_cpuid.data()) ||
      pipe(to_memory.data()) || pipe(done.data()))
    return 1;

  const pid_t cpuid = fork();
  if (cpuid == 0)
    take_turns(turns, have_cpuid_emulated, 4, to_cpuid[0], to_memory[1], done[1]);
  const pid_t memory = fork();
  if (memory == 0)
    take_turns(turns, map_memory, 1, to_memory[0], to_cpuid[1], done[1]);
  std::printf("cpuid=%d memory=%d\n", cpuid, memory);
  std::fflush(stdout);
  char token = 1;
  while (argc > 2 && access(argv[2], F_OK) != 0)
    usleep(20'000);
  if (write(to_cpuid[1], &token, 1) != 1)
    return 1;
  for (int tasks = 2; tasks > 0 && read(done[0], &token, 1) == 1; --tasks) {
  }

  unsigned long switches = 0;
  for (const pid_t task : {cpuid, memory}) {
    std::array<char, 256> line;
    std::FILE* status = std::fopen(("/proc/" + std::to_string(task) + "/status").c_str(), "r");
    while (status && std::fgets(line.data(), line.size(), status))
      if (!std::strncmp(line.data(), "voluntary_ctxt_switches:", 24))
        switches += std::strtoul(line.data() + 24, nullptr, 10);
    if (status)
      std::fclose(status);
  }
  std::printf("switches=%lu\n", switches);
  std::fflush(stdout);
  while (argc > 2 && access(argv[2], F_OK) == 0)
    usleep(20'000);
  return 0;
}
