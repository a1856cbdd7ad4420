// SPDX-License-Identifier: GPL-2.0-or-later
// A running session on a screen: what stands there, and what keys do to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/filter.h"
#include "report/progress.h"
#include "report/report.h"
#include "report/rows.h"

namespace xenoprof {

// While a session runs, domains tell of processes, images, functions and modes only.
Result<void> check_live_filter(const std::vector<FilterTerm>& terms);

class LiveView {
 public:
  // Characters are keys; these are the others. Beyond Unicode.
  enum Key : int {
    kUp = 0x110000,
    kDown,
    kPageUp,
    kPageDown,
    kHome,
    kEnter,
    kEscape,
    kBackspace,
  };

  explicit LiveView(std::vector<FilterTerm> filter = {}) : given_(std::move(filter)) {}

  // How the session stands now; nothing moves while paused.
  void update(SessionProgress now);
  void press(int key);
  bool quits() const { return quits_; }

  // At most `height` lines, the last of them says which keys there are.
  std::string draw(const TextStyle& style, std::size_t height);
  // At most `rows` rows below one another, and no keys: for a file.
  std::string draw_all(const TextStyle& style, std::size_t rows);

 private:
  // What of the rows is drawn.
  struct Window {
    std::size_t first = 0;
    std::size_t rows = kAllRows;
  };

  void press_in_prompt(int key);
  void use_typed();
  void next_domain();
  std::vector<FilterTerm> terms() const;
  // All but the rows.
  std::string heading(const TextStyle& style) const;
  std::string account(const TextStyle& style) const;
  std::string tables(const TextStyle& style, const Window& window);
  std::string last_line(const TextStyle& style) const;

  std::vector<FilterTerm> given_;
  SessionProgress now_;
  // Samples a second, over the last seconds.
  struct Moment {
    double seconds = 0;
    std::uint64_t taken = 0;
  };
  std::vector<Moment> moments_;
  bool paused_ = false;
  bool quits_ = false;
  bool by_process_ = false;  // rows for processes, not for functions
  std::size_t event_ = 0;    // whose samples order the rows
  std::string domain_;       // the only one; empty: all
  std::size_t first_row_ = 0;
  std::size_t page_ = 10;
  std::size_t num_rows_ = 0;           // that there are
  std::optional<std::string> prompt_;  // the filter that is being typed
  std::string typed_;
  std::vector<FilterTerm> typed_terms_;  // what was typed, if it was a term
  std::string word_;                     // what was typed, if it was a word
  std::string message_;
};

}  // namespace xenoprof
