// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ranges.h>

#include "model/text.h"
#include "report/formats.h"
#include "report/json_text.h"

namespace xenoprof {
namespace {

std::string numbers(const std::vector<std::string>& events,
                    const std::vector<std::uint64_t>& samples) {
  std::string out = "{";
  for (std::size_t event = 0; event < events.size(); ++event) {
    out +=
        fmt::format("{}{}: {}", event == 0 ? "" : ", ", json_text(events[event]), samples[event]);
  }
  return out + "}";
}

std::string head(const View& view) {
  std::string out = "{\"events\": [";
  for (const std::string& event : view.events) {
    out += (out.ends_with('[') ? "" : ", ") + json_text(event);
  }
  return out + "], \"rows\": [";
}

void add_line(std::string& out, const std::vector<std::string>& fields) {
  fmt::format_to(std::back_inserter(out), "{}\n", fmt::join(fields, ","));
}

void add_headings(const View& view, bool total, std::vector<std::string>& fields) {
  for (const std::string& event : view.events) {
    fields.push_back(csv_field(event));
  }
  if (total) {
    for (const std::string& event : view.events) {
      fields.push_back(csv_field(event + " total"));
    }
  }
}

void add_numbers(const std::vector<std::uint64_t>& samples, std::vector<std::string>& fields) {
  for (const std::uint64_t number : samples) {
    fields.push_back(std::to_string(number));
  }
}

}  // namespace

std::string csv_field(std::string_view name) {
  std::string field = printable(name);
  if (field.find_first_of(",\"") == std::string::npos) {
    return field;
  }
  std::string out = "\"";
  for (const char c : field) {
    out += c == '"' ? "\"\"" : std::string(1, c);
  }
  return out + '"';
}

// A row a line: to be read by people and by line-wise tools too.
std::string to_json(const View& view, const Rows& rows) {
  std::string out = head(view);
  for (const Row& row : rows.rows) {
    out += &row == rows.rows.data() ? "\n{" : ",\n{";
    for (std::size_t i = 0; i < view.options.columns.size(); ++i) {
      const Column column = view.options.columns[i];
      fmt::format_to(std::back_inserter(out), "\"{}\": {}, ", to_string(column),
                     is_number(column) ? row.cells[i] : json_text(row.cells[i]));
    }
    out += "\"samples\": " + numbers(view.events, row.samples);
    if (!row.total.empty()) {
      out += ", \"total\": " + numbers(view.events, row.total);
    }
    out += '}';
  }
  return out + "\n]}\n";
}

std::string to_csv(const View& view, const Rows& rows) {
  std::vector<std::string> fields;
  for (const Column column : view.options.columns) {
    fields.emplace_back(to_string(column));
  }
  add_headings(view, view.options.children, fields);
  std::string out;
  add_line(out, fields);
  for (const Row& row : rows.rows) {
    fields.clear();
    for (const std::string& cell : row.cells) {
      fields.push_back(csv_field(cell));
    }
    add_numbers(row.samples, fields);
    add_numbers(row.total, fields);
    add_line(out, fields);
  }
  return out;
}

std::string to_json(const View& view, const CallTree& tree) {
  std::string out = head(view);
  for (const CallTree::Node& node : tree.nodes) {
    out += &node == tree.nodes.data() ? "\n" : ",\n";
    fmt::format_to(
        std::back_inserter(out),
        "{{\"depth\": {}, \"image\": {}, \"symbol\": {}, \"samples\": {}, \"total\": {}}}",
        node.depth, json_text(node.image), json_text(node.symbol),
        numbers(view.events, node.samples), numbers(view.events, node.total));
  }
  return out + "\n]}\n";
}

std::string to_csv(const View& view, const CallTree& tree) {
  std::vector<std::string> fields = {"depth", "image", "symbol"};
  add_headings(view, true, fields);
  std::string out;
  add_line(out, fields);
  for (const CallTree::Node& node : tree.nodes) {
    fields = {std::to_string(node.depth), csv_field(node.image), csv_field(node.symbol)};
    add_numbers(node.samples, fields);
    add_numbers(node.total, fields);
    add_line(out, fields);
  }
  return out;
}

}  // namespace xenoprof
