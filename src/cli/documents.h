// SPDX-License-Identifier: GPL-2.0-or-later
// What the command line says of itself, for those who cannot run it: man and the shells.
#pragma once

#include <string>
#include <vector>

namespace xenoprof {

struct OptionHelp {
  std::vector<std::string> names;  // "-f", "--format"; of an argument: its one name, without '-'
  bool argument = false;           // known by its place
  bool takes_value = true;
  bool value_optional = false;
  bool repeats = false;
  std::string type;  // "FILE"; "csv|json|text" where these are all that it can be
  std::string description;
  std::string preset;  // empty: none
};

// The words that its value can be; empty: anything.
std::vector<std::string> words_of(const OptionHelp& option);
// A list with commas between, as of "COLUMN[,..]".
bool is_list(const OptionHelp& option);
bool is_path(const OptionHelp& option);

struct CommandHelp {
  std::string name;  // of the program itself: empty
  std::string description;
  std::string footer;
  std::vector<OptionHelp> options;
};

// The first is the program itself. File contents are returned.
std::string man_page(const std::vector<CommandHelp>& commands, const CommandHelp& command);
std::string bash_completion(const std::vector<CommandHelp>& commands);
std::string zsh_completion(const std::vector<CommandHelp>& commands);

}  // namespace xenoprof
