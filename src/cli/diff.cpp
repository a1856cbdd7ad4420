// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/diff.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/at_least_one.h"
#include "cli/exit_status.h"
#include "cli/view_options.h"
#include "cli/work.h"
#include "report/diff.h"

namespace xenoprof {
namespace {

struct DiffArguments {
  std::vector<std::string> sources;
  std::vector<std::string> per;
  TableOptions table{DiffOptions().columns};
  bool no_progress = false;
  DiffOptions options;
};

double recorded_work(const DiffInput& input, const std::string& unit) {
  if (input.session != nullptr) {
    if (const auto found = input.session->work.find(unit); found != input.session->work.end()) {
      return found->second;
    }
  }
  return 0;
}

// The one unit in which all sessions recorded their work; empty where none did.
Result<std::string> recorded_unit(const std::vector<DiffInput>& inputs) {
  std::vector<std::string> units;
  if (inputs.front().session != nullptr) {
    for (const auto& [unit, amount] : inputs.front().session->work) {
      if (std::ranges::all_of(
              inputs, [&](const DiffInput& input) { return recorded_work(input, unit) > 0; })) {
        units.push_back(unit);
      }
    }
  }
  if (units.size() > 1) {
    return fail("the sessions recorded several kinds of work ({}): choose one with --per UNIT",
                fmt::join(units, ", "));
  }
  return units.empty() ? "" : units.front();
}

Result<void> find_work(const std::vector<std::string>& per, std::vector<DiffInput>& inputs,
                       std::string& unit) {
  const bool recorded = per.empty() || (per.size() == 1 && per[0].find('=') == std::string::npos);
  if (recorded) {
    if (per.empty()) {
      auto found = recorded_unit(inputs);
      if (!found || found->empty()) {
        return found ? Result<void>() : std::unexpected(found.error());
      }
      unit = *std::move(found);
    } else {
      unit = per[0];
    }
    for (DiffInput& input : inputs) {
      input.work = recorded_work(input, unit);
      if (input.work <= 0) {
        return fail("{} did not record how many {} it saw: add it with `xenoprof work {} {}=N`",
                    input.name, unit, input.name, unit);
      }
    }
    return {};
  }
  if (per.size() != inputs.size()) {
    return fail("--per is given {} times for {} profiles: once for each, in their order",
                per.size(), inputs.size());
  }
  for (std::size_t i = 0; i < per.size(); ++i) {
    const auto work = parse_work(per[i]);
    if (!work) {
      return fail("--per {}: {}", per[i], work.error().message);
    }
    if (i != 0 && work->first != unit) {
      return fail("--per {}: the unit before was {}", per[i], unit);
    }
    unit = work->first;
    inputs[i].work = work->second;
  }
  return {};
}

Result<int> run_diff(DiffArguments& arguments) {
  DiffOptions& options = arguments.options;
  if (auto set = arguments.table.set(options); !set) {
    return std::unexpected(set.error());
  }
  std::deque<Recorded> recorded;
  std::vector<DiffInput> inputs;
  const Parts parts = parts_of(/*stacks=*/false, options.filter, options.columns);
  for (const std::string& source : arguments.sources) {
    auto one = read_and_complain(source, parts, !arguments.no_progress);
    if (!one) {
      return std::unexpected(one.error());
    }
    recorded.push_back(*std::move(one));
    const Recorded& kept = recorded.back();
    inputs.push_back({.name = source,
                      .profile = &kept.profile,
                      .session = kept.session ? &*kept.session : nullptr});
  }
  if (auto found = find_work(arguments.per, inputs, options.unit); !found) {
    return std::unexpected(found.error());
  }
  return print_view(diff(inputs, options));
}

}  // namespace

void add_diff(CLI::App& app) {
  auto* command = app.add_subcommand(
      "diff", "What costs more in one profile than in another, for the same work");
  auto arguments = std::make_shared<DiffArguments>();
  command
      ->add_option("source", arguments->sources,
                   "The base, then what is compared with it: sessions' folders, pprof files or "
                   "perf.data")
      ->type_name(kSourceType)
      ->required()
      ->expected(2, 16);
  command
      ->add_option("-p,--per", arguments->per,
                   "The work done in each profile, in their order, as in MiB=100; or the unit of "
                   "what `xenoprof work` put down")
      ->type_name("UNIT=N")
      ->allow_extra_args(false);
  command->add_option("-e,--event", arguments->options.events, "Only this event; repeatable")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  arguments->table.add_to(*command);
  command
      ->add_option("-n,--top", arguments->options.top,
                   "At most so many rows [as text 30 that differ by more than their sampling "
                   "error, else all]")
      ->check(at_least_one())
      ->type_name("N");
  add_no_progress(*command, arguments->no_progress);
  command->footer(
      "Example: xenoprof diff before.session after.session --per requests=20000 --per "
      "requests=18500");
  command->final_callback([arguments] { throw_status(run_diff(*arguments)); });
}

}  // namespace xenoprof
