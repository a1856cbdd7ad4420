// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/annotate.h"

#include <map>
#include <memory>
#include <set>
#include <string>

#include "cli/exit_status.h"
#include "cli/view_options.h"
#include "report/annotate.h"

namespace xenoprof {
namespace {

const std::map<std::string, Format> kAnnotateFormats = {{"json", Format::kJson},
                                                        {"text", Format::kText}};

struct AnnotateArguments {
  SourceOption source;
  FilterOptions filter;
  std::string format = "text";
  AnnotateOptions options;
};

Result<int> run_annotate(AnnotateArguments& arguments) {
  AnnotateOptions& options = arguments.options;
  auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  options.filter = *std::move(terms);
  options.format = kAnnotateFormats.at(arguments.format);
  options.style = style_of_output();
  const auto recorded = arguments.source.read({.stacks = false});
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  std::set<std::string> domains;
  add_domains(recorded->profile, recorded->session ? &*recorded->session : nullptr, domains);
  if (auto known = check_domains(domains, options.filter); !known) {
    return std::unexpected(known.error());
  }
  return print_view(annotate(recorded->profile, options));
}

}  // namespace

void add_annotate(CLI::App& app) {
  auto* command =
      app.add_subcommand("annotate", "Where in a function the samples fell: lines, instructions");
  auto arguments = std::make_shared<AnnotateArguments>();
  command
      ->add_option("symbol", arguments->options.symbol,
                   "The function, as `xenoprof report` names it, or the end of that behind ::")
      ->type_name("SYMBOL")
      ->required();
  arguments->source.add_to(*command);
  command
      ->add_option("-i,--image", arguments->options.image,
                   "The function of this image, its path or its file's name")
      ->type_name("IMAGE");
  command
      ->add_option("-k,--vmlinux", arguments->options.vmlinux,
                   "The kernel's file with its debug information, or Xen's xen-syms [the one of "
                   "its build-id below /usr/lib/debug, or from debuginfod]")
      ->type_name("FILE");
  arguments->filter.add_to(*command);
  command->add_option("-f,--format", arguments->format, "For people or for programs")
      ->type_name(words_of(kAnnotateFormats))
      ->capture_default_str()
      ->check(one_of(kAnnotateFormats));
  command->footer("Example: xenoprof annotate multiply_matrices --domain guest2");
  command->final_callback([arguments] { throw_status(run_annotate(*arguments)); });
}

}  // namespace xenoprof
