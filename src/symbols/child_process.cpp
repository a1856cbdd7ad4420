// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>

namespace xenoprof {
namespace {

using Clock = std::chrono::steady_clock;

// Until the child closes its end. Also false when time or room ran out.
bool read_all(int from, const ChildLimits& limits, ChildResult& result) {
  const auto deadline = Clock::now() + limits.time;
  std::array<char, 65536> buffer;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd ready{from, POLLIN, 0};
    const int count = left <= 0 ? 0 : ::poll(&ready, 1, static_cast<int>(left));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      result.end = ChildEnd::kLate;
      return false;
    }
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got <= 0) {
      return got == 0;
    }
    if (static_cast<std::size_t>(got) > limits.output - result.output.size()) {
      result.end = ChildEnd::kTooMuchOutput;
      return false;
    }
    result.output.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

// Pages of address space in use: the first number of /proc/self/statm.
std::size_t address_space() {
  unsigned long pages = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file != nullptr) {
    if (std::fscanf(file, "%lu", &pages) != 1) {
      pages = 0;
    }
    std::fclose(file);
  }
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

void become_child(int output, const ChildLimits& limits, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(1);
  }
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::dup2(nothing, standard);
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPIPE}) {
    ::signal(signal, SIG_DFL);
  }
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (limits.memory != 0) {
    const rlim_t most = address_space() + limits.memory;
    const rlimit memory{most, most};
    ::setrlimit(RLIMIT_AS, &memory);
  }
  ::fcntl(output, F_SETFD, FD_CLOEXEC);
}

void write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(to, text.data(), text.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      ::_exit(1);
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// Closes the child's end here and the other one there; -1: there is no child.
pid_t fork_child(const std::array<int, 2>& ends, const ChildLimits& limits,
                 const std::function<void(int)>& child) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    become_child(ends[1], limits, parent);
    try {
      child(ends[1]);
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);  // not exit(): this process's buffers are not the child's to write out
  }
  ::close(ends[1]);
  return pid;
}

ChildResult run(const std::function<void(int)>& child, const ChildLimits& limits) {
  ChildResult result;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return result;
  }
  const pid_t pid = fork_child(ends, limits, child);
  if (pid > 0) {
    const bool whole = read_all(ends[0], limits, result);
    if (!whole) {
      ::kill(pid, SIGKILL);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (whole && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      result.end = ChildEnd::kFinished;
    }
  }
  ::close(ends[0]);
  return result;
}

// Both ends' reads and writes: a message is whole, or there is nothing more to be had.
template <class Transfer>
bool transfer_all(std::size_t size, const Transfer& transfer) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t part = transfer(done);
    if (part < 0 && errno == EINTR) {
      continue;
    }
    if (part <= 0) {
      return false;
    }
    done += static_cast<std::size_t>(part);
  }
  return true;
}

}  // namespace

bool ServingChild::Exchange::read(std::span<std::byte> bytes) {
  return transfer_all(bytes.size(), [&](std::size_t done) {
    return ::recv(socket_, bytes.data() + done, bytes.size() - done, MSG_WAITALL);
  });
}

bool ServingChild::Exchange::write(std::span<const std::byte> bytes) {
  return transfer_all(bytes.size(), [&](std::size_t done) {
    return ::send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
  });
}

std::unique_ptr<ServingChild> ServingChild::start(const std::function<void(Exchange&)>& serve,
                                                  const ChildLimits& limits) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return nullptr;
  }
  const pid_t pid = fork_child(ends, limits, [&serve](int end) {
    Exchange exchange(end);
    serve(exchange);
  });
  if (pid < 0) {
    ::close(ends[0]);
    return nullptr;
  }
  const timeval time{.tv_sec = limits.time.count() / 1000,
                     .tv_usec = limits.time.count() % 1000 * 1000};
  ::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  ::setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
  return std::unique_ptr<ServingChild>(new ServingChild(ends[0], pid));
}

ServingChild::~ServingChild() {
  ::close(socket_);
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

ChildResult run_in_child(const std::function<void(const Write&)>& work, const ChildLimits& limits) {
  return run([&](int output) { work([&](std::string_view text) { write_all(output, text); }); },
             limits);
}

std::string output_of(const std::vector<std::string>& command, const ChildLimits& limits) {
  std::vector<char*> arguments;
  for (const std::string& word : command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  const ChildResult result = run(
      [&](int output) {
        ::dup2(output, STDOUT_FILENO);
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
      },
      limits);
  return result.end == ChildEnd::kFinished ? result.output : "";
}

}  // namespace xenoprof
