// SPDX-License-Identifier: GPL-2.0-or-later
// busy WHAT [MILLISECONDS] [FILE...]: spends CPU time the way that WHAT says.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

double seconds(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

volatile unsigned sink = 1;

[[gnu::noinline]] void turn() {
  for (int i = 0; i < 20000; ++i) {
    sink = sink * 1664525 + 1013904223;
  }
}

[[gnu::noinline]] void spend(double time) {
  for (const double end = seconds(CLOCK_THREAD_CPUTIME_ID) + time;
       seconds(CLOCK_THREAD_CPUTIME_ID) < end;) {
    turn();
  }
}

void threads(double time) {
  std::vector<std::thread> all;
  for (int i = 0; i < 4; ++i) {
    all.emplace_back([=] {
      ::pthread_setname_np(::pthread_self(), ("worker " + std::to_string(i)).c_str());
      spend(time / 4);
    });
  }
  for (std::thread& thread : all) {
    thread.join();
  }
}

// Threads that live for some milliseconds, many at a time.
void short_threads(double time) {
  std::vector<std::thread> all(20);
  for (const double end = seconds(CLOCK_MONOTONIC) + time; seconds(CLOCK_MONOTONIC) < end;) {
    for (std::thread& thread : all) {
      if (thread.joinable()) {
        thread.join();
      }
      thread = std::thread([] { ::usleep(2000); });
    }
  }
  for (std::thread& thread : all) {
    thread.join();
  }
}

void forks(int count, double time) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      spend(time / count);
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
  }
}

// Children that are gone before a sample hits them, until making them has taken the time.
void short_lived(double time) {
  for (const double end = seconds(CLOCK_THREAD_CPUTIME_ID) + time;
       seconds(CLOCK_THREAD_CPUTIME_ID) < end;) {
    forks(1, 0);
  }
}

// This program again and again, under one name after the other.
void execs(double time) {
  for (int i = 0; i < 10; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      spend(time / 20);
      const std::string each = std::to_string(static_cast<int>(time * 50));
      ::execl("/proc/self/exe", "busy", "spend", each.c_str(), nullptr);
      ::_exit(1);
    }
    ::waitpid(child, nullptr, 0);
  }
}

void libraries(double time, char** files, int count) {
  for (int i = 0; i < count; ++i) {
    void* const library = ::dlopen(files[i], RTLD_NOW);
    auto* const work =
        library != nullptr ? reinterpret_cast<void (*)(double)>(::dlsym(library, "work")) : nullptr;
    if (work == nullptr) {
      std::fprintf(stderr, "busy: %s\n", ::dlerror());
      std::exit(1);
    }
    work(time / count);
    ::dlclose(library);
  }
}

void clocks(double time) {
  for (const double end = seconds(CLOCK_MONOTONIC) + time; seconds(CLOCK_MONOTONIC) < end;) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "spend";
  const double time = argc > 2 ? std::atof(argv[2]) / 1000 : 0.1;
  if (what == "spend") {
    spend(time);
  } else if (what == "threads") {
    threads(time);
  } else if (what == "short-threads") {
    short_threads(time);
  } else if (what == "forks") {
    forks(20, time);
  } else if (what == "short") {
    short_lived(time);
  } else if (what == "execs") {
    execs(time);
  } else if (what == "libraries") {
    libraries(time, argv + 3, argc - 3);
  } else if (what == "clocks") {
    clocks(time);
  } else {
    std::fprintf(stderr, "busy: %s is not known\n", what.c_str());
    return 1;
  }
  return 0;
}
