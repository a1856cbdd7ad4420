// SPDX-License-Identifier: GPL-2.0-or-later
// The columns of a text table that say what its row is of.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "report/column.h"
#include "report/text_table.h"

namespace xenoprof {

Style style_of_mode(std::string_view mode);

// A file's name without its folders, unless another file in sight has the same.
std::map<std::string, std::string> short_image_names(const std::set<std::string>& images);

class SampleColumns {
 public:
  // `compact` ones give way to a narrow terminal.
  SampleColumns(const std::vector<Column>& columns, bool compact)
      : columns_(columns), compact_(compact) {}

  void add_to(std::vector<TextColumn>& table) const;
  void collect_images(const std::vector<std::string>& cells, std::set<std::string>& images) const;
  // `hot` rows stand out.
  void add_cells(const std::vector<std::string>& cells, bool hot,
                 const std::map<std::string, std::string>& image_names,
                 std::vector<TextCell>& row) const;

 private:
  const std::vector<Column>& columns_;
  bool compact_;
};

}  // namespace xenoprof
