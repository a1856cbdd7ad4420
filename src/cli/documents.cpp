// SPDX-License-Identifier: GPL-2.0-or-later
// Writes man pages and completions: a step of the build.
#include "cli/documents.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "cli/commands.h"
#include "files/new_file.h"
#include "report/column.h"

namespace xenoprof {
namespace {

OptionHelp help_of(const CLI::Option& option) {
  OptionHelp help;
  for (const std::string& name : option.get_snames()) {
    help.names.push_back("-" + name);
  }
  for (const std::string& name : option.get_lnames()) {
    help.names.push_back("--" + name);
  }
  help.argument = help.names.empty();
  if (help.argument) {
    help.names.push_back(option.get_single_name());
  }
  help.takes_value = option.get_items_expected_max() != 0;
  help.value_optional = help.takes_value && option.get_items_expected_min() == 0;
  help.repeats = help.argument ? option.get_items_expected_max() > 1
                               : help.takes_value && option.get_multi_option_policy() ==
                                                         CLI::MultiOptionPolicy::TakeAll;
  help.type = help.takes_value ? option.get_type_name() : "";
  help.description = option.get_description();
  help.preset = option.get_default_str();
  // CLI11 writes a list's preset as it would be in a configuration file.
  std::erase_if(help.preset, [](char c) { return c == '[' || c == ']' || c == '"'; });
  return help;
}

CommandHelp help_of(const CLI::App& app, std::string name) {
  CommandHelp help{.name = std::move(name),
                   .description = app.get_description(),
                   .footer = app.get_footer(),
                   .options = {}};
  for (const CLI::Option* option : app.get_options()) {
    help.options.push_back(help_of(*option));
  }
  return help;
}

bool write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  const auto written = write_file(path, text);
  if (!written) {
    std::fprintf(stderr, "%s\n", written.error().message.c_str());
  }
  return written.has_value();
}

}  // namespace

bool is_list(const OptionHelp& option) {
  return option.type.find("[,..]") != std::string::npos;
}

std::vector<std::string> words_of(const OptionHelp& option) {
  std::vector<std::string> words;
  if (option.type.starts_with("COLUMN")) {
    for (const Column column : kColumns) {
      words.emplace_back(to_string(column));
    }
  } else if (option.type.find('|') != std::string::npos && !is_path(option)) {
    std::istringstream text(option.type);
    for (std::string word; std::getline(text, word, '|');) {
      words.push_back(word);
    }
  }
  return words;
}

bool is_path(const OptionHelp& option) {
  return option.type.find("FILE") != std::string::npos ||
         option.type.find("DIR") != std::string::npos;
}

}  // namespace xenoprof

int main(int argc, char** argv) {
  using namespace xenoprof;
  if (argc != 2) {
    std::fprintf(stderr, "usage: xenoprof_documents FOLDER\n");
    return 2;
  }
  CLI::App app;
  add_commands(app);
  std::vector<CommandHelp> commands = {help_of(app, "")};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(help_of(*command, command->get_name()));
  }
  const std::filesystem::path folder = argv[1];
  bool good = write(folder / "bash-completion/completions/xenoprof", bash_completion(commands)) &&
              write(folder / "zsh/site-functions/_xenoprof", zsh_completion(commands));
  for (const CommandHelp& command : commands) {
    // The lab is a program of its own and says what it can itself.
    if (command.name != "lab") {
      const std::string name = "xenoprof" + (command.name.empty() ? "" : "-" + command.name);
      good &= write(folder / "man/man1" / (name + ".1"), man_page(commands, command));
    }
  }
  return good ? 0 : 1;
}
