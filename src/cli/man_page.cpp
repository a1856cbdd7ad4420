// SPDX-License-Identifier: GPL-2.0-or-later
// Man pages in the language of man(7).
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "cli/documents.h"

namespace xenoprof {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) {
      out += "\\&";
    }
    out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
    line_begins = c == '\n';
  }
  return out;
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string full_name(const CommandHelp& command) {
  return "xenoprof" + (command.name.empty() ? "" : "-" + command.name);
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string synopsis(const CommandHelp& command) {
  std::string line = ".B xenoprof";
  if (command.name.empty()) {
    return line + "\n.I COMMAND\n.RI [ ARGUMENT ...]\n";
  }
  line += " " + escaped(command.name) + "\n";
  line += ".RI [ OPTION ...]\n";
  for (const OptionHelp& option : command.options) {
    if (option.argument) {
      line += fmt::format(".RI [ {} {}]\n", escaped(upper(option.names[0])),
                          option.repeats ? "..." : "");
    }
  }
  return line;
}

std::string described(const OptionHelp& option) {
  std::string head;
  for (const std::string& name : option.names) {
    head += (head.empty() ? "" : ", ") + std::string("\\fB") +
            escaped(option.argument ? upper(name) : name) + "\\fR";
  }
  if (option.takes_value && !option.argument) {
    head += " \\fI" +
            (option.value_optional ? "[" + escaped(option.type) + "]" : escaped(option.type)) +
            "\\fR";
  }
  std::string text = escaped(option.description);
  if (!option.preset.empty()) {
    text += " [" + escaped(option.preset) + "]";
  }
  return fmt::format(".TP\n{}\n{}.\n", head, text);
}

}  // namespace

std::string man_page(const std::vector<CommandHelp>& commands, const CommandHelp& command) {
  const std::string name = full_name(command);
  std::string out = fmt::format(".TH {} 1 \"\" xenoprof \"User Commands\"\n", escaped(upper(name)));
  // One line: what apropos(1) finds. Its first '-' divides.
  std::string summary = command.description;
  std::ranges::replace(summary, '\n', ' ');
  out += fmt::format(".SH NAME\n{} \\- {}\n", escaped(name), escaped(summary));
  out += ".SH SYNOPSIS\n" + synopsis(command);
  if (command.name.empty()) {
    out += ".SH COMMANDS\n";
    for (const CommandHelp& one : commands) {
      if (!one.name.empty()) {
        out += fmt::format(".TP\n.B {}\n{}.\n", escaped(one.name),
                           escaped(first_line(one.description)));
      }
    }
  }
  for (const bool arguments : {true, false}) {
    std::string section;
    for (const OptionHelp& option : command.options) {
      if (option.argument == arguments) {
        section += described(option);
      }
    }
    if (!section.empty()) {
      out += (arguments ? ".SH ARGUMENTS\n" : ".SH OPTIONS\n") + section;
    }
  }
  if (!command.footer.empty()) {
    out += ".SH NOTES\n.nf\n" + escaped(command.footer) + "\n.fi\n";
  }
  out += ".SH SEE ALSO\n";
  std::vector<std::string> others;
  for (const CommandHelp& one : commands) {
    if (one.name != command.name && one.name != "lab") {
      others.push_back(fmt::format("\\fB{}\\fR(1)", escaped(full_name(one))));
    }
  }
  return out + fmt::format("{}\n", fmt::join(others, ",\n"));
}

}  // namespace xenoprof
