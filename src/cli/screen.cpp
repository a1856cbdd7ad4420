// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/screen.h"

#include <curses.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "model/text.h"
#include "report/live.h"

namespace xenoprof {
namespace {

constexpr int kEscapeDelay = 25;  // ms in which the rest of a key's sequence must come

// What styled() begins a style with, by its ECMA-48 SGR number.
attr_t attributes(int sgr) {
  switch (sgr) {
    case 1:
      return A_BOLD;
    case 2:
      return A_DIM;
    default:
      return sgr >= 30 && sgr < 38 && has_colors() ? static_cast<attr_t>(COLOR_PAIR(sgr - 29))
                                                   : A_NORMAL;
  }
}

// A locale that cannot show a character would show its bytes.
std::string showable(std::string_view text) {
  if (MB_CUR_MAX > 1) {
    return std::string(text);
  }
  std::string ascii;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      ascii += c;
    } else if (byte >= 0xc0) {
      ascii += '~';
    }
  }
  return ascii;
}

}  // namespace

void Screen::Close::operator()(void* terminal) const {
  ::endwin();
  ::delscreen(static_cast<SCREEN*>(terminal));
}

Result<Screen> Screen::open() {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) {
    return fail("this is no terminal: --batch prints tables one after the other");
  }
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  SCREEN* terminal = ::newterm(nullptr, stdout, stdin);
  if (terminal == nullptr) {
    const char* name = std::getenv("TERM");
    return fail(
        "the terminal \"{}\" is not known here: set TERM to one in /usr/share/terminfo or "
        "/lib/terminfo, or use --batch",
        printable(name == nullptr ? "" : name));
  }
  Screen screen(terminal);
  ::cbreak();
  ::noecho();
  ::curs_set(0);
  ::keypad(stdscr, TRUE);
  ::nodelay(stdscr, TRUE);
  ::set_escdelay(kEscapeDelay);
  const char* no_colour = std::getenv("NO_COLOR");
  if (::has_colors() && (no_colour == nullptr || *no_colour == '\0')) {
    ::start_color();
    ::use_default_colors();
    for (short colour = 0; colour < 8; ++colour) {
      ::init_pair(static_cast<short>(colour + 1), colour, -1);
    }
  }
  return screen;
}

TextStyle Screen::style() const {
  return {.width = static_cast<std::size_t>(getmaxx(stdscr)), .colour = true};
}

std::size_t Screen::height() const {
  return static_cast<std::size_t>(getmaxy(stdscr));
}

void Screen::draw(std::string_view text) {
  ::erase();
  int line = 0;
  ::move(0, 0);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\x1b\n"), text.size());
    // What is too wide would go on in the next line.
    if (getcury(stdscr) == line) {
      const auto room = static_cast<std::size_t>(getmaxx(stdscr) - getcurx(stdscr));
      const std::string part = showable(text.substr(0, byte_of(text.substr(0, end), room)));
      ::addnstr(part.c_str(), static_cast<int>(part.size()));
    }
    text.remove_prefix(end);
    if (text.starts_with("\x1b[")) {
      int sgr = 0;
      const std::size_t last = std::min(text.find('m'), text.size() - 1);
      std::from_chars(text.data() + 2, text.data() + last, sgr);
      ::attrset(static_cast<int>(attributes(sgr)));
      text.remove_prefix(last + 1);
    } else if (!text.empty()) {
      ::move(++line, 0);
      text.remove_prefix(1);
    }
  }
  ::refresh();
}

std::optional<int> Screen::key() {
  const int key = ::getch();
  switch (key) {
    case ERR:
      return std::nullopt;
    case KEY_RESIZE:
      resized_ = true;
      return this->key();
    case KEY_UP:
      return LiveView::kUp;
    case KEY_DOWN:
      return LiveView::kDown;
    case KEY_PPAGE:
      return LiveView::kPageUp;
    case KEY_NPAGE:
      return LiveView::kPageDown;
    case KEY_HOME:
      return LiveView::kHome;
    case KEY_ENTER:
    case '\n':
    case '\r':
      return LiveView::kEnter;
    case '\x1b':
      return LiveView::kEscape;
    case KEY_BACKSPACE:
    case '\b':
    case '\x7f':
      return LiveView::kBackspace;
    default:
      return key;
  }
}

bool Screen::resized() {
  return std::exchange(resized_, false);
}

}  // namespace xenoprof
