// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/results.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "files/new_file.h"
#include "model/mode.h"
#include "report/sampling_error.h"
#include "report/source.h"
#include "study/growth.h"
#include "study/page.h"
#include "study/statistics.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;

Json json_of(const Run& run) {
  Json events = Json::object();
  for (const auto& [name, event] : run.events) {
    Json parts = Json::array();
    for (const auto& [of, samples] : event.parts)
      parts.push_back({{"domain", of.first}, {"mode", of.second}, {"samples", samples}});
    events[name] = {
        {"count", event.count}, {"taken", event.taken}, {"lost", event.lost}, {"parts", parts}};
  }
  return {{"session", run.session},
          {"work", run.work},
          {"seconds", run.seconds},
          {"events", std::move(events)}};
}

// Throws what nlohmann::json throws at what is not as json_of() writes it.
Run run_of(const Json& json) {
  Run run;
  run.session = json.at("session");
  run.work = json.at("work");
  run.seconds = json.at("seconds");
  for (const auto& [name, event] : json.at("events").items()) {
    EventCount& count = run.events[name];
    count.count = event.at("count");
    count.taken = event.at("taken");
    count.lost = event.at("lost");
    for (const Json& part : event.at("parts"))
      count.parts[{part.at("domain"), part.at("mode")}] = part.at("samples");
  }
  return run;
}

// Of a number of samples, 95 %, in parts of it.
double sampling_error(std::uint64_t samples) {
  const Interval interval = expected_samples(samples, confidence_width(1));
  return samples == 0 ? 0 : (interval.high - interval.low) / 2 / static_cast<double>(samples);
}

Json json_of(const Figure& figure, const std::string& event) {
  Json parts = Json::array();
  for (const Figure::Part& part : figure.parts)
    parts.push_back({{"domain", part.of.first},
                     {"mode", part.of.second},
                     {"per_unit", part.per_unit},
                     {"samples", part.samples},
                     {"error", sampling_error(part.samples)}});
  return {{"name", event},
          {"count", figure.count},
          {"runs", figure.runs},
          {"per_unit", figure.per_unit},
          {"error", figure.error ? Json(*figure.error) : Json()},
          {"samples", figure.samples},
          {"lost", figure.lost},
          {"parts", std::move(parts)}};
}

Json json_of(const Study& study, const Finished& finished) {
  const Workload& workload = study.workloads[finished.cell.workload];
  Json knobs = Json::object();
  for (const auto& [knob, value] : finished.cell.knobs)
    knobs[knob] = value.name;
  Json runs = Json::array();
  for (const Run& run : finished.result.runs)
    runs.push_back(
        {{"session", fmt::format("cells/{}/{}", path_of(study, finished.cell), run.session)},
         {"work", run.work},
         {"seconds", run.seconds}});
  Json events = Json::array();
  for (const StudyEvent& event : study.events)
    if (const Figure figure = figure_of(finished.result.runs, event.name); figure.runs > 0)
      events.push_back(json_of(figure, event.name));
  return {{"configuration", study.configurations[finished.cell.configuration].name},
          {"workload", workload.name},
          {"knobs", std::move(knobs)},
          {"unit", workload.unit},
          {"failure", finished.result.failure.empty() ? Json() : Json(finished.result.failure)},
          {"units_per_second", speed_of(finished.result.runs)},
          {"runs", std::move(runs)},
          {"events", std::move(events)}};
}

// A cell that another one is compared with, and what it has in its place.
struct Base {
  const Finished* cell;
  std::string over;
};

// The same work in the study's first configuration, and with the first value of each knob that asks
// for it.
std::vector<Base> bases_of(const Study& study, const Finished& finished,
                           const std::vector<Finished>& cells) {
  std::vector<std::pair<Cell, std::string>> wanted;
  if (finished.cell.configuration != 0) {
    wanted.emplace_back(finished.cell, study.configurations[0].name);
    wanted.back().first.configuration = 0;
  }
  for (std::size_t i = 0; i < finished.cell.knobs.size(); ++i) {
    const auto& [name, value] = finished.cell.knobs[i];
    const auto knob = std::ranges::find(study.knobs, name, &Knob::name);
    if (knob == study.knobs.end() || !knob->compare || value.name == knob->values.front().name)
      continue;
    wanted.emplace_back(finished.cell, fmt::format("{}={}", name, knob->values.front().name));
    wanted.back().first.knobs[i].second = knob->values.front();
  }
  std::vector<Base> bases;
  for (const auto& [cell, over] : wanted) {
    const std::string path = path_of(study, cell);
    const auto base = std::ranges::find_if(
        cells, [&](const Finished& each) { return path_of(study, each.cell) == path; });
    if (base != cells.end() && base->result.failure.empty())
      bases.push_back({&*base, over});
  }
  return bases;
}

// `cell` is the JSON of the cell that it is of.
Json json_of(const Growth& growth, const Json& cell, const std::string& over) {
  Json functions = Json::array();
  const double grown = growth.cost - growth.base;
  for (const GrownFunction& function : growth.functions)
    functions.push_back(
        {{"image", function.image},
         {"symbol", function.symbol},
         {"mode", function.mode},
         {"base", function.base},
         {"cost", function.cost},
         {"share", grown > 0 ? Json((function.cost - function.base) / grown) : Json()},
         {"beyond_error", function.beyond_error}});
  return {{"configuration", cell.at("configuration")},
          {"workload", cell.at("workload")},
          {"knobs", cell.at("knobs")},
          {"over", over},
          {"event", growth.event},
          {"base", growth.base},
          {"cost", growth.cost},
          {"functions", std::move(functions)}};
}

// Names and values have no commas or quotes: the study's parser sees to that.
std::string csv_of(const Study& study, const std::vector<Finished>& cells) {
  std::string text = "configuration,workload";
  for (const Knob& knob : study.knobs)
    text += "," + knob.name;
  text += ",unit,event,domain,mode,per_unit,error,samples,runs\n";
  for (const Finished& finished : cells) {
    std::string start = study.configurations[finished.cell.configuration].name + "," +
                        study.workloads[finished.cell.workload].name;
    for (const Knob& knob : study.knobs) {
      const auto set = std::ranges::find(finished.cell.knobs, knob.name,
                                         [](const auto& each) { return each.first; });
      start += "," + (set == finished.cell.knobs.end() ? "" : set->second.name);
    }
    start += "," + study.workloads[finished.cell.workload].unit;
    for (const StudyEvent& event : study.events) {
      const Figure figure = figure_of(finished.result.runs, event.name);
      if (figure.runs == 0)
        continue;
      text += fmt::format("{},{},,,{},{},{},{}\n", start, event.name, figure.per_unit,
                          figure.error ? fmt::format("{:.4f}", *figure.error) : "", figure.samples,
                          figure.runs);
      for (const Figure::Part& part : figure.parts)
        text += fmt::format("{},{},{},{},{},{:.4f},{},{}\n", start, event.name, part.of.first,
                            part.of.second, part.per_unit, sampling_error(part.samples),
                            part.samples, figure.runs);
    }
  }
  return text;
}

}  // namespace

Figure figure_of(const std::vector<Run>& runs, const std::string& event) {
  Figure figure;
  std::vector<double> costs;
  std::map<DomainAndMode, std::uint64_t> parts;
  double work = 0;
  for (const Run& run : runs) {
    const auto counted = run.events.find(event);
    if (counted == run.events.end())
      continue;
    figure.count = counted->second.count;
    const auto count = static_cast<double>(figure.count);
    costs.push_back(static_cast<double>(counted->second.taken) * count / run.work);
    figure.samples += counted->second.taken - counted->second.lost;
    figure.lost += counted->second.lost;
    work += run.work;
    for (const auto& [of, samples] : counted->second.parts)
      parts[of] += samples;
  }
  figure.runs = costs.size();
  figure.per_unit = mean_of(costs);
  figure.error = relative_error(costs);
  for (const auto& [of, samples] : parts)
    figure.parts.push_back({of, static_cast<double>(samples * figure.count) / work, samples});
  return figure;
}

double speed_of(const std::vector<Run>& runs) {
  double work = 0;
  double seconds = 0;
  for (const Run& run : runs) {
    work += run.work;
    seconds += run.seconds;
  }
  return seconds > 0 ? work / seconds : 0;
}

Result<std::map<std::string, EventCount>> count_events(const fs::path& session,
                                                       const std::vector<StudyEvent>& events) {
  const auto recorded = read_source(session, parts_of(false, {}));
  if (!recorded)
    return std::unexpected(recorded.error());
  if (!recorded->session)
    return fail("{} has no {}", session.string(), kSessionFile);
  std::map<std::string, EventCount> counts;
  for (const StudyEvent& event : events) {
    EventCount& count = counts[event.name];
    count.count = event.count;
    for (const DomainTotals& domain : recorded->session->domains) {
      for (const EventTotals& totals : domain.events) {
        if (totals.name != event.select || totals.count != event.count)
          continue;
        count.taken += totals.taken;
        count.lost += totals.taken - totals.delivered;
      }
    }
    const Profile& profile = recorded->profile;
    const auto index = std::ranges::find_if(profile.events(), [&](const Event& each) {
      return each.name == event.select && each.count == event.count;
    });
    if (index == profile.events().end()) {
      if (count.taken == 0)
        return fail("{} has no samples of {}; make its count smaller, or the amount of work larger",
                    session.string(), event.select);
      continue;
    }
    for (const Sample& sample : profile.samples())
      if (const auto samples =
              sample.samples[static_cast<std::size_t>(index - profile.events().begin())];
          samples > 0)
        count.parts[{std::string(profile.text(sample.key.domain)),
                     std::string(to_string(sample.key.mode))}] += samples;
  }
  return counts;
}

Result<void> write_cell(const CellResult& result, const fs::path& file) {
  Json runs = Json::array();
  for (const Run& run : result.runs)
    runs.push_back(json_of(run));
  const Json json = {{"format", kFormat}, {"failure", result.failure}, {"runs", runs}};
  return write_file(file, json.dump(1) + "\n");
}

Result<std::optional<CellResult>> read_cell(const fs::path& file) {
  std::error_code error;
  if (!fs::exists(file, error))
    return std::nullopt;
  std::ifstream stream(file, std::ios::binary);
  try {
    const Json json = Json::parse(stream);
    if (json.at("format") != kFormat)
      return fail("{} was written by another version; begin again in another folder",
                  file.string());
    CellResult result;
    result.failure = json.at("failure");
    for (const Json& run : json.at("runs"))
      result.runs.push_back(run_of(run));
    return result;
  } catch (const Json::exception& problem) {
    return fail("{} is damaged ({}); remove it, and its cell is run again", file.string(),
                problem.what());
  }
}

Result<void> write_results(const Study& study, bool quick, const std::vector<Finished>& cells,
                           const fs::path& folder) {
  Json all = Json::array();
  Json growths = Json::array();
  for (const Finished& finished : cells) {
    all.push_back(json_of(study, finished));
    if (!finished.result.failure.empty())
      continue;
    const auto sessions = [&](const Finished& of) {
      return CellSessions{of.result.runs, folder / "cells" / path_of(study, of.cell)};
    };
    for (const Base& base : bases_of(study, finished, cells)) {
      const auto grown = growth_of(study.events, sessions(*base.cell), sessions(finished));
      if (!grown)
        return std::unexpected(grown.error());
      for (const Growth& growth : *grown)
        growths.push_back(json_of(growth, all.back(), base.over));
    }
  }
  const Json json = {{"format", kFormat},
                     {"title", study.title},
                     {"quick", quick},
                     {"cells", std::move(all)},
                     {"growth", std::move(growths)}};
  const std::string text = json.dump(1, ' ', true) + "\n";
  if (auto written = write_file(folder / "results.json", text); !written)
    return written;
  const auto page = study_page(text);
  if (!page)
    return std::unexpected(page.error());
  if (auto written = write_file(folder / "report.html", *page); !written)
    return written;
  return write_file(folder / "results.csv", csv_of(study, cells));
}

}  // namespace xenoprof::lab
