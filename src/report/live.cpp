// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/live.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/text.h"
#include "report/formats.h"
#include "report/text_cells.h"
#include "report/text_table.h"

namespace xenoprof {
namespace {

constexpr double kRateSeconds = 3;

std::uint64_t total(const Profile* profile) {
  std::uint64_t samples = 0;
  for (std::size_t event = 0; profile != nullptr && event < profile->events().size(); ++event) {
    samples += profile->total(event);
  }
  return samples;
}

std::size_t lines_in(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

std::string_view lines_of(std::string_view text, std::size_t first, std::size_t count) {
  std::size_t begin = 0;
  for (; first != 0 && begin < text.size(); --first) {
    begin = std::min(text.find('\n', begin), text.size() - 1) + 1;
  }
  std::size_t end = begin;
  for (; count != 0 && end < text.size(); --count) {
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  }
  return text.substr(begin, end - begin);
}

std::string counted(std::uint64_t number) {
  return number == 0 ? "none" : with_separators(number);
}

}  // namespace

Result<void> check_live_filter(const std::vector<FilterTerm>& terms) {
  constexpr std::array kKnown = {Column::kDomain, Column::kProcess, Column::kImage, Column::kSymbol,
                                 Column::kMode};
  for (const FilterTerm& term : terms) {
    if (std::ranges::find(kKnown, term.column) == kKnown.end()) {
      return fail(
          "While a session runs there is no {} to filter by: keep it with --output and use "
          "`xenoprof report`.",
          to_string(term.column));
    }
  }
  return {};
}

void LiveView::update(SessionProgress now) {
  if (paused_) {
    return;
  }
  now_ = std::move(now);
  Moment moment{.seconds = now_.seconds};
  for (const SessionProgress::Domain& domain : now_.domains) {
    moment.taken += domain.taken;
  }
  moments_.push_back(moment);
  // One stays that is older: the rate is over at least the time.
  while (moments_.size() > 2 && moments_[1].seconds <= moment.seconds - kRateSeconds) {
    moments_.erase(moments_.begin());
  }
}

void LiveView::press(int key) {
  message_.clear();
  if (prompt_) {
    press_in_prompt(key);
    return;
  }
  const std::size_t last = num_rows_ == 0 ? 0 : num_rows_ - 1;
  switch (key) {
    case 'q':
      quits_ = true;
      break;
    case 'p':
    case ' ':
      paused_ = !paused_;
      moments_.clear();
      break;
    case 's':
      event_ = now_.profile ? (event_ + 1) % now_.profile->events().size() : 0;
      first_row_ = 0;
      break;
    case 'g':
      by_process_ = !by_process_;
      first_row_ = 0;
      break;
    case 'd':
      next_domain();
      first_row_ = 0;
      break;
    case 'f':
    case '/':
      prompt_ = typed_;
      break;
    case kUp:
      first_row_ -= std::min<std::size_t>(first_row_, 1);
      break;
    case kDown:
      first_row_ = std::min(first_row_ + 1, last);
      break;
    case kPageUp:
      first_row_ -= std::min(first_row_, page_);
      break;
    case kPageDown:
      first_row_ = std::min(first_row_ + page_, last);
      break;
    case kHome:
      first_row_ = 0;
      break;
    default:
      break;
  }
}

void LiveView::press_in_prompt(int key) {
  constexpr std::size_t kLongest = 200;
  switch (key) {
    case kEnter:
      use_typed();
      break;
    case kEscape:
      prompt_.reset();
      break;
    case kBackspace:
      if (!prompt_->empty()) {
        prompt_->pop_back();
      }
      break;
    default:
      if (key >= ' ' && key < 0x7f && prompt_->size() < kLongest) {
        *prompt_ += static_cast<char>(key);
      }
  }
}

void LiveView::use_typed() {
  const std::string text = *std::exchange(prompt_, std::nullopt);
  std::vector<FilterTerm> terms;
  if (text.find_first_of("=~") != std::string::npos) {
    auto parsed = parse_filter(text);
    // Also what it means must be good: a regular expression.
    const Profile none;
    const Cells cells(none);
    auto good = parsed ? check_live_filter(*parsed) : std::unexpected(parsed.error());
    if (good) {
      if (const auto filter = Filter::make(cells, *parsed); !filter) {
        good = std::unexpected(filter.error());
      }
    }
    if (!good) {
      message_ = good.error().message;
      return;
    }
    terms = *std::move(parsed);
  }
  typed_ = text;
  word_ = terms.empty() ? text : "";
  typed_terms_ = std::move(terms);
  first_row_ = 0;
}

void LiveView::next_domain() {
  const auto& domains = now_.domains;
  const auto now = std::ranges::find(domains, domain_, &SessionProgress::Domain::name);
  const auto next = domain_.empty() ? domains.begin() : now == domains.end() ? now : now + 1;
  domain_ = next == domains.end() ? "" : next->name;
}

std::vector<FilterTerm> LiveView::terms() const {
  std::vector<FilterTerm> all = given_;
  all.insert(all.end(), typed_terms_.begin(), typed_terms_.end());
  if (!domain_.empty()) {
    all.push_back({.column = Column::kDomain, .text = domain_});
  }
  return all;
}

std::string LiveView::account(const TextStyle& style) const {
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  for (const SessionProgress::Domain& domain : now_.domains) {
    taken += domain.taken;
    lost += domain.lost;
  }
  const std::uint64_t here = total(now_.profile.get());
  // Figures of one domain may be a moment older than those of another.
  taken = std::max(taken, here + lost);
  std::string rate;
  if (moments_.size() > 1 && moments_.back().seconds > moments_.front().seconds) {
    rate = fmt::format(", {} a second",
                       with_separators(static_cast<std::uint64_t>(
                           static_cast<double>(moments_.back().taken - moments_.front().taken) /
                           (moments_.back().seconds - moments_.front().seconds))));
  }
  const std::string text =
      fmt::format("{:.0f} s  {} samples{}: {} in the profile, {} on their way, {} lost",
                  now_.seconds, with_separators(taken), rate, with_separators(here),
                  counted(taken - here - lost), counted(lost));
  return styled(wrapped(text, style.width), lost == 0 ? Style::kPlain : Style::kBold, style.colour);
}

std::string LiveView::heading(const TextStyle& style) const {
  std::string text = account(style);
  for (const SessionProgress::Domain& domain : now_.domains) {
    if (!domain.problem.empty()) {
      text +=
          styled(wrapped(printable(domain.name) + ": " + printable(domain.problem), style.width),
                 Style::kBold, style.colour);
    }
  }
  std::string only;
  for (const FilterTerm& term : terms()) {
    only += fmt::format("{}{}{}{}{}", only.empty() ? "Only " : ", ", to_string(term.column),
                        term.negated ? "!" : "", term.pattern ? "~" : "=", term.text);
  }
  if (!word_.empty()) {
    only += fmt::format("{} with \"{}\"", only.empty() ? "Rows" : "; rows", word_);
  }
  return text + (only.empty() ? "" : wrapped(printable(only), style.width)) + "\n";
}

std::string LiveView::tables(const TextStyle& style, const Window& window) {
  num_rows_ = 0;
  if (!now_.profile) {
    return "Waiting for the domains to tell how they stand ...\n";
  }
  const Profile& profile = *now_.profile;
  event_ = std::min(event_, profile.events().size() - 1);
  SessionRecord session;
  for (const SessionProgress::Domain& domain : now_.domains) {
    session.domains.push_back({.name = domain.name, .role = domain.role});
  }
  ReportOptions options{.filter = terms(), .style = style};
  if (by_process_) {
    options.columns = {Column::kDomain, Column::kProcess};
  }
  const Cells cells(profile);
  auto filter = Filter::make(cells, options.filter);
  if (!filter) {
    return filter.error().message + "\n";
  }
  const View view{profile, &session, options, cells, *filter, event_labels(profile.events())};
  const std::size_t end = window.rows == kAllRows ? kAllRows : window.first + window.rows;
  Rows rows = make_rows(
      profile, cells, *filter,
      {.columns = options.columns, .top = word_.empty() ? end : kAllRows, .first_event = event_});
  if (!word_.empty()) {
    std::erase_if(rows.rows, [&](const Row& row) {
      return std::ranges::none_of(row.cells, [&](const std::string& cell) {
        return cell.find(word_) != std::string::npos;
      });
    });
    rows.count = rows.rows.size();
  }
  num_rows_ = rows.count;
  const auto offset = [&](std::size_t row) {
    return rows.rows.begin() + static_cast<std::ptrdiff_t>(std::min(row, rows.rows.size()));
  };
  rows.rows.erase(offset(end), rows.rows.end());
  rows.rows.erase(rows.rows.begin(), offset(window.first));
  std::string text = domain_table(view, rows.totals) + "\n";
  text += rows.rows.empty() ? "No such samples so far.\n" : function_table(view, rows);
  return text;
}

std::string LiveView::last_line(const TextStyle& style) const {
  if (prompt_) {
    return left("Filter (a word, COLUMN=TEXT or COLUMN~REGEX; Esc: as before): " + *prompt_ + "_",
                style.width);
  }
  if (!message_.empty()) {
    return styled(shortened(printable(message_), style.width), Style::kBold, style.colour);
  }
  std::string keys = paused_ ? "PAUSED  p go on" : "p pause";
  if (now_.profile && now_.profile->events().size() > 1) {
    keys += "  s sort by " +
            printable(
                event_labels(now_.profile->events())[(event_ + 1) % now_.profile->events().size()]);
  }
  keys += by_process_ ? "  g functions" : "  g processes";
  keys += "  d domain  f filter  arrows scroll  q quit";
  return styled(shortened(keys, style.width), paused_ ? Style::kBold : Style::kDim, style.colour);
}

std::string LiveView::draw(const TextStyle& style, std::size_t height) {
  const std::string above = heading(style);
  const std::size_t used = lines_in(above) + 1;
  const std::size_t room = height > used ? height - used : 0;
  // The table's own heading and the domains take some of it.
  const std::string text = tables(style, {.first = first_row_, .rows = room});
  const std::size_t rows = std::min(num_rows_ - std::min(num_rows_, first_row_), room);
  const std::size_t fixed = lines_in(text) - std::min(lines_in(text), rows);
  page_ = room > fixed + 1 ? room - fixed - 1 : 1;
  std::string screen(lines_of(above + text, 0, height == 0 ? 0 : height - 1));
  for (std::size_t line = lines_in(screen); line + 1 < height; ++line) {
    screen += '\n';
  }
  return screen + last_line(style);
}

std::string LiveView::draw_all(const TextStyle& style, std::size_t rows) {
  return heading(style) + tables(style, {.rows = rows});
}

}  // namespace xenoprof
