// SPDX-License-Identifier: GPL-2.0-or-later
// What a study found, and the files that tell it: cell.json of each cell, results.json and
// results.csv of all (docs/overhead-study.md has their fields).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/result.h"
#include "study/definition.h"

namespace xenoprof::lab {

using DomainAndMode = std::pair<std::string, std::string>;

// One event in one session.
struct EventCount {
  std::uint64_t count = 0;  // one sample each `count` events
  std::uint64_t taken = 0;  // samples, lost ones included
  std::uint64_t lost = 0;
  std::map<DomainAndMode, std::uint64_t> parts;  // delivered samples
};

// One sampled run of a load.
struct Run {
  std::string session;  // its folder, within the cell's
  double work = 0;      // done, in the workload's unit
  double seconds = 0;   // of wall time that the load took, on the emulated machine
  std::map<std::string, EventCount> events;  // by StudyEvent::name; those of the run's pass
};

struct CellResult {
  std::vector<Run> runs;
  std::string failure;  // empty when all went well
};

// What an event costs for each unit of work, over a cell's runs.
struct Figure {
  std::uint64_t count = 0;
  std::size_t runs = 0;
  double per_unit = 0;          // mean over the runs
  std::optional<double> error;  // relative_error() of that
  std::uint64_t samples = 0;
  std::uint64_t lost = 0;
  struct Part {
    DomainAndMode of;
    double per_unit = 0;  // over all the runs' work
    std::uint64_t samples = 0;
  };
  std::vector<Part> parts;
};
Figure figure_of(const std::vector<Run>& runs, const std::string& event);

// Work done a second, emulated.
double speed_of(const std::vector<Run>& runs);

// Reads a session's folder; its events are matched by StudyEvent::select.
Result<std::map<std::string, EventCount>> count_events(const std::filesystem::path& session,
                                                       const std::vector<StudyEvent>& events);

Result<void> write_cell(const CellResult& result, const std::filesystem::path& file);
// Nothing when there is no such file.
Result<std::optional<CellResult>> read_cell(const std::filesystem::path& file);

struct Finished {
  Cell cell;
  CellResult result;
};
// results.json and results.csv of the folder.
Result<void> write_results(const Study& study, bool quick, const std::vector<Finished>& cells,
                           const std::filesystem::path& folder);

}  // namespace xenoprof::lab
