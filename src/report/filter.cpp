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
      const auto is = [&](const std::string& one) {
        return test.pattern ? test.pattern->matches(one) : test.text == one;
      };
      const bool same = is(text) || (column == Column::kImage && is(std::string(file_name(text))));
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

std::string to_string(const std::vector<FilterTerm>& terms) {
  std::string text;
  for (const FilterTerm& term : terms) {
    text += fmt::format("{}{}{}{}{}", text.empty() ? "" : ", ", to_string(term.column),
                        term.negated ? "!" : "", term.pattern ? "~" : "=", term.text);
  }
  return text;
}

void add_domains(const Profile& profile, const SessionRecord* session,
                 std::set<std::string>& known) {
  std::vector<bool> seen;
  for (const Sample& sample : profile.samples()) {
    const StringId domain = sample.key.domain;
    seen.resize(std::max<std::size_t>(seen.size(), domain + std::size_t{1}));
    if (!seen[domain]) {
      seen[domain] = true;
      known.emplace(profile.text(domain));
    }
  }
  if (session != nullptr) {
    for (const DomainTotals& domain : session->domains) {
      known.insert(domain.name);
    }
  }
}

Result<void> check_domains(const std::set<std::string>& known,
                           const std::vector<FilterTerm>& terms) {
  for (const FilterTerm& term : terms) {
    if (term.column == Column::kDomain && !term.pattern && !known.contains(term.text)) {
      return fail("There is no domain {} in this profile; there is: {}.", term.text,
                  printable(fmt::format("{}", fmt::join(known, ", "))));
    }
  }
  return {};
}

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
