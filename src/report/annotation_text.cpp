// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "model/text.h"
#include "report/annotation.h"
#include "report/text_cells.h"
#include "report/text_table.h"

namespace xenoprof {
namespace {

// A row with so much of the symbol's samples of any event is marked.
constexpr double kHot = 0.1;
constexpr std::string_view kMark = "\u25b8 ";
constexpr std::string_view kNoMark = "  ";
// Rows without samples are shown this close to one with samples, and where fewer than so many would
// be left out.
constexpr std::size_t kContext = 2;
constexpr std::size_t kFewest = 3;
constexpr std::size_t kTab = 8;
constexpr std::size_t kPercent = 5;  // "100.0"
constexpr std::size_t kGap = 2;      // between it and the number of samples
constexpr std::size_t kLeastInstruction = 20;
constexpr std::size_t kMostInstruction = 56;

bool is_sampled(const Counts& samples) {
  return std::ranges::any_of(samples, [](std::uint64_t count) { return count != 0; });
}

// Of rows with these samples, which are shown.
template <class Rows>
std::vector<bool> shown_of(const Rows& rows) {
  std::vector<bool> shown(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (is_sampled(rows[i].samples)) {
      const std::size_t end = std::min(i + kContext + 1, rows.size());
      std::fill(shown.begin() + static_cast<std::ptrdiff_t>(i - std::min(i, kContext)),
                shown.begin() + static_cast<std::ptrdiff_t>(end), true);
    }
  }
  for (std::size_t i = 0; i < shown.size();) {
    const auto next = std::find(shown.begin() + static_cast<std::ptrdiff_t>(i), shown.end(), true);
    const auto end = static_cast<std::size_t>(next - shown.begin());
    if (end - i < kFewest) {
      std::fill(shown.begin() + static_cast<std::ptrdiff_t>(i), next, true);
    }
    i = end + 1;
  }
  return shown;
}

std::string without_tabs(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\t') {
      out.append(kTab - out.size() % kTab, ' ');
    } else {
      out += c;
    }
  }
  return out;
}

class TextWriter {
  // Of an event that the symbol has samples of.
  struct EventColumn {
    std::size_t event = 0;
    std::size_t width = 0;
  };

 public:
  TextWriter(const Annotation& annotation, const TextStyle& style)
      : annotation_(annotation), style_(style) {
    for (std::size_t event = 0; event < annotation.events.size(); ++event) {
      if (annotation.samples[event] == 0) {
        continue;
      }
      const std::size_t number =
          std::max<std::size_t>(7, with_separators(annotation.samples[event]).size());
      columns_.push_back({event, std::max(kPercent + kGap + number,
                                          width_of(printable(annotation.events[event])))});
    }
  }

  std::string write();

 private:
  void line(std::string_view text, Style style = Style::kPlain);
  void row(const Counts& samples, const std::string& text);
  void heading(const std::string& text);
  void elided(std::size_t count, std::string_view what);
  void write_file(const AnnotatedFile& file);
  void write_instructions(const AnnotatedFunction& function);

  const Annotation& annotation_;
  const TextStyle& style_;
  std::vector<EventColumn> columns_;
  std::string out_;
};

void TextWriter::line(std::string_view text, Style style) {
  std::string cut(text.substr(0, byte_of(text, style_.width)));
  cut.erase(cut.find_last_not_of(' ') + 1);
  out_ += styled(std::move(cut), style, style_.colour) + "\n";
}

void TextWriter::row(const Counts& samples, const std::string& text) {
  std::string cells;
  bool hot = false;
  for (const auto& [event, width] : columns_) {
    const std::uint64_t all = annotation_.samples[event];
    std::string cell;
    if (samples[event] != 0) {
      const double part = static_cast<double>(samples[event]) / static_cast<double>(all);
      hot |= part >= kHot;
      cell = fmt::format("{:.1f}  {:>{}}", 100 * part, with_separators(samples[event]),
                         width - kPercent - kGap);
    }
    cells += right(cell, width) + "  ";
  }
  const Style style = hot ? Style::kBold : is_sampled(samples) ? Style::kPlain : Style::kDim;
  line(fmt::format("{}{}{}", hot ? kMark : kNoMark, cells, text), style);
}

void TextWriter::heading(const std::string& text) {
  std::string names(kNoMark);
  std::string units(kNoMark);
  for (const auto& [event, width] : columns_) {
    names += right(printable(annotation_.events[event]), width) + "  ";
    units += right(fmt::format("%  {:>{}}", "Samples", width - kPercent - kGap), width) + "  ";
  }
  out_ += '\n';
  line(names, Style::kBold);
  line(units + text, Style::kBold);
}

void TextWriter::elided(std::size_t count, std::string_view what) {
  std::string blank(kNoMark);
  for (const auto& [event, width] : columns_) {
    blank.append(width + 2, ' ');
  }
  line(fmt::format("{}\u2026 {} {} without samples", blank, with_separators(count), what),
       Style::kDim);
}

void TextWriter::write_file(const AnnotatedFile& file) {
  heading(fmt::format("  Line  {}", printable(file.path)));
  const std::vector<bool> shown = shown_of(file.lines);
  std::size_t left_out = 0;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const AnnotatedLine& one = file.lines[i];
    // The first is where the function begins.
    if (!shown[i] && i != 0) {
      ++left_out;
      continue;
    }
    if (left_out != 0) {
      elided(std::exchange(left_out, 0), "lines");
    }
    row(one.samples,
        fmt::format("{:>6}  {}", one.number, one.text ? printable(without_tabs(*one.text)) : ""));
  }
  if (left_out != 0) {
    elided(left_out, "lines");
  }
}

// "file.c:12" or "file.h:7 inlined_function".
std::string place_of(const std::vector<SourceLine>& lines) {
  if (lines.empty() || lines.front().file.empty()) {
    return {};
  }
  const SourceLine& line = lines.front();
  std::string place =
      fmt::format("{}:{}", std::filesystem::path(line.file).filename().string(), line.line);
  if (lines.size() > 1) {
    place += " " + line.function;
  }
  return printable(place);
}

void TextWriter::write_instructions(const AnnotatedFunction& function) {
  std::size_t address_width = 0;
  std::size_t text_width = kLeastInstruction;
  const std::vector<bool> shown = shown_of(function.instructions);
  bool code = false;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const AnnotatedInstruction& one = function.instructions[i];
    address_width = std::max(address_width, fmt::formatted_size("{:x}", one.address));
    code |= !one.text.empty();
    if (shown[i]) {
      text_width = std::clamp(width_of(one.text), text_width, kMostInstruction);
    }
  }
  text_width = code ? text_width : 0;
  heading(fmt::format("{:>{}}  {}{}", "Address", std::max<std::size_t>(7, address_width),
                      code ? left("Instruction", text_width) + "  " : "", "Source"));
  std::string before;
  std::size_t left_out = 0;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const AnnotatedInstruction& one = function.instructions[i];
    if (!shown[i]) {
      ++left_out;
      continue;
    }
    if (left_out != 0) {
      elided(std::exchange(left_out, 0), "instructions");
      before.clear();
    }
    std::string place = place_of(one.lines);
    row(one.samples,
        fmt::format("{:>{}x}  {}{}", one.address, std::max<std::size_t>(7, address_width),
                    code ? left(one.text, text_width) + "  " : "", place == before ? "" : place));
    before = std::move(place);
  }
  if (left_out != 0) {
    elided(left_out, "instructions");
  }
}

std::string TextWriter::write() {
  line(fmt::format("{} in {}", printable(annotation_.symbol), printable(annotation_.image)),
       Style::kBold);
  std::vector<std::string> parts;
  for (std::size_t event = 0; event < annotation_.events.size(); ++event) {
    const std::uint64_t all = annotation_.totals[event];
    parts.push_back(fmt::format(
        "{} samples of {} ({:.1f} % of {})", with_separators(annotation_.samples[event]),
        printable(annotation_.events[event]),
        all == 0 ? 0
                 : 100 * static_cast<double>(annotation_.samples[event]) / static_cast<double>(all),
        with_separators(all)));
  }
  out_ += wrapped(fmt::format("{}", fmt::join(parts, ", ")), style_.width);
  for (const std::string& note : annotation_.notes) {
    out_ += printable(note) + "\n";
  }
  for (const AnnotatedFunction& function : annotation_.functions) {
    for (const AnnotatedFile& file : function.files) {
      write_file(file);
    }
    write_instructions(function);
  }
  return std::move(out_);
}

}  // namespace

std::string to_text(const Annotation& annotation, const TextStyle& style) {
  return TextWriter(annotation, style).write();
}

}  // namespace xenoprof
