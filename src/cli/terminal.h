// SPDX-License-Identifier: GPL-2.0-or-later
// What commands print on, and how.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

#include "model/result.h"
#include "report/report.h"

namespace xenoprof {

// Of a text on stdout: as wide as the terminal ($COLUMNS goes before), coloured only there.
TextStyle style_of_output();

// A line on stderr. Where that is closed or full nobody is told, and the command goes on.
void say(std::string_view line);

// On stdout, whole or not at all.
Result<void> print(std::string_view text);

// In that file, or on stdout where it is kStandardOutput.
inline constexpr std::string_view kStandardOutput = "-";
Result<void> write_output(const std::string& path, const std::function<void(std::ostream&)>& write);

// How a command ends that shows a view: its text is printed.
Result<int> print_view(const Result<std::string>& view);

// One line on stderr that is written over and over while something takes time; nothing where that
// is no terminal, or with --no-progress.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { clear(); }

  void show(std::string text);
  // "WHAT 42 %", from one second on.
  void show(std::string_view what, double done);
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  bool wanted_;
  bool shown_ = false;
  Clock::time_point next_ = Clock::now() + std::chrono::seconds(1);  // percentages, not before
};

}  // namespace xenoprof
