// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ext/stdio_filebuf.h>
#include <iostream>

#include "cli/exit_status.h"
#include "files/new_file.h"
#include "model/text.h"

namespace xenoprof {
namespace {

// Wide enough for most C++ names in a file or a log.
constexpr std::size_t kWidthOfNoTerminal = 120;
constexpr std::size_t kLeastWidth = 60;

// 0: no terminal.
std::size_t width_of(int descriptor) {
  winsize size{};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::size_t width_of_output() {
  if (const char* columns = std::getenv("COLUMNS")) {
    if (const int width = std::atoi(columns); width > 0) {
      return std::max(static_cast<std::size_t>(width), kLeastWidth);
    }
  }
  const std::size_t width = width_of(STDOUT_FILENO);
  return width == 0 ? kWidthOfNoTerminal : std::max(width, kLeastWidth);
}

bool wants_colour() {
  const char* no = std::getenv("NO_COLOR");  // https://no-color.org
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && (no == nullptr || *no == '\0') && terminal != nullptr &&
         std::strcmp(terminal, "dumb") != 0;
}

}  // namespace

TextStyle style_of_output() {
  return {.width = width_of_output(), .colour = wants_colour()};
}

void say(std::string_view line) {
  // In one piece: others may write there, too.
  const std::string whole = std::string(line) + '\n';
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

Result<void> print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return fail("The output cannot be written: {}.", std::strerror(errno));
  }
  return {};
}

Result<void> write_output(const std::string& path,
                          const std::function<void(std::ostream&)>& write) {
  // What a full disk or a closed pipe says comes as late as the flush.
  const auto all_to = [&write](std::ostream& out, std::string_view name) -> Result<void> {
    write(out);
    return out.flush() ? Result<void>()
                       : fail("{} cannot be written: {}.", name, std::strerror(errno));
  };
  if (path == kStandardOutput) {
    std::ios::sync_with_stdio(false);
    return all_to(std::cout, "The output");
  }
  auto file = NewFile::make(path, Readers::kAsUsual);
  if (!file) {
    return std::unexpected(file.error());
  }
  __gnu_cxx::stdio_filebuf<char> buffer(::fcntl(file->descriptor(), F_DUPFD_CLOEXEC, 0),
                                        std::ios::out | std::ios::binary);
  std::ostream out(&buffer);
  const auto written = all_to(out, path);
  return written ? file->commit() : written;
}

Result<int> print_view(const Result<std::string>& view) {
  if (!view) {
    return std::unexpected(view.error());
  }
  if (auto printed = print(*view); !printed) {
    return std::unexpected(printed.error());
  }
  return kExitWhole;
}

ProgressLine::ProgressLine(bool wanted) : wanted_(wanted && ::isatty(STDERR_FILENO) == 1) {}

void ProgressLine::show(std::string text) {
  if (!wanted_) {
    return;
  }
  if (const std::size_t width = width_of(STDERR_FILENO); width > 0) {
    // A line that wraps around is not the one that the next \r begins. The last column stays free:
    // in it some terminals wrap already.
    text.resize(byte_of(text, width - 1));
  }
  std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::show(std::string_view what, double done) {
  constexpr auto kStep = std::chrono::milliseconds(200);
  if (wanted_ && Clock::now() >= next_) {
    next_ = Clock::now() + kStep;
    show(fmt::format("{} {:.0f} %", printable(what), 100 * done));
  }
}

void ProgressLine::clear() {
  if (shown_) {
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
    shown_ = false;
  }
}

}  // namespace xenoprof
