// SPDX-License-Identifier: GPL-2.0-or-later
// The whole terminal as a page that is drawn over and over (ncurses).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "model/result.h"
#include "report/report.h"

namespace xenoprof {

class Screen {
 public:
  // One at a time. Fails where stdin or stdout is no terminal, or one that nothing is known of.
  static Result<Screen> open();
  Screen(Screen&&) noexcept = default;
  Screen& operator=(Screen&&) noexcept = default;
  ~Screen() = default;  // gives the terminal back

  TextStyle style() const;
  std::size_t height() const;
  // Lines with the escape sequences of styled().
  void draw(std::string_view text);
  // The next key that was pressed, as LiveView knows it; none if there is none.
  std::optional<int> key();
  // The terminal has another size since the last call.
  bool resized();

 private:
  struct Close {
    void operator()(void* terminal) const;
  };
  explicit Screen(void* terminal) : terminal_(terminal) {}

  std::unique_ptr<void, Close> terminal_;
  bool resized_ = false;
};

}  // namespace xenoprof
