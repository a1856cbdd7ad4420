// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/filter.h"

#include <fmt/ranges.h>
#include <regex.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <ranges>
#include <unordered_map>

#include "model/text.h"

namespace xenoprof {
namespace {

struct Operator {
  std::string_view text;
  bool negated;
  bool pattern;
};
constexpr Operator kOperators[] = {
    {"!=", true, false}, {"!~", true, true}, {"=", false, false}, {"~", false, true}};

// The column and operator that `text` begins with; the rest stays in `text`.
std::optional<FilterTerm> term_head(std::string_view& text) {
  for (const Column column : kColumns) {
    if (!text.starts_with(to_string(column))) {
      continue;
    }
    const std::string_view rest = text.substr(to_string(column).size());
    for (const Operator& one : kOperators) {
      if (rest.starts_with(one.text)) {
        text = rest.substr(one.text.size());
        return FilterTerm{column, one.negated, one.pattern, {}};
      }
    }
  }
  return std::nullopt;
}

// POSIX's, not std::regex: that one recurses once a character, and names come from guests.
class Pattern {
 public:
  static Result<std::shared_ptr<Pattern>> compile(const std::string& text) {
    auto pattern = std::make_shared<Pattern>();
    if (const int error = ::regcomp(&pattern->regex_, text.c_str(), REG_EXTENDED | REG_NOSUB)) {
      char message[128];
      ::regerror(error, &pattern->regex_, message, sizeof message);
      pattern->compiled_ = false;
      return fail("--filter: {} is no regular expression: {}", text, message);
    }
    pattern->compiled_ = true;
    return pattern;
  }
  Pattern() = default;
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() {
    if (compiled_) {
      ::regfree(&regex_);
    }
  }
  bool matches(const std::string& text) const {
    return ::regexec(&regex_, text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t regex_ = {};
  bool compiled_ = false;
};

}  // namespace

struct Filter::Condition {
  Column column;
  struct Test {
    bool negated;
    std::string text;
    std::shared_ptr<Pattern> pattern;  // null: the text itself
  };
  std::vector<Test> tests;
  // Each text is looked at once.
  std::unordered_map<std::uint32_t, bool> known;

  bool decide(const std::string& text) const {
    bool any = false;  // of those without '!'
    bool passed = false;
    for (const Test& test : tests) {
      const bool same = test.pattern ? test.pattern->matches(text) : test.text == text;
      if (test.negated && same) {
        return false;
      }
      if (!test.negated) {
        any = true;
        passed |= same;
      }
    }
    return passed || !any;
  }
};

Filter::Filter(const Cells& cells) : cells_(&cells) {}
Filter::Filter(Filter&&) noexcept = default;
Filter& Filter::operator=(Filter&&) noexcept = default;
Filter::~Filter() = default;

Result<std::vector<FilterTerm>> parse_filter(std::string_view text) {
  std::vector<FilterTerm> terms;
  const std::string_view whole = text;
  for (bool first = true; first || !text.empty(); first = false) {
    auto term = term_head(text);
    if (!term) {
      return fail(
          "--filter {}: a filter is COLUMN=TEXT, COLUMN!=TEXT, COLUMN~REGEX or COLUMN!~REGEX; the "
          "columns are {}",
          whole,
          fmt::join(
              kColumns | std::views::transform([](Column column) { return to_string(column); }),
              ", "));
    }
    // Up to the comma that a term follows.
    std::size_t end = text.size();
    for (std::size_t comma = text.find(','); comma != std::string_view::npos;
         comma = text.find(',', comma + 1)) {
      std::string_view next = text.substr(comma + 1);
      if (term_head(next)) {
        end = comma;
        break;
      }
    }
    term->text = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    terms.push_back(*std::move(term));
  }
  return terms;
}

Result<Filter> Filter::make(const Cells& cells, const std::vector<FilterTerm>& terms) {
  Filter filter(cells);
  for (const FilterTerm& term : terms) {
    auto condition = std::ranges::find(filter.conditions_, term.column, &Condition::column);
    if (condition == filter.conditions_.end()) {
      condition = filter.conditions_.insert(condition, Condition{.column = term.column});
    }
    Condition::Test test{.negated = term.negated, .text = term.text, .pattern = nullptr};
    if (term.pattern) {
      auto pattern = Pattern::compile(term.text);
      if (!pattern) {
        return std::unexpected(pattern.error());
      }
      test.pattern = *std::move(pattern);
    }
    condition->tests.push_back(std::move(test));
  }
  return filter;
}

bool Filter::passes(const SampleKey& key) {
  for (Condition& condition : conditions_) {
    const std::uint32_t cell = cells_->of_leaf(condition.column, key);
    auto known = condition.known.find(cell);
    if (known == condition.known.end()) {
      known = condition.known.emplace(cell, condition.decide(cells_->text(condition.column, cell)))
                  .first;
    }
    if (!known->second) {
      return false;
    }
  }
  return true;
}

}  // namespace xenoprof
