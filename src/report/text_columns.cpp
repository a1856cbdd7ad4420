// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/text_columns.h"

#include "model/text.h"

namespace xenoprof {

Style style_of_mode(std::string_view mode) {
  return mode == to_string(Mode::kHypervisor) ? Style::kHypervisor
         : mode == to_string(Mode::kKernel)   ? Style::kKernel
                                              : Style::kUser;
}

std::map<std::string, std::string> short_image_names(const std::set<std::string>& images) {
  std::map<std::string_view, std::set<std::string>> paths;
  for (const std::string& path : images) {
    paths[file_name(path)].insert(path);
  }
  std::map<std::string, std::string> names;
  for (const auto& [name, all] : paths) {
    for (const std::string& path : all) {
      names[path] = printable(all.size() == 1 ? name : std::string_view(path));
    }
  }
  return names;
}

void SampleColumns::add_to(std::vector<TextColumn>& table) const {
  for (const Column column : columns_) {
    switch (column) {
      case Column::kDomain:
        table.push_back({.heading = "Domain", .least = 6});
        break;
      case Column::kProcess:
        table.push_back({.heading = "Process", .least = 8});
        break;
      case Column::kPid:
        table.push_back({.heading = "PID", .right = true});
        break;
      case Column::kTid:
        table.push_back({.heading = "TID", .right = true});
        break;
      case Column::kImage:
        table.push_back({.heading = "Image", .least = 8});
        break;
      case Column::kSymbol:
        table.push_back({.heading = "Function", .least = compact_ ? 12u : 24u, .most = 72});
        break;
      case Column::kLine:
        table.push_back({.heading = "Line", .least = 14, .most = 48});
        break;
      case Column::kMode:
        table.push_back({.heading = "Mode"});
        break;
      case Column::kVcpu:
        table.push_back({.heading = "vCPU", .right = true});
        break;
    }
  }
}

void SampleColumns::collect_images(const std::vector<std::string>& cells,
                                   std::set<std::string>& images) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i] == Column::kImage) {
      images.insert(cells[i]);
    }
  }
}

void SampleColumns::add_cells(const std::vector<std::string>& cells, bool hot,
                              const std::map<std::string, std::string>& image_names,
                              std::vector<TextCell>& row) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const std::string& text = cells[i];
    const std::string shown = text.empty() ? "-" : printable(text);
    switch (columns_[i]) {
      case Column::kImage:
        row.push_back({text.empty() ? "-" : image_names.at(text), Style::kDim});
        break;
      case Column::kSymbol:
        row.push_back({shown, hot ? Style::kBold : Style::kPlain});
        break;
      case Column::kMode:
        row.push_back({shown, style_of_mode(text)});
        break;
      default:
        row.push_back({shown});
    }
  }
}

}  // namespace xenoprof
