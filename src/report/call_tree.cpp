// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/call_tree.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <queue>
#include <set>
#include <span>

#include "model/text.h"
#include "report/groups.h"
#include "report/inlined_frames.h"

namespace xenoprof {
namespace {

// Nodes by their parent and place; parents have smaller numbers. Node 0 is above all.
class Builder {
 public:
  Builder(const Profile& profile, const Cells& cells)
      : profile_(profile),
        cells_(cells),
        events_(profile.events().size()),
        nodes_(3, 2 * events_),
        sums_(profile.frames().size() * events_),
        totals_(events_) {
    nodes_.of(std::vector<std::uint32_t>{0, 0, 0});
    location_of_.push_back(0);
  }

  Result<void> find(std::string_view symbol);
  void add_samples(Filter& filter);
  void build_callees();
  void build_callers();
  CallTree take(std::size_t top);

 private:
  std::span<std::uint64_t> sums_of(StackId frame) {
    return std::span(sums_).subspan(frame * events_, events_);
  }
  void add(std::span<std::uint64_t> sums, std::span<const std::uint64_t> numbers) const {
    for (std::size_t event = 0; event < events_; ++event) {
      sums[event] += numbers[event];
    }
  }
  bool is_target(StackId frame) const {
    return frame != 0 && target_[profile_.frames()[frame].location];
  }
  std::uint32_t child(std::uint32_t parent, LocationId location) {
    const SampleKey any;
    const std::uint32_t key[] = {parent, cells_.of(Column::kSymbol, any, location),
                                 cells_.of(Column::kImage, any, location)};
    const std::size_t node = nodes_.of(key);
    if (node == location_of_.size()) {
      location_of_.push_back(location);
    }
    return static_cast<std::uint32_t>(node);
  }
  std::span<std::uint64_t> samples_of(std::size_t node) {
    return nodes_.sums(node).subspan(0, events_);
  }
  std::span<std::uint64_t> total_of(std::size_t node) { return nodes_.sums(node).subspan(events_); }
  double weight(std::size_t node);

  const Profile& profile_;
  const Cells& cells_;
  std::size_t events_;
  std::vector<bool> target_;  // per location
  Groups nodes_;              // samples per event, then totals
  std::vector<LocationId> location_of_;
  std::vector<std::uint64_t> sums_;  // per frame: of the stacks that end there
  std::vector<std::uint64_t> totals_;
};

Result<void> Builder::find(std::string_view symbol) {
  const SampleKey any;
  bool found = false;
  std::set<std::string> similar;
  for (LocationId location = 0; location < profile_.locations().size(); ++location) {
    const std::string name =
        cells_.text(Column::kSymbol, cells_.of(Column::kSymbol, any, location));
    target_.push_back(name == symbol || name == std::string(symbol).append(kInlined));
    found |= target_.back();
    if (!found && name.find(symbol) != std::string::npos) {
      similar.insert(printable(name));
    }
  }
  if (found) {
    return {};
  }
  constexpr std::size_t kMost = 5;
  std::vector<std::string> some;
  std::ranges::copy(similar | std::views::take(kMost), std::back_inserter(some));
  return fail("There is no function {} in this profile{}{}.", symbol,
              some.empty() ? "" : "; there is: ",
              fmt::format("{}{}", fmt::join(some, ", "), similar.size() > kMost ? ", ..." : ""));
}

void Builder::add_samples(Filter& filter) {
  for (const Sample& sample : profile_.samples()) {
    if (filter.passes(sample.key)) {
      add(totals_, sample.samples);
      add(sums_of(sample.key.stack), sample.samples);
    }
  }
}

void Builder::build_callees() {
  const auto& frames = profile_.frames();
  std::vector<std::uint32_t> node_of(frames.size());
  for (StackId frame = 1; frame < frames.size(); ++frame) {
    const std::uint32_t parent = node_of[frames[frame].caller];
    if (parent != 0 || is_target(frame)) {
      node_of[frame] = child(parent, frames[frame].location);
      add(samples_of(node_of[frame]), sums_of(frame));
    }
  }
}

void Builder::build_callers() {
  const auto& frames = profile_.frames();
  for (auto frame = static_cast<StackId>(frames.size() - 1); frame != 0; --frame) {
    const auto sums = sums_of(frame);
    if (std::ranges::all_of(sums, [](std::uint64_t sum) { return sum == 0; })) {
      continue;
    }
    if (!is_target(frame)) {
      add(sums_of(frames[frame].caller), sums);
      continue;
    }
    std::uint32_t node = 0;
    for (StackId caller = frame; caller != 0; caller = frames[caller].caller) {
      node = child(node, frames[caller].location);
    }
    add(samples_of(node), sums);
  }
}

double Builder::weight(std::size_t node) {
  double most = 0;
  for (std::size_t event = 0; event < events_; ++event) {
    if (totals_[event] != 0) {
      most = std::max(
          most, static_cast<double>(total_of(node)[event]) / static_cast<double>(totals_[event]));
    }
  }
  return most;
}

CallTree Builder::take(std::size_t top) {
  const std::size_t count = nodes_.size();
  std::vector<double> weights(count);
  std::vector<std::vector<std::uint32_t>> children(count);
  for (std::size_t node = count; node-- > 1;) {
    add(total_of(node), samples_of(node));
    add(total_of(nodes_.cells(node)[0]), total_of(node));
    weights[node] = weight(node);
    if (weights[node] > 0) {
      children[nodes_.cells(node)[0]].push_back(static_cast<std::uint32_t>(node));
    }
  }
  const auto heavier = [&](std::uint32_t one, std::uint32_t other) {
    if (weights[one] != weights[other]) {
      return weights[one] > weights[other];
    }
    for (const auto& [index, column] : {std::pair(1, Column::kSymbol), {2, Column::kImage}}) {
      const std::uint32_t here = nodes_.cells(one)[static_cast<std::size_t>(index)];
      const std::uint32_t there = nodes_.cells(other)[static_cast<std::size_t>(index)];
      if (here != there) {
        return cells_.less(column, here, there);
      }
    }
    return one < other;
  };
  // A parent weighs no less than its children, so what is chosen hangs together.
  const auto lighter = [&](std::uint32_t one, std::uint32_t other) { return heavier(other, one); };
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, decltype(lighter)> next(lighter);
  std::vector<bool> chosen(count);
  chosen[0] = true;
  const auto offer = [&](std::uint32_t parent) {
    for (const std::uint32_t node : children[parent]) {
      next.push(node);
    }
  };
  offer(0);
  for (std::size_t taken = 0; taken < top && !next.empty(); ++taken) {
    const std::uint32_t node = next.top();
    next.pop();
    chosen[node] = true;
    offer(node);
  }
  CallTree tree{.nodes = {}, .totals = totals_};
  struct Step {
    std::uint32_t node;
    std::size_t depth;
  };
  std::vector<Step> stack;
  const auto descend = [&](std::uint32_t parent, std::size_t depth) {
    std::vector<std::uint32_t> shown;
    std::ranges::copy_if(children[parent], std::back_inserter(shown),
                         [&](std::uint32_t node) { return chosen[node]; });
    std::sort(shown.begin(), shown.end(), lighter);
    for (const std::uint32_t node : shown) {
      stack.push_back({node, depth});
    }
    return children[parent].size() - shown.size();
  };
  descend(0, 0);
  while (!stack.empty()) {
    const Step step = stack.back();
    stack.pop_back();
    const auto key = nodes_.cells(step.node);
    const auto total = total_of(step.node);
    const auto samples = samples_of(step.node);
    tree.nodes.push_back({.depth = step.depth,
                          .symbol = cells_.text(Column::kSymbol, key[1]),
                          .image = cells_.text(Column::kImage, key[2]),
                          .mode = cells_.mode_of(location_of_[step.node]),
                          .total = {total.begin(), total.end()},
                          .samples = {samples.begin(), samples.end()}});
    const std::size_t at = tree.nodes.size() - 1;
    tree.nodes[at].hidden = descend(step.node, step.depth + 1);
  }
  return tree;
}

}  // namespace

Result<CallTree> make_call_tree(const Profile& profile, const Cells& cells, Filter& filter,
                                std::string_view symbol, Direction direction, std::size_t top) {
  Builder builder(profile, cells);
  if (auto found = builder.find(symbol); !found) {
    return std::unexpected(found.error());
  }
  builder.add_samples(filter);
  if (direction == Direction::kCallees) {
    builder.build_callees();
  } else {
    builder.build_callers();
  }
  return builder.take(top);
}

}  // namespace xenoprof
