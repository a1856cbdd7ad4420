// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/flame.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "flame_page.h"
#include "model/text.h"
#include "report/flame_tree.h"
#include "report/rows.h"
#include "report/session_text.h"

namespace xenoprof {
namespace {

using Json = nlohmann::ordered_json;

// What a browser lays out at once; a box of less than a ten-thousandth is no pixel wide before one
// has zoomed in.
constexpr std::size_t kMostBoxes = 30'000;
constexpr std::size_t kMostRows = 1'000;

const std::vector<Column> kPageColumns = {Column::kDomain, Column::kProcess, Column::kImage,
                                          Column::kSymbol, Column::kMode};
constexpr std::size_t kDomainCell = 0;
constexpr std::size_t kModeCell = 4;

// The page's texts, each once.
class Texts {
 public:
  std::size_t id_of(std::string_view text) {
    const auto [entry, added] = ids_.try_emplace(printable(text), texts_.size());
    if (added) {
      texts_.push_back(entry->first);
    }
    return entry->second;
  }
  Json take() { return std::move(texts_); }

 private:
  std::unordered_map<std::string, std::size_t> ids_;
  Json texts_ = Json::array();
};

// An event of the page: where it is among the events of either profile.
struct PageEvent {
  std::size_t shown = 0;
  std::size_t base = 0;
};

// Of a base, the event of the same name, if possible also of the same count.
std::optional<std::size_t> find_event(const Profile& profile, const Event& event) {
  const auto& events = profile.events();
  auto found = std::find(events.begin(), events.end(), event);
  if (found == events.end()) {
    found = std::find_if(events.begin(), events.end(),
                         [&](const Event& other) { return other.name == event.name; });
  }
  return found == events.end() ? std::nullopt
                               : std::optional(static_cast<std::size_t>(found - events.begin()));
}

class FlamePage {
 public:
  FlamePage(const FlameSource& shown, const FlameSource* base,
            const std::vector<FilterTerm>& filter)
      : shown_(shown), base_(base), filter_(filter) {}

  Result<std::string> draw();

 private:
  // By the cells of a row.
  using Weights = std::map<std::vector<std::string>, std::vector<std::uint64_t>>;

  Result<void> choose_events();
  // The samples of one of the profiles, from weight `first` on.
  Result<void> read(const Profile& profile, std::size_t first, std::size_t PageEvent::* event,
                    FlameTree& tree);
  Json json_of_events() const;
  Json json_of_source(const FlameSource& source) const;
  Json json_of_domains();
  Json json_of_nodes(const FlameTree& tree);
  Json json_of_rows();

  // The samples of the page's events, first of the profile shown, then of the base.
  std::size_t weights() const { return events_.size() * (base_ != nullptr ? 2 : 1); }

  const FlameSource& shown_;
  const FlameSource* base_;
  const std::vector<FilterTerm>& filter_;
  std::vector<PageEvent> events_;
  std::vector<std::string> left_out_;  // events that only one of the profiles has
  Weights functions_;
  Texts texts_;
};

Result<void> FlamePage::choose_events() {
  const auto& events = shown_.recorded.profile.events();
  std::vector<bool> used(base_ != nullptr ? base_->recorded.profile.events().size() : 0);
  for (std::size_t event = 0; event < events.size(); ++event) {
    if (base_ == nullptr) {
      events_.push_back({event, 0});
    } else if (const auto other = find_event(base_->recorded.profile, events[event]);
               other && !used[*other]) {
      used[*other] = true;
      events_.push_back({event, *other});
    } else {
      left_out_.push_back(events[event].name);
    }
  }
  for (std::size_t event = 0; event < used.size(); ++event) {
    if (!used[event]) {
      left_out_.push_back(base_->recorded.profile.events()[event].name);
    }
  }
  if (base_ != nullptr && events_.empty()) {
    return fail("{} and {} have no event in common: there is nothing to compare.", base_->name,
                shown_.name);
  }
  return {};
}

Json FlamePage::json_of_events() const {
  const auto labels = event_labels(shown_.recorded.profile.events());
  Json json = Json::array();
  for (const PageEvent& event : events_) {
    json.push_back({{"name", printable(labels[event.shown])},
                    {"count", shown_.recorded.profile.events()[event.shown].count}});
    if (base_ != nullptr) {
      json.back()["baseCount"] = base_->recorded.profile.events()[event.base].count;
    }
  }
  return json;
}

Json FlamePage::json_of_source(const FlameSource& source) const {
  const auto& session = source.recorded.session;
  Json json = {{"name", printable(source.name)},
               {"recorded", session ? recorded_text(*session) : ""},
               {"machine", session ? printable(session->machine) : ""},
               {"losses", losses_text(session ? &*session : nullptr)},
               {"whole", is_whole(session ? &*session : nullptr)},
               {"notes", Json::array()}};
  for (const auto* notes : {session ? &session->notes : nullptr, &source.recorded.notes}) {
    if (notes != nullptr) {
      for (const std::string& note : *notes) {
        json["notes"].push_back(printable(note));
      }
    }
  }
  return json;
}

Result<void> FlamePage::read(const Profile& profile, std::size_t first,
                             std::size_t PageEvent::* event, FlameTree& tree) {
  const Cells cells(profile);
  auto filter = Filter::make(cells, filter_);
  if (!filter) {
    return std::unexpected(filter.error());
  }
  for (const Row& row : make_rows(profile, cells, *filter, {.columns = kPageColumns}).rows) {
    auto& sum = functions_[row.cells];
    sum.resize(weights());
    for (std::size_t i = 0; i < events_.size(); ++i) {
      sum[first + i] += row.samples[events_[i].*event];
    }
  }
  std::vector<std::optional<std::size_t>> weight_of(profile.events().size());
  for (std::size_t i = 0; i < events_.size(); ++i) {
    weight_of[events_[i].*event] = first + i;
  }
  tree.add(NamedStacks(profile, cells, *filter), weight_of);
  return {};
}

// Each domain with its samples by mode: one list per mode, of one number per weight.
Json FlamePage::json_of_domains() {
  struct Sums {
    std::string role;
    std::map<std::string, std::vector<std::uint64_t>> by_mode;
  };
  std::vector<std::pair<std::string, Sums>> domains;
  const auto find = [&](const std::string& name) -> Sums& {
    const auto found = std::find_if(domains.begin(), domains.end(),
                                    [&](const auto& domain) { return domain.first == name; });
    return found != domains.end() ? found->second : domains.emplace_back(name, Sums()).second;
  };
  for (const FlameSource* source : {&shown_, base_}) {
    if (source != nullptr && source->recorded.session) {
      for (const DomainTotals& domain : source->recorded.session->domains) {
        find(domain.name).role = domain.role;
      }
    }
  }
  for (const auto& [cells, samples] : functions_) {
    auto& sum = find(cells[kDomainCell]).by_mode[cells[kModeCell]];
    sum.resize(weights());
    for (std::size_t weight = 0; weight < weights(); ++weight) {
      sum[weight] += samples[weight];
    }
  }
  Json json = Json::array();
  for (auto& [name, sums] : domains) {
    Json modes = Json::array();
    for (const Mode mode : {Mode::kHypervisor, Mode::kKernel, Mode::kUser}) {
      auto& weights_of_mode = sums.by_mode[std::string(to_string(mode))];
      weights_of_mode.resize(weights());
      modes.push_back(weights_of_mode);
    }
    json.push_back({{"name", texts_.id_of(name.empty() ? "-" : name)},
                    {"role", printable(sums.role)},
                    {"modes", std::move(modes)}});
  }
  return json;
}

Json FlamePage::json_of_nodes(const FlameTree& tree) {
  const Flame flame = tree.flame(kMostBoxes);

  // Only the frames that are still in the tree.
  std::unordered_map<std::uint32_t, std::size_t> frames;
  Json frame_of = Json::array();
  Json names = Json::array();
  Json images = Json::array();
  Json kinds = Json::array();
  for (const std::uint32_t frame : flame.frame_of) {
    const auto [entry, added] = frames.try_emplace(frame, frames.size());
    if (added) {
      names.push_back(texts_.id_of(flame.frames[frame].name));
      images.push_back(texts_.id_of(flame.frames[frame].image));
      kinds.push_back(static_cast<unsigned>(flame.frames[frame].kind));
    }
    frame_of.push_back(entry->second);
  }
  Json samples = Json::array();
  for (std::size_t weight = 0; weight < weights(); ++weight) {
    Json column = Json::array();
    for (std::size_t at = weight; at < flame.samples.size(); at += weights()) {
      column.push_back(flame.samples[at]);
    }
    samples.push_back(std::move(column));
  }
  return {{"frames",
           {{"name", std::move(names)}, {"image", std::move(images)}, {"kind", std::move(kinds)}}},
          {"depth", flame.depth_of},
          {"frame", std::move(frame_of)},
          {"samples", std::move(samples)},
          {"hidden", flame.hidden},
          {"hiddenShare", flame.hidden_share}};
}

// The functions with the largest shares of any event.
Json FlamePage::json_of_rows() {
  std::vector<std::uint64_t> totals(weights());
  for (const auto& [cells, samples] : functions_) {
    for (std::size_t weight = 0; weight < weights(); ++weight) {
      totals[weight] += samples[weight];
    }
  }
  std::vector<std::pair<double, Weights::const_iterator>> by_share;
  for (auto row = functions_.begin(); row != functions_.end(); ++row) {
    double share = 0;
    for (std::size_t weight = 0; weight < weights(); ++weight) {
      if (totals[weight] != 0) {
        share = std::max(
            share, static_cast<double>(row->second[weight]) / static_cast<double>(totals[weight]));
      }
    }
    if (share > 0) {
      by_share.emplace_back(share, row);
    }
  }
  std::stable_sort(by_share.begin(), by_share.end(),
                   [](const auto& one, const auto& other) { return one.first > other.first; });
  by_share.resize(std::min(by_share.size(), kMostRows));
  Json rows = Json::array();
  for (const auto& [share, row] : by_share) {
    Json cells = Json::array();
    for (const std::string& cell : row->first) {
      cells.push_back(texts_.id_of(cell.empty() ? "-" : cell));
    }
    rows.push_back({std::move(cells), row->second});
  }
  return {{"rows", std::move(rows)}, {"totals", totals}};
}

Result<std::string> FlamePage::draw() {
  std::set<std::string> domains;
  for (const FlameSource* source : {&shown_, base_}) {
    if (source != nullptr) {
      const auto& session = source->recorded.session;
      add_domains(source->recorded.profile, session ? &*session : nullptr, domains);
    }
  }
  if (auto known = check_domains(domains, filter_); !known) {
    return std::unexpected(known.error());
  }
  if (auto chosen = choose_events(); !chosen) {
    return std::unexpected(chosen.error());
  }
  FlameTree tree(weights());
  auto done = read(shown_.recorded.profile, 0, &PageEvent::shown, tree);
  if (done && base_ != nullptr) {
    done = read(base_->recorded.profile, events_.size(), &PageEvent::base, tree);
  }
  if (!done) {
    return std::unexpected(done.error());
  }
  Json json = {{"source", json_of_source(shown_)}};
  if (base_ != nullptr) {
    json["base"] = json_of_source(*base_);
    json["leftOut"] = Json::array();
    for (const std::string& event : left_out_) {
      json["leftOut"].push_back(printable(event));
    }
  }
  json["only"] = printable(to_string(filter_));
  json["events"] = json_of_events();
  json["domains"] = json_of_domains();
  json["table"] = json_of_rows();
  json["tree"] = json_of_nodes(tree);
  json["texts"] = texts_.take();
  std::string text = json.dump(-1, ' ', true);
  // Within a script element only "</script" and "<!--" mean something, and in JSON a '<' is always
  // part of a text. (HTML standard, 4.12.1.3, restrictions for contents of script elements)
  for (std::size_t at = 0; (at = text.find('<', at)) != std::string::npos;) {
    text.replace(at, 1, "\\u003c");
  }
  const std::string_view page = flame_page();
  const std::size_t place = page.find(kFlamePageData);
  return std::string(page.substr(0, place)) + text +
         std::string(page.substr(place + kFlamePageData.size()));
}

}  // namespace

Result<std::string> flame(const FlameSource& shown, const FlameSource* base,
                          const std::vector<FilterTerm>& filter) {
  return FlamePage(shown, base, filter).draw();
}

}  // namespace xenoprof
