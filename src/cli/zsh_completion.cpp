// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/documents.h"

namespace xenoprof {
namespace {

// Within single quotes, in a place of _arguments' or _describe's where `special` mean something.
std::string quoted(std::string_view text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (c == '\n') {
      out += ' ';
    } else {
      out += (special.find(c) != std::string_view::npos ? "\\" : "") + std::string(1, c);
    }
  }
  return out;
}

std::string action_of(const OptionHelp& option) {
  const auto words = words_of(option);
  if (!words.empty()) {
    return is_list(option) ? fmt::format("_sequence compadd - {}", fmt::join(words, " "))
                           : fmt::format("({})", fmt::join(words, " "));
  }
  return is_path(option) ? "_files" : "";
}

// As _arguments (zshcompsys(1)) has it.
std::string argument_of(const OptionHelp& option) {
  const std::string message = quoted(option.type, ":");
  if (option.argument) {
    return fmt::format("'{}:{}:{}'", option.repeats ? "*" : "", quoted(option.names[0], ":"),
                       action_of(option));
  }
  const std::string rest = fmt::format(
      "[{}]{}", quoted(option.description, "[]:"),
      option.takes_value
          ? fmt::format("{}:{}:{}", option.value_optional ? ":" : "", message, action_of(option))
          : "");
  if (option.names.size() == 1 || option.repeats) {
    std::string out;
    for (const std::string& name : option.names) {
      out +=
          fmt::format("{}'{}{}{}'", out.empty() ? "" : " ", option.repeats ? "*" : "", name, rest);
    }
    return out;
  }
  return fmt::format("'({})'{{{}}}'{}'", fmt::join(option.names, " "), fmt::join(option.names, ","),
                     rest);
}

}  // namespace

std::string zsh_completion(const std::vector<CommandHelp>& commands) {
  std::string names;
  std::string cases;
  for (const CommandHelp& command : commands) {
    if (command.name.empty()) {
      continue;
    }
    names +=
        fmt::format("    '{}:{}'\n", command.name,
                    quoted(command.description.substr(0, command.description.find('\n')), ":"));
    std::string arguments;
    for (const OptionHelp& option : command.options) {
      arguments += " \\\n        " + argument_of(option);
    }
    cases += fmt::format("    {})\n      _arguments -s{}\n      ;;\n", command.name, arguments);
  }
  return fmt::format(R"(#compdef xenoprof
_xenoprof() {{
  local -a commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
{}  esac
}}
_xenoprof "$@"
)",
                     names, cases);
}

}  // namespace xenoprof
