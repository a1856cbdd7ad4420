// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/documents.h"

namespace xenoprof {
namespace {

std::string option_names(const CommandHelp& command) {
  std::vector<std::string> names;
  for (const OptionHelp& option : command.options) {
    if (!option.argument) {
      names.insert(names.end(), option.names.begin(), option.names.end());
    }
  }
  return fmt::format("{}", fmt::join(names, " "));
}

// What follows an option that takes a value.
std::string value_cases(const CommandHelp& command) {
  std::string out;
  for (const OptionHelp& option : command.options) {
    if (option.argument || !option.takes_value) {
      continue;
    }
    std::vector<std::string> patterns;
    for (const std::string& name : option.names) {
      patterns.push_back(fmt::format("'{} {}'", command.name, name));
    }
    const auto words = words_of(option);
    std::string action = ":";
    if (!words.empty()) {
      action = fmt::format("{} '{}'", is_list(option) ? "_xenoprof_list" : "_xenoprof_words",
                           fmt::join(words, " "));
    } else if (is_path(option)) {
      action = "_xenoprof_paths";
    }
    out += option.value_optional
               ? fmt::format("    {}) [[ $current == -* ]] || {{ {}; return; }} ;;\n",
                             fmt::join(patterns, "|"), action)
               : fmt::format("    {}) {}; return ;;\n", fmt::join(patterns, "|"), action);
  }
  return out;
}

}  // namespace

std::string bash_completion(const std::vector<CommandHelp>& commands) {
  std::vector<std::string> names;
  std::string cases;
  std::string options;
  for (const CommandHelp& command : commands) {
    if (!command.name.empty()) {
      names.push_back(command.name);
    }
    cases += value_cases(command);
    options +=
        fmt::format("    '{}') _xenoprof_words '{}' ;;\n", command.name, option_names(command));
  }
  return fmt::format(R"(# bash completion for xenoprof
_xenoprof_words() {{
  COMPREPLY=($(compgen -W "$1" -- "$current"))
}}
_xenoprof_list() {{
  local before=
  [[ $current == *,* ]] && before=${{current%,*}},
  COMPREPLY=($(compgen -P "$before" -W "$1" -- "${{current##*,}}"))
  compopt -o nospace
}}
_xenoprof_paths() {{
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}}
_xenoprof() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command= word
  # bash takes "--option=value" for three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = && $COMP_CWORD -ge 2 ]]; then
    previous=${{COMP_WORDS[COMP_CWORD-2]}}
  fi
  COMPREPLY=()
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in {}) command=$word; break ;; esac
  done
  case "$command $previous" in
{}  esac
  if [[ -z $command && $current != -* ]]; then
    _xenoprof_words '{}'
    return
  fi
  if [[ $current != -* ]]; then
    _xenoprof_paths
    return
  fi
  case $command in
{}  esac
}}
complete -F _xenoprof xenoprof
)",
                     fmt::join(names, "|"), cases, fmt::join(names, " "), options);
}

}  // namespace xenoprof
