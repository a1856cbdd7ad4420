// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>

namespace xenoprof {

// What a command in a shell prints, and whether it ended well.
std::pair<std::string, bool> run(const std::string& command);

// With a folder for files in the shell's $T, and the programs of this build in $B.
class ShellTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  // Skips the test where perf cannot record with these options.
  static void need_perf_record(const std::string& options);

  std::filesystem::path folder_;
};

}  // namespace xenoprof
