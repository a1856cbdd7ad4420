// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/text.h"
#include "report/formats.h"

namespace xenoprof {
namespace {

// As RFC 4180 has it. Such files are shown in terminals, too: names must not move the cursor.
std::string csv_field(std::string_view name) {
  const std::string field = printable(name);
  if (field.find_first_of(",\"") == std::string::npos) {
    return field;
  }
  std::string out = "\"";
  for (const char c : field) {
    out += c == '"' ? "\"\"" : std::string(1, c);
  }
  return out + '"';
}

}  // namespace

std::string to_json(const Rows& rows, const std::vector<Column>& columns, std::size_t top) {
  using Json = nlohmann::ordered_json;
  const auto dump = [](const Json& json) {
    // Names are guests', in any encoding; the reader wants valid JSON.
    return json.dump(-1, ' ', true, Json::error_handler_t::replace);
  };
  // A row a line: to be read by people and by line-wise tools too.
  std::string out = fmt::format("{{\"events\": {}, \"rows\": [", dump(rows.events));
  for (std::size_t i = 0; i < std::min(top, rows.rows.size()); ++i) {
    const Row& row = rows.rows[i];
    Json json = Json::object();
    for (std::size_t column = 0; column < columns.size(); ++column) {
      if (columns[column] == Column::kVcpu) {
        json["vcpu"] = std::stoul(row.cells[column]);
      } else {
        json[std::string(to_string(columns[column]))] = row.cells[column];
      }
    }
    for (std::size_t event = 0; event < rows.events.size(); ++event) {
      json["samples"][rows.events[event]] = row.samples[event];
    }
    out += (i == 0 ? "\n" : ",\n") + dump(json);
  }
  return out + "\n]}\n";
}

std::string to_csv(const Rows& rows, const std::vector<Column>& columns, std::size_t top) {
  std::vector<std::string> fields;
  for (const Column column : columns) {
    fields.emplace_back(to_string(column));
  }
  for (const std::string& event : rows.events) {
    fields.push_back(csv_field(event));
  }
  std::string out = fmt::format("{}\n", fmt::join(fields, ","));
  for (std::size_t i = 0; i < std::min(top, rows.rows.size()); ++i) {
    fields.clear();
    for (const std::string& cell : rows.rows[i].cells) {
      fields.push_back(csv_field(cell));
    }
    for (const std::uint64_t samples : rows.rows[i].samples) {
      fields.push_back(std::to_string(samples));
    }
    out += fmt::format("{}\n", fmt::join(fields, ","));
  }
  return out;
}

}  // namespace xenoprof
