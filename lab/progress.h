// SPDX-License-Identifier: GPL-2.0-or-later
// What `lab up` is doing, on standard error: one line that changes on a terminal, plain lines
// elsewhere.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>

namespace xenoprof::lab {

class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A new step. Elsewhere than on a terminal each step is a line of its own.
  void step(std::string_view text);
  // How far the step is; shown on a terminal only.
  void detail(std::string_view text);
  // A line that stays.
  void note(std::string_view text);

 private:
  void redraw();

  std::mutex mutex_;  // packages are unpacked by several threads
  bool terminal_;
  std::string step_;
  std::string detail_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace xenoprof::lab
