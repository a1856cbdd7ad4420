// SPDX-License-Identifier: GPL-2.0-or-later
// Whole call chains of a program without frame pointers. It says itself what they are (see
// tests/programs/callers.cpp); `perf script`, which unwinds the same copies of its stack, is asked
// as well, and where it differs the program tells who is wrong.
#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include "shell.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

// Functions, outermost first, with a ';' between; with each the number of samples.
using Stacks = std::map<std::string, std::uint64_t>;

Stacks stacks_of_perf(const fs::path& perf_data) {
  const auto [text, good] =
      run("perf script --no-inline -F comm,ip,sym -i '" + perf_data.string() + "' 2>/dev/null");
  EXPECT_TRUE(good);
  Stacks stacks;
  std::string stack;
  std::istringstream lines(text + "\n");
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string address;
    std::string function;
    if (line.empty() && !stack.empty()) {
      ++stacks[std::exchange(stack, "")];
    } else if (line.starts_with('\t')) {
      words >> address >> function;
      stack = function + (stack.empty() ? "" : ";" + stack);
    }
  }
  return stacks;
}

Stacks stacks_of_xenoprof(const fs::path& source) {
  const auto [text, good] =
      run(XENOPROF_PROGRAMS "/xenoprof export -f folded '" + source.string() + "' 2>/dev/null");
  EXPECT_TRUE(good);
  Stacks stacks;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    // "domain;process;outermost;...;leaf number"
    const std::size_t functions = line.find(';', line.find(';') + 1) + 1;
    const std::size_t number = line.rfind(' ');
    stacks[line.substr(functions, number - functions)] += std::stoull(line.substr(number + 1));
  }
  return stacks;
}

bool is_in_leaf(const std::string& stack) {
  return stack == "leaf" || stack.ends_with(";leaf");
}

// What the program says of a sample in leaf(). What the C library calls in between has names of
// its own.
bool is_true(const std::string& stack) {
  std::string descent = ";main";
  for (int i = 0; i < 20; ++i) {
    descent += ";descend";
  }
  const std::size_t at = stack.find(descent);
  return stack.starts_with("_start;") && at != stack.npos &&
         stack.find("qsort", at + descent.size()) != stack.npos &&
         stack.find(";descend", at + descent.size()) == stack.npos &&
         stack.ends_with(";compare;leaf");
}

std::uint64_t expect_true(const Stacks& ours) {
  std::uint64_t samples = 0;
  for (const auto& [stack, count] : ours) {
    if (is_in_leaf(stack)) {
      EXPECT_TRUE(is_true(stack)) << stack;
      samples += count;
    }
  }
  EXPECT_GE(samples, 20u) << "too few samples to tell anything";
  return samples;
}

void compare_with_perf(const Stacks& theirs, const Stacks& ours) {
  for (const auto& [stack, count] : theirs) {
    if (!is_in_leaf(stack)) {
      continue;
    }
    if (!is_true(stack)) {
      std::cout << "perf script is wrong about " << count << " samples: " << stack << '\n';
      continue;
    }
    const auto same = ours.find(stack);
    EXPECT_EQ(same == ours.end() ? 0 : same->second, count) << stack;
  }
}

class Unwinding : public ShellTest {
 protected:
  void SetUp() override {
    ShellTest::SetUp();
    need_perf_record("-e cpu-clock --call-graph dwarf");
  }
};

TEST_F(Unwinding, OfWhatWasRecordedHere) {
  ASSERT_TRUE(run("$B/xenoprof record --no-progress -o $T/session -F 1000 -g dwarf -- $B/callers "
                  "200 >$T/log 2>&1")
                  .second)
      << run("cat $T/log").first;
  const Stacks ours = stacks_of_xenoprof(folder_ / "session");
  const std::uint64_t samples = expect_true(ours);
  const Stacks theirs = stacks_of_perf(folder_ / "session/host.perf.data");
  std::uint64_t in_leaf = 0;
  for (const auto& [stack, count] : theirs) {
    in_leaf += is_in_leaf(stack) ? count : 0;
  }
  EXPECT_EQ(in_leaf, samples);
  compare_with_perf(theirs, ours);
  // The file tells the same again, when its profile is made anew.
  EXPECT_EQ(stacks_of_xenoprof(folder_ / "session/host.perf.data"), ours);
}

TEST_F(Unwinding, OfWhatPerfRecorded) {
  ASSERT_TRUE(run("perf record -q -e cpu-clock -F 1000 --call-graph dwarf -o $T/perf.data "
                  "$B/callers 200 >$T/log 2>&1")
                  .second)
      << run("cat $T/log").first;
  const Stacks ours = stacks_of_xenoprof(folder_ / "perf.data");
  expect_true(ours);
  compare_with_perf(stacks_of_perf(folder_ / "perf.data"), ours);
}

TEST_F(Unwinding, OfStacksThatWereCopiedTooShortSaysSo) {
  const auto [text, good] =
      run("$B/xenoprof record --no-progress -o $T/session -F 1000 -g dwarf,256 -- $B/callers 200 "
          "2>&1");
  ASSERT_TRUE(good) << text;
  EXPECT_NE(text.find("where the copy of the stack ends"), text.npos) << text;
  for (const auto& [stack, count] : stacks_of_xenoprof(folder_ / "session")) {
    EXPECT_FALSE(is_in_leaf(stack) && is_true(stack)) << stack;
  }
}

TEST_F(Unwinding, OfAProgramThatIsGoneSaysSo) {
  ASSERT_TRUE(run("cp $B/callers $T/gone && $B/xenoprof record --no-progress -o $T/session -F 1000 "
                  "-g dwarf -- $T/gone 200 >$T/log 2>&1 && rm $T/gone")
                  .second)
      << run("cat $T/log").first;
  const auto [text, good] = run("$B/xenoprof report --children $T/session/host.perf.data 2>&1");
  EXPECT_TRUE(good);
  EXPECT_NE(text.find("gone"), text.npos) << text;
  EXPECT_NE(text.find("call chains in user code"), text.npos) << text;
}

}  // namespace
}  // namespace xenoprof
