// SPDX-License-Identifier: GPL-2.0-or-later
// Two tasks on one CPU that take turns about 1,000 times a second and call into Xen in ways that
// have no hypervisor function in common: one asks for Xen's version, one maps and unmaps memory.
// Which task a hypervisor-mode sample belongs to can then be told from its PC.
//
//   xen_callers [--seconds N]
//
// Prints "version=PID memory=PID" at once, "switches=N" at the end.

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;

void ask_version() {
  static const int file = open("/sys/hypervisor/version/extra", O_RDONLY);
  std::array<char, 64> text;
  if (pread(file, text.data(), text.size(), 0) <= 0)
    std::exit(3);
}

void map_memory() {
  constexpr std::size_t kSize = 16 * 4096;
  static auto* area = static_cast<volatile char*>(mmap(
      nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (std::size_t at = 0; at < kSize; at += 4096)
    area[at] = 1;
  madvise(const_cast<char*>(area), kSize, MADV_DONTNEED);
}

// Works for half a millisecond whenever it has the token.
[[noreturn]] void take_turns(void (*call)(), int from, int to) {
  char token = 0;
  while (read(from, &token, 1) == 1) {
    const auto end = Clock::now() + std::chrono::microseconds(500);
    do
      call();
    while (Clock::now() < end);
    if (write(to, &token, 1) != 1)
      break;
  }
  std::exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned seconds =
      argc == 3 && !std::strcmp(argv[1], "--seconds") ? static_cast<unsigned>(std::atoi(argv[2])) : 5;
  cpu_set_t one_cpu;
  CPU_ZERO(&one_cpu);
  CPU_SET(0, &one_cpu);
  std::array<int, 2> to_version, to_memory;
  if (sched_setaffinity(0, sizeof one_cpu, &one_cpu) || pipe(to_version.data()) ||
      pipe(to_memory.data()))
    return 1;

  const pid_t version = fork();
  if (version == 0)
    take_turns(ask_version, to_version[0], to_memory[1]);
  const pid_t memory = fork();
  if (memory == 0)
    take_turns(map_memory, to_memory[0], to_version[1]);
  std::printf("version=%d memory=%d\n", version, memory);
  std::fflush(stdout);
  char token = 1;
  if (write(to_version[1], &token, 1) != 1)
    return 1;
  sleep(seconds);

  unsigned long switches = 0;
  for (const pid_t task : {version, memory}) {
    std::array<char, 256> line;
    std::FILE* status = std::fopen(("/proc/" + std::to_string(task) + "/status").c_str(), "r");
    while (status && std::fgets(line.data(), line.size(), status))
      if (!std::strncmp(line.data(), "voluntary_ctxt_switches:", 24))
        switches += std::strtoul(line.data() + 24, nullptr, 10);
    if (status)
      std::fclose(status);
    kill(task, SIGKILL);
    waitpid(task, nullptr, 0);
  }
  std::printf("switches=%lu\n", switches);
  return 0;
}
