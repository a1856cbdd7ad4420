// SPDX-License-Identifier: GPL-2.0-or-later
#include "shell.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace xenoprof {

std::pair<std::string, bool> run(const std::string& command) {
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  std::string text;
  char part[4096];
  while (const std::size_t got = std::fread(part, 1, sizeof part, pipe)) {
    text.append(part, got);
  }
  return {text, ::pclose(pipe) == 0};
}

void ShellTest::SetUp() {
  char name[] = "/tmp/xenoprof-test-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  folder_ = name;
  ::setenv("T", name, 1);
  ::setenv("B", XENOPROF_PROGRAMS, 1);
}

void ShellTest::TearDown() {
  std::filesystem::remove_all(folder_);
}

void ShellTest::need_perf_record(const std::string& options) {
  if (!run("perf record -q " + options + " -o $T/try.data true >$T/try.log 2>&1").second) {
    GTEST_SKIP() << "perf cannot record here: " << run("cat $T/try.log").first;
  }
}

}  // namespace xenoprof
