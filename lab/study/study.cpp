// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/study.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "file_lock.h"
#include "files/folder.h"
#include "files/new_file.h"
#include "interrupt.h"
#include "state.h"
#include "study/cell_run.h"
#include "study/definition.h"
#include "study/estimate.h"
#include "study/results.h"
#include "study/summary.h"
#include "up.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A lab that is up as long as this object is there.
class OwnLab {
 public:
  static Result<std::unique_ptr<OwnLab>> up(UpOptions options, std::string name,
                                            Progress& progress) {
    options.name = std::move(name);
    const auto folder = lab_folder(options.name);
    if (!folder)
      return std::unexpected(folder.error());
    if (auto up = bring_up(options, progress); !up)
      return std::unexpected(up.error());
    auto lab = running_lab(options.name);
    if (!lab)
      return std::unexpected(lab.error());
    return std::unique_ptr<OwnLab>(new OwnLab(*folder, std::move(*lab)));
  }
  ~OwnLab() {
    std::error_code error;
    if (end_machine(folder_))
      fs::remove_all(folder_.path, error);
  }
  OwnLab(const OwnLab&) = delete;
  OwnLab& operator=(const OwnLab&) = delete;

  const std::string& name() const { return lab_.name(); }
  Result<Endpoint> domain(const std::string& name) const {
    const auto domain = find_domain(lab_, name);
    if (!domain)
      return std::unexpected(domain.error());
    return endpoint_of(lab_, *domain);
  }

 private:
  OwnLab(LabFolder folder, pb::Lab lab) : folder_(std::move(folder)), lab_(std::move(lab)) {}

  LabFolder folder_;
  pb::Lab lab_;
};

std::string duration(double seconds) {
  return seconds < 90 ? fmt::format("{:.0f} s", seconds) : fmt::format("{:.0f} min", seconds / 60);
}

class StudyRun {
 public:
  StudyRun(Study study, const StudyOptions& options)
      : study_(std::move(study)), options_(options), progress_() {}

  Result<StudyEnd> run() {
    for (const Cell& cell : cells_of(study_))
      if (auto known = recall(cell); !known)
        return std::unexpected(known.error());
    total_ = finished_.size() + left_.size();
    if (!finished_.empty())
      progress_.note(fmt::format("{} of {} cells are there already", finished_.size(), total_));
    while (!left_.empty() && !interrupted()) {
      const Cell cell = left_.front();
      left_.erase(left_.begin());
      CellResult result = run_one(cell);
      if (interrupted() && !result.failure.empty()) {
        // Not its fault: it comes again when the study is resumed.
        break;
      }
      if (auto kept = keep(cell, std::move(result)); !kept)
        return std::unexpected(kept.error());
    }
    if (auto written = write(); !written)
      return std::unexpected(written.error());
    fmt::print("{}", summary_of(study_, finished_));
    if (interrupted())
      return StudyEnd::kInterrupted;
    const bool failed = std::ranges::any_of(
        finished_, [](const Finished& each) { return !each.result.failure.empty(); });
    return failed ? StudyEnd::kCellsFailed : StudyEnd::kWhole;
  }

 private:
  bool chosen(const Cell& cell) const {
    const Configuration& configuration = study_.configurations[cell.configuration];
    return options_.configurations.empty()
               ? !configuration.when_asked
               : std::ranges::find(options_.configurations, configuration.name) !=
                     options_.configurations.end();
  }

  fs::path folder_of(const Cell& cell) const {
    return options_.output / "cells" / path_of(study_, cell);
  }

  // What an earlier run finished; a cell that failed is tried again.
  Result<void> recall(const Cell& cell) {
    const auto known = read_cell(folder_of(cell) / "cell.json");
    if (!known)
      return std::unexpected(known.error());
    const bool whole = *known && (*known)->failure.empty();
    // Results hold those of configurations that are not asked for now, too.
    if (whole || (*known && !chosen(cell)))
      finished_.push_back({cell, **known});
    else if (chosen(cell))
      left_.push_back(cell);
    return {};
  }

  Result<void> ensure_machines(const Cell& cell) {
    const Configuration& configuration = study_.configurations[cell.configuration];
    if (!peer_) {
      UpOptions options;
      options.kind = "peer";
      auto peer = OwnLab::up(options, fmt::format("study-{}-peer", getpid()), progress_);
      if (!peer)
        return std::unexpected(peer.error());
      peer_ = std::move(*peer);
    }
    if (machine_ && machine_of_ != cell.configuration)
      machine_.reset();
    if (machine_)
      return {};
    const auto start = Clock::now();
    UpOptions options = configuration.machine;
    options.peer = peer_->name();
    auto machine =
        OwnLab::up(options, fmt::format("study-{}-{}", getpid(), configuration.name), progress_);
    if (!machine)
      return std::unexpected(machine.error());
    estimate_.boot_took(seconds_since(start));
    machine_ = std::move(*machine);
    machine_of_ = cell.configuration;
    return {};
  }

  Result<CellPlace> place_of(const Cell& cell) {
    if (auto ready = ensure_machines(cell); !ready)
      return std::unexpected(ready.error());
    const Configuration& configuration = study_.configurations[cell.configuration];
    const auto server = machine_->domain(configuration.server);
    const auto recorder = machine_->domain(configuration.recorder);
    const auto peer = peer_->domain("peer");
    for (const auto* domain : {&server, &recorder, &peer})
      if (!*domain)
        return std::unexpected(domain->error());
    return CellPlace{*server, *recorder, *peer, folder_of(cell)};
  }

  CellResult run_one(const Cell& cell) {
    CellResult result;
    if (const auto no_machine = no_machines_.find(cell.configuration);
        no_machine != no_machines_.end()) {
      result.failure = no_machine->second;
      return result;
    }
    const auto place = place_of(cell);
    if (!place) {
      result.failure = place.error().message;
      no_machines_[cell.configuration] = result.failure;
      return result;
    }
    std::error_code error;
    fs::remove_all(place->folder, error);
    fs::create_directories(place->folder, error);
    if (error) {
      result.failure = fmt::format("cannot create {}: {}", place->folder.string(), error.message());
      return result;
    }
    const auto start = Clock::now();
    const std::size_t number = finished_.size() + 1;
    result = run_cell(study_, cell, options_.quick, *place, [&](std::string_view what) {
      progress_.step(fmt::format("cell {} of {}, {}: {}{}", number, total_, path_of(study_, cell),
                                 what, remaining(cell, seconds_since(start))));
    });
    if (result.failure.empty()) {
      estimate_.cell_took(cell, seconds_since(start));
    } else {
      // The next one begins on machines that nothing has happened to.
      machine_.reset();
      peer_.reset();
    }
    return result;
  }

  std::string remaining(const Cell& current, double elapsed) const {
    std::vector<Cell> cells = {current};
    cells.insert(cells.end(), left_.begin(), left_.end());
    std::size_t boots = 0;
    for (std::size_t i = 1; i < cells.size(); ++i)
      boots += cells[i].configuration != cells[i - 1].configuration ? 1 : 0;
    const auto seconds = estimate_.seconds_for(cells, boots);
    return seconds ? "; about " + duration(std::max(0.0, *seconds - elapsed)) + " left" : "";
  }

  Result<void> keep(const Cell& cell, CellResult result) {
    if (!result.failure.empty())
      progress_.note(fmt::format("{} failed: {}", path_of(study_, cell), result.failure));
    std::error_code error;
    fs::create_directories(folder_of(cell), error);
    if (auto written = write_cell(result, folder_of(cell) / "cell.json"); !written)
      return written;
    finished_.push_back({cell, std::move(result)});
    return write();
  }

  // In the study's order, also after cells of an earlier run.
  Result<void> write() {
    std::vector<std::string> order;
    for (const Cell& cell : cells_of(study_))
      order.push_back(path_of(study_, cell));
    std::ranges::sort(finished_, {}, [&](const Finished& each) {
      return std::ranges::find(order, path_of(study_, each.cell)) - order.begin();
    });
    return write_results(study_, options_.quick, finished_, options_.output);
  }

  Study study_;
  const StudyOptions& options_;
  Progress progress_;
  Estimate estimate_;
  std::size_t total_ = 0;
  std::vector<Cell> left_;
  std::vector<Finished> finished_;
  std::unique_ptr<OwnLab> peer_;
  std::unique_ptr<OwnLab> machine_;
  std::size_t machine_of_ = 0;
  // Configurations whose machine did not come up, and why: none of their other cells waits again.
  std::map<std::size_t, std::string> no_machines_;
};

// The folder belongs to one study, which is kept beside its results.
Result<void> claim_folder(const StudyOptions& options, const std::string& text) {
  const fs::path kept = options.output / "study.toml";
  std::error_code error;
  // By its path all later steps go there.
  if (const auto ours = Folder::make_unexposed(options.output); !ours)
    return std::unexpected(ours.error());
  const std::string wish = (options.quick ? "# --quick\n" : "") + text;
  if (fs::exists(kept, error)) {
    if (!options.resume)
      return fail("{} holds a study; --resume goes on with it, -o names another folder",
                  options.output.string());
    std::ifstream stream(kept, std::ios::binary);
    if (std::string{std::istreambuf_iterator<char>(stream), {}} != wish)
      return fail("{} holds another study, or one {} --quick; -o names another folder",
                  options.output.string(), options.quick ? "without" : "with");
    return {};
  }
  if (!fs::is_empty(options.output, error))
    return fail("{} is not empty; -o names another folder", options.output.string());
  return write_file(kept, wish);
}

}  // namespace

Result<StudyEnd> run_study(const StudyOptions& options) {
  const auto text = read_study_text(options.study);
  if (!text)
    return std::unexpected(text.error());
  auto study = parse_study(*text, options.study);
  if (!study)
    return std::unexpected(study.error());
  for (const std::string& name : options.configurations)
    if (std::ranges::find(study->configurations, name, &Configuration::name) ==
        study->configurations.end()) {
      std::vector<std::string> known;
      for (const Configuration& each : study->configurations)
        known.push_back(each.name);
      return fail("'{}' is no configuration of {}; there are {}", name, options.study,
                  fmt::join(known, ", "));
    }
  if (auto claimed = claim_folder(options, *text); !claimed)
    return std::unexpected(claimed.error());
  const auto lock = FileLock::take(options.output / "lock", FileLock::Wait::kNever);
  if (!lock)
    return std::unexpected(lock.error());
  catch_interrupts();
  return StudyRun(std::move(*study), options).run();
}

}  // namespace xenoprof::lab
