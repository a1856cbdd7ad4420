// SPDX-License-Identifier: GPL-2.0-or-later
#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace xenoprof::lab {
namespace {

constexpr std::string_view kClearLine = "\r\033[K";

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_ && !step_.empty())
    fmt::print(stderr, "{}", kClearLine);
}

void Progress::step(std::string_view text) {
  const std::lock_guard lock(mutex_);
  step_ = text;
  detail_.clear();
  if (terminal_)
    redraw();
  else
    fmt::print(stderr, "{}\n", text);
}

void Progress::detail(std::string_view text) {
  const std::lock_guard lock(mutex_);
  detail_ = text;
  if (terminal_)
    redraw();
}

void Progress::note(std::string_view text) {
  const std::lock_guard lock(mutex_);
  fmt::print(stderr, "{}{}\n", terminal_ ? kClearLine : "", text);
  if (terminal_ && !step_.empty())
    redraw();
}

void Progress::redraw() {
  using std::chrono::duration_cast;
  const auto elapsed =
      duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start_).count();
  fmt::print(stderr, "{}[{:3} s] {}{}{}", kClearLine, elapsed, step_, detail_.empty() ? "" : ": ",
             detail_);
  std::fflush(stderr);
}

}  // namespace xenoprof::lab
