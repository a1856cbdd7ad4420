// SPDX-License-Identifier: GPL-2.0-or-later
// What a study's file says (docs/overhead-study.md has the format): which machines do what, what is
// counted meanwhile, how often.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kind.h"
#include "model/result.h"

namespace xenoprof::lab {

struct Configuration {
  std::string name;
  UpOptions machine;     // its lab, but for name and peer
  std::string server;    // domain that the workload runs in
  std::string recorder;  // domain that `xenoprof record` runs in
  // Its cells are run only when the configuration is asked for by name.
  bool when_asked = false;
  // Of events that come more seldom, or oftener, in this one; by StudyEvent::name.
  std::map<std::string, std::uint64_t> counts;
};

// Commands are for `sh -c`; "{amount}" and "{KNOB}" in them are replaced.
struct Workload {
  std::string name;
  std::string unit;
  double amount = 0;            // of one run, in units
  double quick_amount = 0;      // with --quick
  std::string server;           // in the server, before the first run of a cell
  std::string finish;           // in the server, after the last
  std::string load;             // one run
  bool load_in_server = false;  // else in the peer
  // A regular expression over what `load` prints: its group is the work done, times
  // `done_per_unit`.
  std::string done;
  double done_per_unit = 1;
};

struct StudyEvent {
  std::string name;    // in the results
  std::string select;  // what `xenoprof record -e` calls it
  std::uint64_t count = 0;
  std::string count_knob;  // whose value the count is; empty: `count` is
};

// A setting to sweep: cells of the workloads that name it come once for each value, of all
// workloads where an event takes its count from it.
struct KnobValue {
  std::string name;
  std::string text;  // in the commands
};
struct Knob {
  std::string name;
  std::vector<KnobValue> values;
  bool compare = false;  // cells are compared with that of the first value
};

// A cell is run again until every event's relative error is at most `error`.
struct Repetition {
  unsigned least = 3;
  unsigned most = 6;
  double error = 0.05;
  unsigned passes = 0;  // over the events, four in each, in the file's order; 0: over all
};

struct Study {
  std::string title;
  std::vector<Configuration> configurations;
  std::vector<Workload> workloads;
  std::vector<StudyEvent> events;
  std::vector<Knob> knobs;
  Repetition full;
  Repetition quick;
};

// Errors say FILE:LINE, what is wrong there and what may stand there.
Result<Study> parse_study(std::string_view text, const std::string& file);

// The text of a study's file, or of one that comes with xenoprof when there is no '/' and no
// ".toml" in the name.
Result<std::string> read_study_text(const std::string& file_or_name);

// One figure of each event: a workload in a configuration with one value of each of its knobs.
struct Cell {
  std::size_t configuration = 0;  // indices into the study
  std::size_t workload = 0;
  std::vector<std::pair<std::string, KnobValue>> knobs;
};

// The study's events with the counts that hold there.
std::vector<StudyEvent> events_of(const Study& study, const Cell& cell);

// Those of one configuration, and with it of one machine, follow each other.
std::vector<Cell> cells_of(const Study& study);

// CONFIGURATION/WORKLOAD/KNOB=VALUE/...: its folder, and its name for the user.
std::string path_of(const Study& study, const Cell& cell);

// The workload's command for this cell.
std::string fill_in(std::string_view command, const Cell& cell, double amount);

}  // namespace xenoprof::lab
