// SPDX-License-Identifier: GPL-2.0-or-later
// Which samples a view looks at.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/column.h"
#include "report/session_file.h"

namespace xenoprof {

// COLUMN=TEXT: the column is TEXT. COLUMN!=TEXT: it is not. COLUMN~TEXT: it matches TEXT, an
// extended regular expression (regex(7)), anywhere. COLUMN!~TEXT: it does not. An image is its path
// and its file's name: one of the two is enough.
struct FilterTerm {
  Column column;
  bool negated = false;
  bool pattern = false;
  std::string text;

  friend bool operator==(const FilterTerm&, const FilterTerm&) = default;
};

// "TERM,TERM,...": a comma before anything but a term belongs to the text, as in "symbol=f(A, B)".
Result<std::vector<FilterTerm>> parse_filter(std::string_view text);

// As the command line has them.
std::string to_string(const std::vector<FilterTerm>& terms);

// A domain that is not there is a slip of the pen, not a question whose answer is "none". `session`
// may be null.
void add_domains(const Profile& profile, const SessionRecord* session,
                 std::set<std::string>& known);
Result<void> check_domains(const std::set<std::string>& known,
                           const std::vector<FilterTerm>& terms);

// A sample passes when for each column it passes one of the terms without '!' (if there are any)
// and all of those with. Image, symbol and line are those of the sampled PC.
class Filter {
 public:
  // `cells` must outlive it.
  static Result<Filter> make(const Cells& cells, const std::vector<FilterTerm>& terms);
  Filter(Filter&&) noexcept;
  Filter& operator=(Filter&&) noexcept;
  ~Filter();

  bool passes(const SampleKey& key);

 private:
  struct Condition;

  explicit Filter(const Cells& cells);

  const Cells* cells_;
  std::vector<Condition> conditions_;
};

}  // namespace xenoprof
