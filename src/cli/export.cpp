// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/export.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>

#include "cli/exit_status.h"
#include "cli/view_options.h"
#include "files/new_file.h"
#include "pprof/pprof.h"
#include "report/export.h"
#include "report/rows.h"

namespace xenoprof {
namespace {

enum class ExportFormat { kFirefox, kFolded, kPerf, kPprof, kSpeedscope };

const std::map<std::string, ExportFormat> kExportFormats = {
    {"firefox", ExportFormat::kFirefox},
    {"folded", ExportFormat::kFolded},
    {"perf", ExportFormat::kPerf},
    {"pprof", ExportFormat::kPprof},
    {"speedscope", ExportFormat::kSpeedscope}};

struct ExportArguments {
  SourceOption source;
  FilterOptions filter;
  bool inlined_frames = false;
  std::string format = "pprof";
  std::string event;
  std::string output{kStandardOutput};
};

Result<void> write_stacks(const Recorded& recorded, const ExportArguments& arguments) {
  const Profile& profile = recorded.profile;
  const auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  std::set<std::string> domains;
  add_domains(profile, recorded.session ? &*recorded.session : nullptr, domains);
  if (auto known = check_domains(domains, *terms); !known) {
    return known;
  }
  const Cells cells(profile);
  auto filter = Filter::make(cells, *terms);
  if (!filter) {
    return std::unexpected(filter.error());
  }
  const std::vector<std::string> events = event_labels(profile.events());
  if (events.empty()) {
    return fail("The profile has no events.");
  }
  const auto found =
      arguments.event.empty() ? events.begin() : std::ranges::find(events, arguments.event);
  if (found == events.end()) {
    return fail("There is no event {} in this profile; there is: {}.", arguments.event,
                fmt::join(events, ", "));
  }
  const auto event = static_cast<std::size_t>(found - events.begin());
  const NamedStacks stacks(profile, cells, *filter);
  return write_output(arguments.output, [&](std::ostream& out) {
    switch (kExportFormats.at(arguments.format)) {
      case ExportFormat::kFolded:
        write_folded(stacks, event, out);
        break;
      case ExportFormat::kSpeedscope:
        write_speedscope(stacks, events, event, arguments.source.path(), out);
        break;
      default:
        write_firefox(stacks, *found, event, arguments.source.path(), out);
    }
  });
}

Result<void> write_to_output(const Recorded& recorded, const ExportArguments& arguments) {
  const Profile& profile = recorded.profile;
  const ExportFormat format = kExportFormats.at(arguments.format);
  const bool stacks = format != ExportFormat::kPerf && format != ExportFormat::kPprof;
  if (!stacks) {
    const auto terms = arguments.filter.terms();
    if (!terms || !terms->empty() || !arguments.event.empty() || arguments.inlined_frames) {
      return fail("{} is exported whole: --filter, --domain, --event, --inline do not go with it",
                  arguments.format);
    }
  }
  const bool to_file = arguments.output != kStandardOutput;
  if (format == ExportFormat::kPerf) {
    return to_file ? write_perf_data(profile, arguments.output)
                   : fail("perf.data is written to a file only: name it with -o");
  }
  if (format == ExportFormat::kPprof) {
    if (to_file) {
      return write_file(arguments.output, pprof::encode(profile));
    }
    return ::isatty(STDOUT_FILENO) == 1 ? fail("pprof is not for terminals: name a file with -o")
                                        : print(pprof::encode(profile));
  }
  return write_stacks(recorded, arguments);
}

Result<int> run_export(const ExportArguments& arguments) {
  const auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  const ExportFormat format = kExportFormats.at(arguments.format);
  const bool whole = format == ExportFormat::kPerf || format == ExportFormat::kPprof;
  Parts parts = whole ? Parts() : parts_of(/*stacks=*/true, *terms);
  parts.inlined_frames = arguments.inlined_frames;
  const auto recorded = arguments.source.read(parts);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  if (auto written = write_to_output(*recorded, arguments); !written) {
    return std::unexpected(written.error());
  }
  return kExitWhole;
}

}  // namespace

void add_export(CLI::App& app) {
  auto* command = app.add_subcommand("export", "The profile in another tool's format");
  auto arguments = std::make_shared<ExportArguments>();
  arguments->source.add_to(*command);
  command
      ->add_option("-f,--format", arguments->format,
                   "pprof, folded stacks, speedscope, Firefox Profiler or perf.data")
      ->type_name(words_of(kExportFormats))
      ->capture_default_str()
      ->check(one_of(kExportFormats));
  command->add_option("-o,--output", arguments->output, "The file; - is standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command
      ->add_option("-e,--event", arguments->event,
                   "The event that folded and firefox hold, and speedscope shows first [the first]")
      ->type_name("NAME");
  arguments->filter.add_to(*command);
  add_inline(*command, arguments->inlined_frames);
  command->footer(
      "Examples:\n"
      "  xenoprof export --format speedscope -o profile.speedscope.json\n"
      "  xenoprof export --format folded perf.data | flamegraph.pl > flame.svg");
  command->final_callback([arguments] { throw_status(run_export(*arguments)); });
}

}  // namespace xenoprof
