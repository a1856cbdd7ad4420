// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <ranges>

#include "report/groups.h"

namespace xenoprof {
namespace {

// A row is a context (the columns of a sample as a whole) and a place in the code: places repeat
// from frame to frame, contexts from sample to sample.
class Adder {
 public:
  Adder(const Profile& profile, const Cells& cells, const RowsRequest& request);

  void add_leaves(Filter& filter);
  void add_stacks(Filter& filter);
  Rows take();

 private:
  static constexpr std::uint32_t kNoRow = ~std::uint32_t{0};
  // Where a place was counted last: mostly for the same context again.
  struct LastRow {
    std::uint32_t context = 0;
    std::uint32_t row = kNoRow;
  };

  // In a stack, each frame has a mode of its own.
  bool of_place(Column column) const {
    return is_of_place(column) || (request_.children && column == Column::kMode);
  }
  // Of a context: its stacks are a host's work for a guest. Told apart where rows tell modes.
  bool is_served(std::size_t context) const {
    return tells_modes_ && contexts_.cells(context).back() != 0;
  }
  std::size_t row_of(std::size_t context, LocationId location) {
    const std::uint32_t place = place_of_[is_served(context) ? 1 : 0][location];
    const std::uint32_t key[] = {static_cast<std::uint32_t>(context), place};
    LastRow& last = last_rows_[place];
    if (last.row == kNoRow || last.context != key[0]) {
      last = {.context = key[0], .row = static_cast<std::uint32_t>(rows_.of(key))};
    }
    return last.row;
  }
  std::size_t context_of(const SampleKey& key);
  void add(std::span<std::uint64_t> sums, std::span<const std::uint64_t> numbers) const {
    for (std::size_t event = 0; event < events_; ++event) {
      sums[event] += numbers[event];
    }
  }
  std::vector<std::uint32_t> places(bool served);
  std::vector<bool> repeated_frames(bool served) const;
  std::uint32_t cell(std::size_t row, std::size_t column) const;
  bool before(std::size_t one, std::size_t other) const;

  const Profile& profile_;
  const Cells& cells_;
  const RowsRequest& request_;
  std::size_t events_;
  std::vector<Column> context_columns_;
  std::vector<Column> place_columns_;
  // For each column asked for, its index in one of the two.
  std::vector<std::size_t> index_of_;
  Groups contexts_;
  std::size_t context_ = 0;   // of the sample before
  bool tells_modes_ = false;  // of places: then a context has one more cell, whether it is served
  Groups places_;
  // Per location, first for stacks that are not served.
  std::array<std::vector<std::uint32_t>, 2> place_of_;
  std::vector<LastRow> last_rows_;  // per place
  std::vector<std::uint32_t> buffer_;
  // By context and place; samples per event, then totals.
  Groups rows_;
  std::vector<std::uint64_t> totals_;
};

Adder::Adder(const Profile& profile, const Cells& cells, const RowsRequest& request)
    : profile_(profile),
      cells_(cells),
      request_(request),
      events_(profile.events().size()),
      contexts_(0, 0),
      places_(0, 0),
      rows_(2, 2 * events_),
      totals_(events_) {
  for (const Column column : request.columns) {
    auto& columns = of_place(column) ? place_columns_ : context_columns_;
    index_of_.push_back(columns.size());
    columns.push_back(column);
    tells_modes_ |= column == Column::kMode && of_place(column);
  }
  contexts_ = Groups(context_columns_.size() + (tells_modes_ ? 1 : 0), 0);
  places_ = Groups(place_columns_.size(), 0);
  place_of_[0] = places(false);
  if (tells_modes_) {
    place_of_[1] = places(true);
  }
  last_rows_.resize(places_.size());
}

std::vector<std::uint32_t> Adder::places(bool served) {
  std::vector<std::uint32_t> places;
  places.reserve(profile_.locations().size());
  for (LocationId location = 0; location < profile_.locations().size(); ++location) {
    buffer_.clear();
    const SampleKey in_frame{.mode = cells_.mode_of(location, served)};
    for (const Column column : place_columns_) {
      buffer_.push_back(cells_.of(column, in_frame, location));
    }
    places.push_back(static_cast<std::uint32_t>(places_.of(buffer_)));
  }
  return places;
}

std::size_t Adder::context_of(const SampleKey& key) {
  buffer_.clear();
  for (const Column column : context_columns_) {
    buffer_.push_back(cells_.of_leaf(column, key));
  }
  if (tells_modes_) {
    buffer_.push_back(cells_.is_served(key) ? 1 : 0);
  }
  // Neighbours are often of one process.
  if (context_ == contexts_.size() || !std::ranges::equal(contexts_.cells(context_), buffer_)) {
    context_ = contexts_.of(buffer_);
  }
  return context_;
}

void Adder::add_leaves(Filter& filter) {
  for (const Sample& sample : profile_.samples()) {
    if (filter.passes(sample.key)) {
      add(totals_, sample.samples);
      const std::size_t context = context_of(sample.key);
      add(rows_.sums(row_of(context, profile_.frames()[sample.key.stack].location)),
          sample.samples);
    }
  }
}

// Per frame, whether the stack before it has the same place. In the tree's depth-first order, which
// keeps the path to the root at hand: a walk up from every frame would take a stack's depth
// squared.
std::vector<bool> Adder::repeated_frames(bool served) const {
  const std::vector<std::uint32_t>& place_of = place_of_[served ? 1 : 0];
  const auto& frames = profile_.frames();
  std::vector<bool> repeated(frames.size());
  std::vector<StackId> first_callee(frames.size());
  std::vector<StackId> next_callee(frames.size());
  for (auto frame = static_cast<StackId>(frames.size() - 1); frame != 0; --frame) {
    next_callee[frame] = first_callee[frames[frame].caller];
    first_callee[frames[frame].caller] = frame;
  }
  std::vector<std::uint32_t> on_path(places_.size());
  for (StackId frame = first_callee[0]; frame != 0;) {
    repeated[frame] = on_path[place_of[frames[frame].location]]++ != 0;
    if (first_callee[frame] != 0) {
      frame = first_callee[frame];
      continue;
    }
    // Back to the nearest frame that has another one beside it.
    for (; frame != 0; frame = frames[frame].caller) {
      --on_path[place_of[frames[frame].location]];
      if (next_callee[frame] != 0) {
        frame = next_callee[frame];
        break;
      }
    }
  }
  return repeated;
}

// Each context's tree is added up from the leaves to the root.
void Adder::add_stacks(Filter& filter) {
  const std::array<std::vector<bool>, 2> repeated = {
      repeated_frames(false), tells_modes_ ? repeated_frames(true) : std::vector<bool>()};
  struct Hit {
    std::uint32_t context;
    std::uint32_t sample;
  };
  std::vector<Hit> hits;
  std::vector<std::size_t> hits_of_context;
  std::uint32_t number = 0;
  for (const Sample& sample : profile_.samples()) {
    if (filter.passes(sample.key)) {
      const std::size_t context = context_of(sample.key);
      hits.push_back({static_cast<std::uint32_t>(context), number});
      hits_of_context.resize(contexts_.size());
      ++hits_of_context[context];
    }
    ++number;
  }
  // By context (a counting sort).
  std::vector<std::size_t> begin_of(hits_of_context.size() + 1);
  std::partial_sum(hits_of_context.begin(), hits_of_context.end(), begin_of.begin() + 1);
  std::vector<std::uint32_t> samples(hits.size());
  std::vector<std::size_t> next = begin_of;
  for (const Hit& hit : hits) {
    samples[next[hit.context]++] = hit.sample;
  }

  const auto& frames = profile_.frames();
  const auto all = profile_.samples();
  std::vector<std::uint64_t> sums(frames.size() * events_);
  std::vector<bool> seen(frames.size());
  std::vector<StackId> touched;  // each behind its caller
  const auto sums_of = [&](StackId frame) {
    return std::span(sums).subspan(frame * events_, events_);
  };
  for (std::size_t context = 0; context < hits_of_context.size(); ++context) {
    const std::vector<bool>& repeated_here = repeated[is_served(context) ? 1 : 0];
    touched.clear();
    for (std::size_t i = begin_of[context]; i < begin_of[context + 1]; ++i) {
      const Sample sample = all[static_cast<std::ptrdiff_t>(samples[i])];
      add(totals_, sample.samples);
      add(sums_of(sample.key.stack), sample.samples);
      add(rows_.sums(row_of(context, frames[sample.key.stack].location)), sample.samples);
      const auto others = static_cast<std::ptrdiff_t>(touched.size());
      for (StackId frame = sample.key.stack; frame != 0 && !seen[frame];
           frame = frames[frame].caller) {
        seen[frame] = true;
        touched.push_back(frame);
      }
      std::reverse(touched.begin() + others, touched.end());
    }
    for (const StackId frame : std::views::reverse(touched)) {
      const auto here = sums_of(frame);
      if (!repeated_here[frame]) {
        add(rows_.sums(row_of(context, frames[frame].location)).subspan(events_), here);
      }
      add(sums_of(frames[frame].caller), here);
      std::ranges::fill(here, 0);
      seen[frame] = false;
    }
    std::ranges::fill(sums_of(0), 0);
  }
}

std::uint32_t Adder::cell(std::size_t row, std::size_t column) const {
  const auto key = rows_.cells(row);
  const bool place = of_place(request_.columns[column]);
  const auto cells = place ? places_.cells(key[1]) : contexts_.cells(key[0]);
  return cells[index_of_[column]];
}

bool Adder::before(std::size_t one, std::size_t other) const {
  const std::size_t first = request_.children ? events_ : 0;
  const auto sums = rows_.sums(one).subspan(first, events_);
  const auto others = rows_.sums(other).subspan(first, events_);
  for (std::size_t i = 0; i < events_; ++i) {
    const std::size_t event = (request_.first_event + i) % events_;
    if (sums[event] != others[event]) {
      return sums[event] > others[event];
    }
  }
  for (std::size_t column = 0; column < request_.columns.size(); ++column) {
    const std::uint32_t here = cell(one, column);
    const std::uint32_t there = cell(other, column);
    if (here != there) {
      return cells_.less(request_.columns[column], here, there);
    }
  }
  return false;
}

Rows Adder::take() {
  std::vector<std::uint32_t> order(rows_.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto top = static_cast<std::ptrdiff_t>(std::min(request_.top, order.size()));
  std::partial_sort(order.begin(), order.begin() + top, order.end(),
                    [this](std::uint32_t one, std::uint32_t other) { return before(one, other); });
  Rows result{.rows = {}, .count = rows_.size(), .totals = totals_};
  for (std::ptrdiff_t i = 0; i < top; ++i) {
    const std::uint32_t number = order[static_cast<std::size_t>(i)];
    const auto sums = rows_.sums(number);
    Row row;
    for (std::size_t column = 0; column < request_.columns.size(); ++column) {
      row.cells.push_back(cells_.text(request_.columns[column], cell(number, column)));
    }
    const auto middle = sums.begin() + static_cast<std::ptrdiff_t>(events_);
    row.samples.assign(sums.begin(), middle);
    if (request_.children) {
      row.total.assign(middle, sums.end());
    }
    result.rows.push_back(std::move(row));
  }
  return result;
}

}  // namespace

Rows make_rows(const Profile& profile, const Cells& cells, Filter& filter,
               const RowsRequest& request) {
  Adder adder(profile, cells, request);
  if (request.children) {
    adder.add_stacks(filter);
  } else {
    adder.add_leaves(filter);
  }
  return adder.take();
}

std::vector<std::string> event_labels(const std::vector<Event>& events) {
  std::vector<std::string> labels;
  for (const Event& event : events) {
    const auto same = std::count_if(events.begin(), events.end(),
                                    [&](const Event& other) { return other.name == event.name; });
    labels.push_back(same == 1 ? event.name : fmt::format("{}:{}", event.name, event.count));
  }
  return labels;
}

}  // namespace xenoprof
