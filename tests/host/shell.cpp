// SPDX-License-Identifier: GPL-2.0-or-later
#include "shell.h"

#include <cstdio>

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

}  // namespace xenoprof
